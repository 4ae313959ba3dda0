"""The Project page: start here, and see at a glance what is there and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import TLStudioError
from tlstudio.gui.panels.project_overview import Overview, ProjectOverview, collect
from tlstudio.gui.panels.project_welcome import Welcome
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.file_dialogs import ask_folder
from tlstudio.gui.widgets.project_dialogs import NameDialog, NewProjectDialog
from tlstudio.gui.workers import Job, JobContext
from tlstudio.startup import user_folder

if TYPE_CHECKING:
    from tlstudio.engine.recipe import Recipe
    from tlstudio.store.project import Project


class ProjectPanel(QWidget):
    """Without a project: new, open, recent, demo. With one: its data sets, its last runs, the next step."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("project_panel")
        self.setProperty("role", "page")
        self._state = state
        self._demo: Job[tuple[Project, list[Recipe]]] | None = None
        self._welcome = Welcome(state)
        self._overview = ProjectOverview(state)
        self._stack = QStackedWidget()
        self._stack.setObjectName("project_stack")
        self._stack.addWidget(self._welcome)
        self._stack.addWidget(self._overview)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self._welcome.new_wanted.connect(self.new_project)
        self._welcome.open_wanted.connect(self.choose_project)
        self._welcome.demo_wanted.connect(self.try_demo)
        self._welcome.project_wanted.connect(self.open_project)
        self._overview.rename_wanted.connect(self.rename_project)
        self._overview.folder_wanted.connect(self.open_folder)
        self._overview.close_wanted.connect(self.close_project)
        state.project_changed.connect(self.refresh)
        state.datasets_changed.connect(self.refresh)
        state.runs_changed.connect(self.refresh)
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Show what is there now."""
        project = self._state.project
        if project is None:
            self._welcome.refresh()
            self._stack.setCurrentWidget(self._welcome)
            return
        self._overview.show_head(project)
        self._stack.setCurrentWidget(self._overview)
        self._state.jobs.start(
            lambda context: collect(project, context),
            self.tr("Looking at the project"),
            self._show_overview,
            key="project_overview",
        )

    @Slot()
    def new_project(self) -> None:
        """Ask for name and place of a new project."""
        NewProjectDialog(self._state, self._create, self.window()).open()

    @Slot()
    def choose_project(self) -> None:
        """Ask for the folder of a project."""
        start = self._start_folder()
        ask_folder(self._state, self, "open_project", self.tr("Open a project"), self.open_project, start=start)

    @Slot(object)
    def open_project(self, path: object) -> None:
        """Open the project in a folder; an error is shown."""
        try:
            self._state.open_project(Path(str(path)))
        except TLStudioError as error:
            self._state.show_error(error)
            self.refresh()

    @Slot()
    def close_project(self) -> None:
        """Close the project."""
        try:
            self._state.close_project()
        except TLStudioError as error:
            self._state.show_error(error)

    @Slot()
    def open_folder(self) -> None:
        """Show the project's folder in the system's file manager."""
        if self._state.project is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._state.project.folder)))

    @Slot()
    def rename_project(self) -> None:
        """Ask for another name; the folder keeps its own."""
        project = self._state.project
        if project is not None:
            NameDialog(project.name, self._rename, self.window()).open()

    @Slot()
    def try_demo(self) -> None:
        """Make the demo project with its two data sets and train on both."""
        if self._demo is not None:
            return
        if self._state.run_state.active:
            self._state.show_error(TLStudioError("A run is under way.", "Wait for its end or stop it first."))
            return
        folder = user_folder() / "demo"
        project = self._state.project
        if project is not None and project.folder == folder:
            # The demo is open already: it cannot be opened a second time, and its data sets may be trained again.
            self._state.close_project()
        registry = self._state.registry

        def prepare(context: JobContext) -> tuple[Project, list[Recipe]]:
            context.progress(0, 0, self.tr("Loading the libraries"))
            from tlstudio.engine.advise import complete
            from tlstudio.engine.demo import prepare_demo

            project = prepare_demo(
                folder,
                registry,
                on_progress=lambda done, total: context.progress(done, total, self.tr("Importing the demo data")),
                cancelled=context.cancelled,
            )
            try:
                context.progress(0, 0, self.tr("Choosing what to train"))
                values = {"strategy": {"name": "linear_probe"}}
                recipes = [complete(values, project.dataset(name), registry) for name in project.datasets()]
            except BaseException:
                project.close()
                raise
            return project, recipes

        self._welcome.set_busy(True)
        self._demo = self._state.jobs.start(prepare, self.tr("Preparing the demo"), self._start_demo)
        self._demo.ended.connect(self._demo_over)

    @Slot(object)
    def _demo_over(self, _job: object) -> None:
        self._demo = None
        self._welcome.set_busy(False)

    def _start_demo(self, prepared: tuple[Project, list[Recipe]]) -> None:
        project, recipes = prepared
        try:
            self._state.set_project(project)
        except TLStudioError as error:
            self._state.show_error(error)
            return
        self._state.navigate.emit("train")
        self._state.request_training(recipes)

    def _create(self, folder: Path, name: str) -> None:
        self._state.create_project(folder, name)
        self._state.navigate.emit("data")

    def _rename(self, name: str) -> None:
        project = self._state.project
        if project is not None:
            project.rename(name)
            self._state.project_changed.emit()

    def _start_folder(self) -> str:
        recent: Sequence[Path] = self._state.recent_projects()
        return str(recent[0].parent if recent else Path.home())

    def _show_overview(self, overview: Overview) -> None:
        if self._state.project is not None and self._state.project.folder == overview.folder:
            self._overview.show_overview(overview)
