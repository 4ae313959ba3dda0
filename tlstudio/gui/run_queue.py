"""The queue of the open project as the window sees it: how many runs wait, and whether a process works them off."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from tlstudio.api import TLStudioError
from tlstudio.api.files import text_of
from tlstudio.gui.titles import run_title

if TYPE_CHECKING:
    from tlstudio.engine.recipe import Recipe
    from tlstudio.gui.state import AppState
    from tlstudio.store.project import Project
    from tlstudio.store.run_record import RunSummary

LOOK_EVERY_MS = 1000
"""How often it is looked at what becomes of the runs while the queue is worked off."""

_KEY = "queue look"


@dataclass(frozen=True, eq=False)
class _Look:
    """What was seen: whether the queue is worked off, and the runs, newest first."""

    worked_off: bool = False
    runs: Sequence[RunSummary] = ()

    @property
    def states(self) -> dict[str, str]:
        return {run.id: run.status for run in self.runs}


def _look_at(project: Project | None, starting: bool) -> _Look:
    from tlstudio.engine.run_queue import is_worked_off

    if project is None:
        return _Look()
    # In this order: what ends between the two is then still seen as on, and looked at once more.
    return _Look(starting or is_worked_off(project), project.runs())


class RunQueue(QObject):
    """Adds runs, and has the queue worked off or stopped. The work is done by a process that outlives the window.

    Args:
        state: Where the open project is; owns this.

    Attributes:
        waiting: Number of runs that wait.
        on: Whether the queue is worked off.

    Signals:
        changed(): `waiting` or `on` is another one now, or a run has begun or ended while it is worked off. With
            another project that is not said: who hears of it looks here anyway.
        looked(): It was looked again what becomes of the runs while the queue is worked off.
    """

    changed = Signal()
    looked = Signal()

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._state = state
        self.waiting = 0
        self.on = False
        self._seen = _Look()
        self._telling = False
        self._watched: set[str] = set()  # runs that had not ended while it was worked off
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = QTimer(self)
        self._clock.setInterval(LOOK_EVERY_MS)
        self._clock.timeout.connect(self._look_again)
        state.project_changed.connect(self._on_project)
        state.runs_changed.connect(self.look)

    @Slot(object)
    def add(self, recipe: Recipe) -> None:
        """Let a run wait; while another one is under way, it begins by itself when its turn has come."""
        runs = self._add([recipe])
        if not runs:
            return
        text = self.tr("{0} is queued; it begins by itself when its turn has come.")
        if not self.on:
            text = self.tr("{0} is queued. Queue more, or start the queue.")
        self._state.message.emit(text.format(run_title(runs[0], self._state.registry)), "")

    def add_folds(self, recipe: Recipe, *, start: bool = False) -> None:
        """Let a run wait for each fold of a recipe.

        Args:
            recipe: A recipe with folds.
            start: Whether the queue is worked off from now on.
        """
        from tlstudio.engine.recipe import fold_recipes

        runs = self._add(fold_recipes(recipe), start=start)
        if runs:
            text = self.tr("{0} runs are queued, one for each fold; the Runs page leads from one to all of them.")
            titles = "\n".join(run_title(run, self._state.registry) for run in runs)
            self._state.message.emit(text.format(len(runs)), titles)

    def _add(self, recipes: Sequence[Recipe], *, start: bool = False) -> list[str]:
        """Let a run wait for each recipe, and give their ids; what cannot be queued is told."""
        from tlstudio.engine.run_queue import add_to_queue

        project, runs = self._state.project, list[str]()
        if project is None:
            return runs
        try:
            for recipe in recipes:
                runs.append(add_to_queue(recipe, project).id)
        except TLStudioError as error:
            self._state.show_error(error)
        if runs and not self.on and (start or self._state.run_state.active):
            self.start()
        if runs:
            self._state.runs_changed.emit()
        return runs

    @Slot()
    def start(self) -> None:
        """Have the queue worked off from now on, unless somebody does so already; without a queued run, nothing is."""
        from tlstudio.engine.run_queue import start_queue

        project = self._state.project
        if project is None:
            return
        try:
            self._process = start_queue(project)
        except TLStudioError as error:
            self._state.show_error(error)
        self.look()

    @Slot()
    def stop(self) -> None:
        """Have no queued run begun any more; the present one goes on."""
        from tlstudio.engine.run_queue import stop_queue

        project = self._state.project
        if project is None or not self.on:
            return
        try:
            stop_queue(project)
        except TLStudioError as error:
            self._state.show_error(error)

    @Slot()
    def look(self) -> None:
        """Look what is so now, and tell it if it was otherwise."""
        if self._telling:
            return  # what is told now has just been seen
        before = self.waiting, self.on
        self._take_in(_look_at(self._state.project, self._is_starting))
        if (self.waiting, self.on) != before:
            self.changed.emit()

    def runs(self) -> Sequence[RunSummary]:
        """The runs of the project, newest first: as they are now, or those that the look has seen that is told now."""
        if self._telling:
            return self._seen.runs
        project = self._state.project
        return project.runs() if project is not None else ()

    @property
    def _is_starting(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _take_in(self, look: _Look) -> None:
        was_on, self._seen, self.on = self.on, look, look.worked_off
        states = look.states
        self.waiting = list(states.values()).count("queued")
        if self.on:
            if not was_on:  # what was said of the queue before is no longer so
                text = self.tr("The queue is on: its runs begin one after the other, also without this window.")
                self._state.message.emit(text, "")
            self._watched |= {run for run, status in states.items() if status in ("queued", "running")}
            if not self._clock.isActive():
                self._clock.start()
        else:
            self._clock.stop()
            if was_on and self._state.project is not None:
                self._tell_end(self._state.project, states)
            self._watched.clear()
            self._process = None

    @Slot()
    def _look_again(self) -> None:
        """Look in a job: with hundreds of runs, listing them takes longer than the window may stand still."""
        project, before, starting = self._state.project, self._seen, self._is_starting
        if any(job.key == _KEY for job in self._state.jobs.jobs):
            return

        def tell(look: _Look) -> None:
            if self._seen is before:  # else somebody has looked in the meantime
                self._tell(look)

        def failed(error: Exception) -> None:
            if self._state.project is project:  # else it was closed in the meantime
                self._state.show_error(error)

        title = self.tr("Looking at the queue")
        self._state.jobs.start(lambda _: _look_at(project, starting), title, tell, failed, key=_KEY)

    def _tell(self, look: _Look) -> None:
        before, waiting, on = self._seen.states, self.waiting, self.on
        self._take_in(look)
        self._telling = True
        try:
            if look.states != before:
                self.changed.emit()
                self._state.runs_changed.emit()
            elif (self.waiting, self.on) != (waiting, on):
                self.changed.emit()
            self.looked.emit()
        finally:
            self._telling = False

    def close(self) -> None:
        """Look no more; what works the queue off goes on."""
        self._clock.stop()
        self._process = None

    def _tell_end(self, project: Project, states: Mapping[str, str]) -> None:
        from tlstudio.engine.run_queue import OUTPUT_NAME

        failed = sorted(run for run in self._watched if states.get(run) == "failed")
        if self._process is not None and self._process.returncode:
            sentence = self.tr("The queue has ended too early; what was not begun is still queued.")
            self._state.message.emit(sentence, text_of(project.folder / OUTPUT_NAME).strip())
        elif not self.waiting and failed:
            sentence = self.tr("The queue is done; {0} of its runs failed.").format(len(failed))
            self._state.message.emit(sentence, "\n".join(run_title(run, self._state.registry) for run in failed))
        elif not self.waiting:
            self._state.message.emit(self.tr("The queue is done; the results are on the Runs page."), "")

    @Slot()
    def _on_project(self) -> None:
        self._process, self.on = None, False
        self._watched.clear()
        self._take_in(_look_at(self._state.project, starting=False))
