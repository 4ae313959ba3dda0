"""The Runs page: which is better, and is that real?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QPoint, Qt, QTimer, QUrl, Slot
from PySide6.QtGui import QAction, QDesktopServices, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import TLStudioError
from tlstudio.gui.run_actions import RunActions
from tlstudio.gui.run_reading import RunDetails, read_details
from tlstudio.gui.run_together import Fit, find_folds, read_fit
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.dialogs import Question
from tlstudio.gui.widgets.empty_state import EmptyState
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.queue_row import QueueButton
from tlstudio.gui.widgets.run_comparison import RunComparison
from tlstudio.gui.widgets.run_table import RunTable
from tlstudio.gui.widgets.run_view import RunView
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import Job, JobContext

_MOST_COMPARED = 12
_MENU = ("predict", "again", "edit", "start_from", "after", "export", "open_folder", "delete")
"""What the menu of a run offers."""
READ_AGAIN_MS = 3000
"""How long what is shown of a run that is under way may be behind."""


class RunsPanel(QWidget):
    """The table of runs above; below it one run in full, or several compared.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("runs_page")
        self.setProperty("role", "page")
        self._state = state
        self._wanted: tuple[str, ...] = ()
        self._shown: tuple[RunDetails, ...] = ()
        self._reading: Job[Any] | None = None
        self._menu_at: QPoint | None = None  # a menu opens there once what is selected is shown
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(READ_AGAIN_MS)
        self._again.timeout.connect(self._read_again)
        self.run_actions = RunActions(state, self)
        self.run_actions.made.connect(self._on_made)
        self.table = RunTable(state)
        self.search = QLineEdit()
        self.search.setObjectName("runs_search")
        self.search.setAccessibleName(self.tr("Filter runs"))
        self.search.setPlaceholderText(self.tr("Filter: a name, a tag, a status…"))
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(320)
        action = QAction(self.search)
        self.search.addAction(action, QLineEdit.ActionPosition.LeadingPosition)
        keep_icon(action, state, "search")
        self._count = text_label("", "second", "runs_count")
        self.view: RunView | None = None
        self.comparison: RunComparison | None = None
        self._hint = text_label(
            self.tr("Choose a run to see its result; choose several to compare them."), "second", "runs_hint"
        )
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.detail = QStackedWidget()
        self.detail.setObjectName("runs_detail")
        self.detail.addWidget(self._hint)
        self.empty = EmptyState("runs_empty", state, "runs", "", "")
        self._empty_goes = "train"
        self._pages = QStackedWidget()
        self._pages.setObjectName("runs_pages")
        self._pages.addWidget(self.empty)
        self._pages.addWidget(self._make_page())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._pages)
        self._connect()
        self.refresh()

    def _make_page(self) -> QWidget:
        head = QHBoxLayout()
        head.setSpacing(14)
        head.addWidget(text_label(self.tr("Runs"), "title", "runs_title"))
        head.addWidget(self._count, 1)
        self._folds: tuple[str, ...] = ()
        self.folds_button = push_button(
            "",
            "link",
            "runs_folds",
            hint=self.tr("Marks the runs that differ from this one in nothing but the fold of the data"),
        )
        self.folds_button.clicked.connect(lambda: self.table.select(self._folds))
        self.folds_button.hide()
        head.addWidget(self.folds_button)
        head.addWidget(QueueButton(self._state, "secondary", "runs_queue_go"))
        head.addWidget(self.search, 1)
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setObjectName("runs_splitter")
        self.splitter.setHandleWidth(12)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self.table)
        self.splitter.addWidget(self.detail)
        self.splitter.setStretchFactor(0, 0)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([170, 440])
        self.table.setMinimumHeight(100)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(20, 16, 20, 12)
        column.setSpacing(10)
        column.addLayout(head)
        column.addWidget(self.splitter, 1)
        return page

    def _connect(self) -> None:
        state = self._state
        self.empty.activated.connect(lambda: state.navigate.emit(self._empty_goes))
        self.search.textChanged.connect(self._on_search)
        self.table.selection_changed.connect(self._on_selection)
        self.table.delete_requested.connect(self.ask_delete)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._ask_menu)
        self.table.runs_model.annotated.connect(self._annotate)
        state.project_changed.connect(self.refresh)
        state.runs_changed.connect(self.refresh)
        state.datasets_changed.connect(self.refresh)
        state.show_run.connect(self.show_run)

    # -- the table ------------------------------------------------------------------------------------------

    @Slot()
    def refresh(self) -> None:
        """Show what is there now; the selection stays."""
        project = self._state.project
        runs = self._state.queue.runs()
        selected = self._wanted or self.table.selected
        self.table.runs_model.editable = project is not None and project.writable
        self.table.runs_model.set_runs(runs)
        self._tell_count()
        if not runs:
            self._show_empty()
            return
        self._pages.setCurrentIndex(1)
        known = [run.id for run in runs]
        begun = [run.id for run in runs if run.status != "queued"]  # of the others there is nothing to see yet
        keep = [id_ for id_ in selected if id_ in known] or (begun or known)[:1]
        self._wanted = ()
        self.table.select(keep)

    def _show_empty(self) -> None:
        self._on_selection(())
        if self._state.project is None:
            self._empty_goes = "project"
            self.empty.set_texts(
                self.tr("No project is open"),
                self.tr("Each training is kept as a run of a project. Open a project, or try the demo."),
                self.tr("Go to &Project"),
            )
        else:
            self._empty_goes = "train"
            self.empty.set_texts(
                self.tr("No runs yet"),
                self.tr("Train something, and its result appears here: metrics, mistakes, curves and the recipe."),
                self.tr("Go to &Train"),
            )
        self._pages.setCurrentIndex(0)

    @Slot(str)
    def show_run(self, run_id: str) -> None:
        """Select a run."""
        self._wanted = (run_id,)
        self.search.clear()
        self.refresh()

    @Slot(str)
    def _on_search(self, text: str) -> None:
        self.table.filter_model.search(text)
        self._tell_count()

    def _tell_count(self) -> None:
        shown, count = self.table.filter_model.rowCount(), self.table.runs_model.rowCount()
        self._count.setText(f"{shown} / {count}" if shown < count else str(count))

    @Slot(str, str, object)
    def _annotate(self, run_id: str, note: str, tags: tuple[str, ...]) -> None:
        if self._state.project is None:
            return
        try:
            self._state.project.set_note(run_id, note, tags)
        except TLStudioError as error:
            self._state.show_error(error)
            return
        self._state.runs_changed.emit()

    # -- below it -------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_selection(self, ids: tuple[str, ...]) -> None:
        project, self._menu_at = self._state.project, None
        if project is None or not ids:
            if self._reading is not None:
                self._reading.cancel()
            self._shown = ()
            self._show_folds(())
            self.detail.setCurrentWidget(self._hint)
            return
        summaries = {run.id: run for run in self.table.runs_model.runs}
        wanted = [summaries[id_] for id_ in ids[:_MOST_COMPARED] if id_ in summaries]
        single = len(wanted) == 1
        registry = self._state.registry

        def work(context: JobContext) -> tuple[list[RunDetails], Fit, tuple[str, ...]]:
            details = [
                read_details(project, summary, registry, with_data=single)
                for summary in wanted
                if not context.cancelled()
            ]
            if context.cancelled():
                return [], Fit(), ()
            if single:
                return details, Fit(), find_folds(project, wanted[0], details[0].recipe)
            return details, read_fit(project, wanted, registry), ()

        title = self.tr("Reading the run")
        self._reading = self._state.jobs.start(work, title, self._show_details, key="runs detail")

    def _show_details(self, read: tuple[list[RunDetails], Fit, tuple[str, ...]]) -> None:
        details, fit, folds = read
        self._shown = tuple(details)
        self._show_folds(folds)
        if len(details) == 1:
            if self.view is None:
                self.view = RunView(self._state)
                self.view.action.connect(self._act)
                self.detail.addWidget(self.view)
            self.view.show_details(details[0])
            self.detail.setCurrentWidget(self.view)
            if details[0].summary.status == "running":
                self._again.start()
        elif details:
            if self.comparison is None:
                self.comparison = RunComparison(self._state)
                self.comparison.action.connect(self._act_together)
                self.detail.addWidget(self.comparison)
            styles = {run.summary.id: self.table.runs_model.style_of(run.summary.id) for run in details}
            self.comparison.show_runs(details, styles, fit)
            self.detail.setCurrentWidget(self.comparison)
        if self._menu_at is not None:
            self._open_menu(self._menu_at)

    def _show_folds(self, runs: tuple[str, ...]) -> None:
        """Lead to the runs on the other folds, where there are any."""
        self._folds = runs
        text = self.tr("Show the {0} folds together").format(len(runs))
        self.folds_button.setText(text)
        self.folds_button.setAccessibleName(text)
        self.folds_button.setVisible(bool(runs))

    @Slot()
    def _read_again(self) -> None:
        """Read a run that is under way again, while somebody sees it."""
        details, selected = self.view.details if self.view is not None else None, self.table.selected
        if details is None or details.summary.status != "running" or not self.isVisible():
            return
        if selected == (details.summary.id,):
            self._on_selection(selected)

    def showEvent(self, event: QShowEvent) -> None:  # Qt override
        """Look again at a run that has got further in the meantime."""
        super().showEvent(event)
        self._read_again()

    # -- what can be done -----------------------------------------------------------------------------------

    @Slot(str)
    def _act(self, action: str) -> None:
        details = self.view.details if self.view is not None else None
        project = self._state.project
        if details is None or project is None:
            return
        run_id = details.summary.id
        if action == "delete":
            self.ask_delete()
        elif action == "open_folder":
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(project.run(run_id).folder)))
        elif action == "go_on":
            self.run_actions.go_on(run_id)
        elif action == "evaluate":
            self.run_actions.evaluate(run_id)
        elif action == "export":
            self.run_actions.ask_export(run_id)
        elif action == "after":
            self.run_actions.open_after(details)
        elif action == "start_from":
            self._state.navigate.emit("train")
            self._state.start_requested.emit({"start_from": run_id})
        elif action == "predict":
            self._state.navigate.emit("predict")
            self._state.predict_requested.emit(run_id)
        else:
            self.run_actions.train(details, edit=action == "edit")

    @Slot(str)
    def _act_together(self, action: str) -> None:
        runs = [details.summary for details in self._shown]
        if action == "soup":
            self.run_actions.open_soup(runs)
        else:
            self.run_actions.predict_together(runs)

    @Slot(QPoint)
    def _ask_menu(self, at: QPoint) -> None:
        """Open a menu where the mouse is; of runs that have just been selected, as soon as they have been read."""
        self._menu_at = None
        if not self.table.indexAt(at).isValid():
            return
        self._menu_at = self.table.viewport().mapToGlobal(at)
        if tuple(details.summary.id for details in self._shown) == self.table.selected[:_MOST_COMPARED]:
            self._open_menu(self._menu_at)

    def _open_menu(self, at: QPoint) -> None:
        """Offer what the buttons below the table do."""
        self._menu_at = None
        buttons: list[QPushButton] = []
        if len(self._shown) > 1 and self.comparison is not None:
            buttons = [*self.comparison.buttons.values()]
        elif self.view is not None:
            buttons = [self.view.buttons[name] for name in _MENU]
        menu = QMenu(self)
        menu.setObjectName("runs_menu")
        menu.setAccessibleName(self.tr("What can be done"))
        menu.setToolTipsVisible(True)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for button in buttons:
            action = menu.addAction(button.text(), button.click)
            action.setObjectName(f"runs_menu_{button.objectName()}")
            action.setEnabled(button.isEnabled())
            action.setToolTip(button.toolTip())
        if len(self._shown) > 1:
            menu.addSeparator()
            delete = menu.addAction(self.tr("De&lete {0} runs").format(len(self.table.selected)), self.ask_delete)
            delete.setObjectName("runs_menu_delete")
            delete.setEnabled(self._state.project is not None and self._state.project.writable)
        menu.popup(at)

    @Slot(str)
    def _on_made(self, run_id: str) -> None:
        self._wanted = (run_id,)
        self._state.runs_changed.emit()

    @Slot()
    def ask_delete(self) -> None:
        """Ask whether the selected runs shall be deleted."""
        ids = self.table.selected
        if not ids or self._state.project is None or not self._state.project.writable:
            return
        names = ", ".join(run_title(id_, self._state.registry) for id_ in ids[:3]) + ("…" if len(ids) > 3 else "")
        count = len(ids)
        title = self.tr("Delete this run?") if count == 1 else self.tr("Delete {0} runs?").format(count)
        text = self.tr("{0}: the recipe, the model and its results are removed from the disk for good.")
        if all(run.status == "queued" for run in self.table.runs_model.runs if run.id in ids):
            text = self.tr("{0}: it has not begun, leaves the queue, and its recipe is removed from the disk for good.")
        Question(
            "delete_runs",
            title,
            text.format(names),
            yes=self.tr("&Delete"),
            no=self.tr("&Keep"),
            on_yes=lambda: self.delete(ids),
            parent=self.window(),
            danger=True,
        ).open()

    def delete(self, ids: Sequence[str]) -> None:
        """Delete runs for good."""
        project = self._state.project
        if project is None:
            return
        neighbours = self.table.beside(ids)
        try:
            for run_id in ids:
                project.delete_run(run_id)
        except TLStudioError as error:
            self._state.show_error(error)
        else:
            self._wanted = neighbours
        self._state.runs_changed.emit()
