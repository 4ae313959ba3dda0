"""What the pages share: the open project, the registry, the theme, jobs, and signals between pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, QSettings, QTimer, Signal, Slot
from PySide6.QtWidgets import QApplication

from tlstudio.api import TLStudioError
from tlstudio.gui import theme as themes
from tlstudio.gui.run_queue import RunQueue
from tlstudio.gui.theme import LIGHT, SYSTEM, Theme
from tlstudio.gui.workers import JobRunner
from tlstudio.plugins import PluginManager, Registry
from tlstudio.startup import user_folder
from tlstudio.store.format import NewerProjectError
from tlstudio.store.project import Project

RunPhase = Literal["idle", "preparing", "training", "paused", "evaluating", "stopping", "ended"]
MAX_RECENT = 8


@dataclass(frozen=True)
class RunState:
    """The current run in a nutshell, for the top bar and the status bar.

    Attributes:
        phase: What it is doing.
        text: For people: ``"Training 63 %"``.
        fraction: Part done in 0..1, `None` while unknown.
        seconds_left: Estimate, `None` while unknown.
        status: When ended: the run's status (``"done"``, ``"stopped"``, ``"cancelled"``, ``"failed"``).
    """

    phase: RunPhase = "idle"
    text: str = ""
    fraction: float | None = None
    seconds_left: float | None = None
    status: str = ""

    @property
    def active(self) -> bool:
        """Whether a run is under way."""
        return self.phase not in ("idle", "ended")


class AppState(QObject):
    """Everything that more than one page needs; made once in `tlstudio.gui.app` and passed to each page.

    Attributes:
        manager: The plugins.
        registry: What working plugins bring.
        project: The open project, or `None`.
        theme: The colours in use.
        settings: What is remembered between two starts.
        jobs: Work off the window's thread.
        run_state: The current run in a nutshell.
        queue: The runs that wait in the project.

    Signals:
        project_changed(): Another project, or none, is open.
        datasets_changed(str): A data set of this name was added or has a new revision; ``""``: any.
        dataset_selected(str, str): The data set and revision that the pages talk about.
        runs_changed(): A run was added, has begun or ended, or was deleted or annotated.
        theme_changed(): `theme` is another one now.
        message(str, str): A sentence for the status bar, and details behind it (may be empty).
        error(object): An exception to be shown in a dialog.
        navigate(str): Go to a page: ``"project"``, ``"data"``, ``"train"``, ``"runs"``, ``"predict"``, ``"plugins"``.
        show_items(object, object, str): Show these ids (a list) of a revision on the Data page, under a title.
        show_run(str): Show this run on the Runs page.
        resume_requested(str): Go on with this run from its last checkpoint, on the Train page.
        edit_requested(object): Fill the Train page with a recipe, to be changed and started by the user.
        start_requested(object): Fill the Train page with this backbone: a mapping as in a recipe.
        predict_requested(str): Use this run on the Predict page.
        ensemble_requested(object): Use the runs of these ids (a tuple) together on the Predict page.
        train_requested(object): Fill the Train page with a recipe and start it.
        run_state_changed(): `run_state` is another one now.
    """

    project_changed = Signal()
    datasets_changed = Signal(str)
    dataset_selected = Signal(str, str)
    runs_changed = Signal()
    theme_changed = Signal()
    message = Signal(str, str)
    error = Signal(object)
    navigate = Signal(str)
    show_items = Signal(object, object, str)
    show_run = Signal(str)
    resume_requested = Signal(str)
    edit_requested = Signal(object)
    start_requested = Signal(object)
    predict_requested = Signal(str)
    ensemble_requested = Signal(object)
    train_requested = Signal(object)
    run_state_changed = Signal()

    def __init__(
        self, manager: PluginManager, settings: QSettings | None = None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.manager = manager
        self.project: Project | None = None
        self.theme: Theme = LIGHT
        self.settings = settings or QSettings(str(user_folder() / "window.ini"), QSettings.Format.IniFormat)
        self.jobs = JobRunner(self)
        self.jobs.failed.connect(self._show_job_error)
        self.run_state = RunState()
        self.dataset = ""
        self.revision = ""
        self._recipes: list[Any] = []
        self.queue = RunQueue(self)

    @property
    def registry(self) -> Registry:
        """What working plugins bring."""
        return self.manager.registry

    # Projects ---------------------------------------------------------------------------------------------------

    def open_project(self, path: Path) -> None:
        """Open a project; the one that was open is closed only if this one can be opened.

        One that a newer version has made is opened for reading only, where this version finds its way in it. What was
        noticed while opening is told.

        Raises:
            ProjectError: It cannot be opened; the sentence says why.
        """
        path = path.resolve()
        if self.project is not None and self.project.folder.resolve() == path:
            return
        try:
            project = Project.open(path)
        except NewerProjectError as error:
            project = Project.open(path, write=False)
            project.notes.insert(0, error.what)
        self.set_project(project)
        if project.notes:
            self.message.emit(project.notes[0], "\n".join(project.notes))

    def create_project(self, path: Path, name: str = "") -> None:
        """Make a project in a folder and open it.

        Raises:
            ProjectError: It cannot be made; the sentence says why.
        """
        self.set_project(Project.create(path, name))

    def close_project(self) -> None:
        """Close the project, if one is open."""
        self.set_project(None)

    def set_project(self, project: Project | None) -> None:
        """Make a project that is open already the current one, and close the one before."""
        if self.run_state.active:
            if project is not None:
                project.close()
            raise TLStudioError("A run is under way in this project.", "Stop it on the Train page first.")
        before, self.project = self.project, project
        if before is not None:
            before.close()
        self._recipes.clear()
        self.dataset = self.revision = ""
        if project is not None:
            self._remember(project.folder)
            names = project.datasets()
            if names:
                self.dataset = names[0]
                self.revision = project.revisions(names[0])[-1]
        self.settings.setValue("project/last", str(project.folder) if project else "")
        self.set_run_state(RunState())
        self.project_changed.emit()

    def select_dataset(self, name: str, revision: str = "") -> None:
        """Make a data set (its newest revision unless said) the one that all pages talk about."""
        if self.project is None:
            return
        if name and not revision:
            revision = self.project.revisions(name)[-1]
        if (name, revision) != (self.dataset, self.revision):
            self.dataset, self.revision = name, revision
            self.dataset_selected.emit(name, revision)

    def recent_projects(self) -> list[Path]:
        """Return folders of projects that were open before, newest first; some may be gone."""
        value = self.settings.value("project/recent", [])
        paths = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
        return [Path(str(path)) for path in paths if path]

    def forget_recent(self, path: Path) -> None:
        """Take a folder off the list of recent projects."""
        self._set_recent(other for other in self.recent_projects() if other != path)

    def _remember(self, path: Path) -> None:
        path = path.resolve()
        self._set_recent([path, *(other for other in self.recent_projects() if other != path)][:MAX_RECENT])

    def _set_recent(self, paths: Iterable[Path]) -> None:
        self.settings.setValue("project/recent", [str(path) for path in paths])

    # Runs -------------------------------------------------------------------------------------------------------

    def request_training(self, recipes: Iterable[Any]) -> None:
        """Train recipes one after the other on the Train page, the first one now.

        They are short and belong to this window, as those of the demo: unlike the runs in `queue`, they are forgotten
        when it is closed, or when one of them is not done.
        """
        self._recipes += recipes
        if self._recipes and not self.run_state.active:
            self._train_next()

    def set_run_state(self, run_state: RunState) -> None:
        """Told by the Train page whenever its run gets further; at most a few times a second."""
        if run_state == self.run_state:
            return
        self.run_state = run_state
        self.run_state_changed.emit()
        if run_state.phase == "ended" and self._recipes:
            if run_state.status == "done":
                # Later, so that the Train page has put its own things in order first.
                QTimer.singleShot(0, self, self._train_next)
            else:
                self._recipes.clear()

    @Slot()
    def _train_next(self) -> None:
        if self._recipes and not self.run_state.active:
            self.train_requested.emit(self._recipes.pop(0))

    # Look -------------------------------------------------------------------------------------------------------

    @property
    def theme_choice(self) -> str:
        """``"system"``, ``"light"`` or ``"dark"``."""
        return str(self.settings.value("window/theme", SYSTEM))

    def set_theme_choice(self, choice: str) -> None:
        """Choose ``"system"``, ``"light"`` or ``"dark"``; kept for the next start."""
        self.settings.setValue("window/theme", choice)
        self.apply_theme()

    @Slot()
    def apply_theme(self) -> None:
        """Put the chosen theme's palette and style sheet on the application."""
        theme = themes.chosen_theme(self.theme_choice)
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.setPalette(themes.palette(theme))
            app.setStyleSheet(themes.stylesheet(theme, themes.base_size(app.font())))
        self.theme = theme
        self.theme_changed.emit()

    # Errors -----------------------------------------------------------------------------------------------------

    def show_error(self, error: Exception) -> None:
        """Show an error: a sentence for what the user can mend, a report for a bug."""
        self.error.emit(error)

    @Slot(object)
    def _show_job_error(self, failure: object) -> None:
        if isinstance(failure, tuple) and isinstance(failure[1], Exception):
            self.show_error(failure[1])

    def close(self, timeout: float = 2.5) -> bool:
        """End all jobs and close the project.

        Args:
            timeout: Seconds to wait for jobs.

        Returns:
            Whether every thread has ended.
        """
        self._recipes.clear()
        self.queue.close()
        ended = self.jobs.shut_down(timeout)
        if self.project is not None:
            self.project.close()
            self.project = None
        self.settings.sync()
        return ended
