"""The Data page: what do I have, and can I trust it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QMenu, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import set_role
from tlstudio.gui.widgets.data_browser import DataBrowser
from tlstudio.gui.widgets.empty_state import EmptyState
from tlstudio.gui.widgets.file_dialogs import ask_file, ask_folder, remember_place
from tlstudio.gui.widgets.import_report import ImportReportView
from tlstudio.gui.widgets.import_view import ImportView
from tlstudio.gui.widgets.label_next import LabelNext

if TYPE_CHECKING:
    from tlstudio.data.importing import ImportReport
    from tlstudio.data.revision import Revision
    from tlstudio.store.project import Project


class DataPanel(QWidget):
    """Without a project or data: how to get there. With data: the browser. While importing: the import view.

    A folder or file can be dropped anywhere on it.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("data_panel")
        self.setProperty("role", "page")
        self.setAcceptDrops(True)
        self._state = state
        self._dragged = False
        self._wanted: tuple[tuple[str, ...], str] | None = None
        self._revision: Revision | None = None
        self._no_project = EmptyState(
            "data_no_project",
            state,
            "project",
            self.tr("No project is open"),
            self.tr("Data sets live in a project. Make one or open one first."),
            self.tr("Go to &Project"),
        )
        self._no_project.activated.connect(lambda: state.navigate.emit("project"))
        self._no_data = EmptyState(
            "data_empty",
            state,
            "upload",
            self.tr("Drop a folder or a file here"),
            self.tr(
                "A folder of images with one subfolder for each class, or a CSV, TSV, Parquet or JSON Lines table with "
                "texts or image paths and labels. You see a preview before anything is imported."
            ),
            self.tr("&Choose…"),
        )
        self._no_data.activated.connect(self.choose_source)
        self.browser = DataBrowser(state)
        self.browser.head.import_wanted.connect(self.choose_source)
        self.browser.head.labels_wanted.connect(self.label_next)
        self.import_view = ImportView(state)
        self.import_view.closed.connect(self.refresh)
        self.import_view.imported.connect(self._imported)
        self.report_view = ImportReportView(state)
        self.report_view.closed.connect(self.refresh)
        self._stack = QStackedWidget()
        self._stack.setObjectName("data_stack")
        for page in (self._no_project, self._no_data, self.browser, self.import_view, self.report_view):
            self._stack.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        state.project_changed.connect(self._project_changed)
        state.dataset_selected.connect(self._load)
        state.datasets_changed.connect(self._datasets_changed)
        state.show_items.connect(self._show_items)
        self._project_changed()

    # What is shown ----------------------------------------------------------------------------------------------

    @Slot()
    def refresh(self) -> None:
        """Show the page that fits what is there."""
        project = self._state.project
        if project is None:
            self._stack.setCurrentWidget(self._no_project)
        elif not self._state.dataset:
            self._no_data.button.setEnabled(project.writable)
            self._stack.setCurrentWidget(self._no_data)
        else:
            self._stack.setCurrentWidget(self.browser)

    @Slot()
    def _project_changed(self) -> None:
        self.import_view.leave()
        self.browser.clear()
        self._revision = None
        self.browser.head.label_button.hide()
        self.refresh()
        self._load()

    @Slot(str)
    def _datasets_changed(self, name: str) -> None:
        project = self._state.project
        if project is None:
            return
        if name and name in project.datasets():
            self._state.select_dataset(name)
        self.browser.head.show_choices(project, self._state.dataset, self._state.revision)
        if self._stack.currentWidget() in (self._no_data, self._no_project):
            self.refresh()

    @Slot()
    def _load(self) -> None:
        """Open the chosen revision off the window's thread."""
        project, name, revision_id = self._state.project, self._state.dataset, self._state.revision
        if project is None or not name:
            return
        self.browser.head.show_choices(project, name, revision_id)
        if self.browser.shows(project, name, revision_id):
            self._apply_wanted()
            return
        self.browser.show_loading()
        self._revision = None

        def read(_context: object) -> Revision:
            revision = project.dataset(name, revision_id)
            _ = revision.table  # read here, not in the window's thread
            return revision

        self._state.jobs.start(
            read,
            self.tr("Opening {0}").format(name),
            self._show_revision,
            self._show_problem,
            key="open_revision",
        )
        if self._stack.currentWidget() in (self._no_data, self._no_project):
            self.refresh()

    def _show_revision(self, revision: Revision) -> None:
        self.browser.show_revision(revision)
        self._revision = revision
        self.browser.head.label_button.setVisible(revision.label_kind in ("name", "names") and bool(revision.classes))
        self._apply_wanted()

    def _show_problem(self, error: Exception) -> None:
        if isinstance(error, TLStudioError):
            self.browser.show_problem(str(error))
        else:
            self._state.show_error(error)

    @Slot(object, object, str)
    def _show_items(self, revision: object, ids: object, title: str) -> None:
        """Show some items of a revision (asked for by another page)."""
        wanted = cast("Revision", revision)
        self._wanted = (tuple(cast("list[str]", ids)), title)
        self._stack.setCurrentWidget(self.browser)
        if (wanted.dataset, wanted.id) == (self._state.dataset, self._state.revision):
            self._load()
        else:
            self._state.select_dataset(wanted.dataset, wanted.id)

    def _apply_wanted(self) -> None:
        if self._wanted is not None:
            ids, title = self._wanted
            self._wanted = None
            self.browser.show_ids(ids, title)

    @Slot()
    def label_next(self) -> None:
        """Ask a run for the unlabelled items that would teach it the most."""
        if self._revision is None or not self._may_import():
            return
        sheet = LabelNext(self._state, self._revision, self)
        sheet.labelled.connect(self._labelled)
        sheet.open()

    @Slot(object)
    def _labelled(self, result: object) -> None:
        self._imported(result)
        report = cast("ImportReport", result)
        told = self.tr("The labels are given: {0} is revision {1} now.")
        revision = report.revision
        self._state.message.emit(told.format(revision.dataset, revision.id.removeprefix("r")), "\n".join(report.notes))

    # Importing --------------------------------------------------------------------------------------------------

    @Slot()
    def choose_source(self) -> None:
        """Ask whether a folder or a file is to be imported, then which."""
        if not self._may_import():
            return
        menu = QMenu(self)
        menu.setObjectName("data_source_menu")
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("A &folder of images or texts…"), lambda: self._choose(folder=True))
        menu.addAction(self.tr("A &table or file…"), lambda: self._choose(folder=False))
        sender = self.sender()
        anchor = self.browser.head.import_button if sender is self.browser else self._no_data.button
        if not anchor.isVisible():
            anchor = self.browser.head.import_button
        menu.popup(anchor.mapToGlobal(anchor.rect().bottomLeft()))

    def _choose(self, *, folder: bool) -> None:
        ask = ask_folder if folder else ask_file
        ask(self._state, self, "import", self.tr("Import data"), self.import_source)

    def import_source(self, path: Path) -> None:
        """Show the preview of a folder or file that is to be imported."""
        if not self._may_import():
            return
        remember_place(self._state, "import", path.parent)
        self._stack.setCurrentWidget(self.import_view)
        self.import_view.start(path)

    def _may_import(self) -> bool:
        project: Project | None = self._state.project
        if project is None:
            self._state.navigate.emit("project")
            return False
        if not project.writable:
            self._state.show_error(
                TLStudioError("This project is open for reading only.", "Close it where it is open for writing.")
            )
            return False
        return not self.import_view.busy

    @Slot(object)
    def _imported(self, result: object) -> None:
        report = cast("ImportReport", result)
        revision = report.revision
        told = self.tr("Imported {0} as revision {1}.")
        if report.unchanged:
            told = self.tr("Nothing has changed in {0}: revision {1} stays the latest.")
        number = revision.id.removeprefix("r")
        self._state.message.emit(told.format(revision.dataset, number), "\n".join(report.notes))
        self._state.datasets_changed.emit(revision.dataset)
        self._state.select_dataset(revision.dataset, revision.id)
        if report.rejected:
            self.report_view.show_report(report)
            self._stack.setCurrentWidget(self.report_view)
        else:
            self.refresh()

    def close_down(self) -> None:
        """End the threads that make thumbnails."""
        self.browser.close_down()
        self.import_view.close_down()

    # Dropping ---------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # Qt override
        """Take a folder or file, and show that it is taken."""
        from tlstudio.store.project import Project

        urls = event.mimeData().urls()
        project = self._state.project
        if project is None or not project.writable or len(urls) != 1 or not urls[0].isLocalFile():
            return
        # A project is not data: the window itself opens it.
        if not Project.is_project(Path(urls[0].toLocalFile())) and not self.import_view.busy:
            event.acceptProposedAction()
            self._show_drag(True)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # Qt override
        """The pointer has gone elsewhere."""
        self._show_drag(False)

    def dropEvent(self, event: QDropEvent) -> None:  # Qt override
        """Show the preview of what was dropped."""
        self._show_drag(False)
        event.acceptProposedAction()
        self.import_source(Path(event.mimeData().urls()[0].toLocalFile()))

    def _show_drag(self, over: bool) -> None:
        if over != self._dragged:
            self._dragged = over
            set_role(self, "page_hot" if over else "page")
