"""The Train page: what shall it learn from, and how? And a run while it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import TLStudioError
from tlstudio.engine.child import OUTPUT_NAME
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.sequences import read_begun
from tlstudio.gui import run_work
from tlstudio.gui.notices import told_end
from tlstudio.gui.recipe_draft import Checked, RecipeDraft
from tlstudio.gui.run_driver import RunDriver
from tlstudio.gui.run_work import RunWork, takes_process
from tlstudio.gui.state import AppState, RunState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.live_view import LiveView
from tlstudio.gui.widgets.queue_row import QueueRow
from tlstudio.gui.widgets.ready_view import ReadyView
from tlstudio.gui.widgets.train_empty import TrainEmpty
from tlstudio.gui.widgets.train_setup import TrainSetup

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.events import RunEvent
    from tlstudio.engine.sequence_plan import SequencePlan
    from tlstudio.store.run import Run


class TrainPanel(QWidget):
    """The recipe at the left; at the right what will happen, or what happens.

    While a run is under way, the next one can be planned: it has to wait for its turn.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_page")
        self.setProperty("role", "page")
        self._state = state
        self._planning = False  # although a run is under way
        self._reins: dict[str, bool] = {}
        self.driver = RunDriver(self)
        self.draft = RecipeDraft(state, self)
        self.setup = TrainSetup(state, self.draft)
        self.ready = ReadyView(state)
        self._live: LiveView | None = None
        self.empty = TrainEmpty(state)
        self.right = QStackedWidget()
        self.right.setObjectName("train_right")
        self.right.addWidget(self.ready)
        self.queue_row = QueueRow(state)
        right = QVBoxLayout()
        right.setSpacing(12)
        right.addWidget(self.queue_row)
        right.addWidget(self.right, 1)
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(20, 16, 20, 12)
        row.setSpacing(14)
        row.addWidget(self.setup)
        row.addLayout(right, 1)
        self._pages = QStackedWidget()
        self._pages.setObjectName("train_pages")
        self._pages.addWidget(self.empty)
        self._pages.addWidget(page)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._pages)
        self._connect()
        self._show_reins()
        self._on_project()

    def _connect(self) -> None:
        self.draft.changed.connect(lambda: self.ready.show_looking(fresh=self.draft.fresh))
        self.draft.looked.connect(self.ready.show_looked)
        self.draft.checked.connect(self._on_checked)
        self.ready.problem_opened.connect(self.setup.go_to)
        self.setup.start_requested.connect(self.start)
        self.setup.queue_requested.connect(self._state.queue.add)
        self.setup.sequence.requested.connect(self.start_sequence)
        self.setup.sequence.go_on_requested.connect(self.resume)
        self.queue_row.chosen.connect(self.plan)
        self._state.queue.changed.connect(self._on_queue)
        self._state.queue.looked.connect(self._follow_running)
        self.setup.place.changed.connect(self._on_place)
        self.setup.pause_requested.connect(self.toggle_pause)
        self.setup.stop_requested.connect(self.driver.stop)
        self.setup.cancel_requested.connect(self.driver.cancel)
        self.driver.happened.connect(self._take_events)
        self.driver.ending.connect(self._on_ending)
        self.driver.ended.connect(self._on_ended)
        self._state.project_changed.connect(self._on_project)
        self._state.datasets_changed.connect(self._on_datasets)
        self._state.dataset_selected.connect(self._on_dataset_selected)
        self._state.train_requested.connect(self.train_recipe)
        self._state.edit_requested.connect(self.edit_recipe)
        self._state.start_requested.connect(self.start_from)
        self._state.resume_requested.connect(self.resume)
        self._state.theme_changed.connect(self._on_theme)

    @property
    def live(self) -> LiveView:
        """The run while it goes; built when it is first needed, for the plots behind it take a while to import."""
        if self._live is None:
            self._live = LiveView(self._state)
            self._live.see_result.connect(self._see_result)
            self._live.train_again.connect(self._train_again)
            self._live.go_on.connect(self.resume)
            self._live.progressed.connect(self._state.set_run_state)
            self.right.addWidget(self._live)
        return self._live

    # -- a run ----------------------------------------------------------------------------------------------

    @property
    def active_run(self) -> bool:
        """Whether a run is under way."""
        return self.driver.active

    @property
    def outlives_window(self) -> bool:
        """Whether the run that is under way can go on without the window."""
        return self.driver.outlives_window

    @Slot(object)
    def start(self, recipe: Recipe) -> None:
        """Train a recipe that has been checked, or queue it where others are before it."""
        project = self._state.project
        if project is None:
            return
        self._state.queue.look()  # a command may work it off by now
        if self._must_wait:
            self._state.queue.add(recipe)
            return
        work = run_work.execute(recipe, project, self._state.registry, in_process=self._takes_process())
        self._begin(work, self.draft.result.revision)

    @Slot(object)
    def start_sequence(self, plan: SequencePlan) -> None:
        """Learn data sets one after another; only says so while others are before it."""
        project = self._state.project
        if project is None:
            return
        self._state.queue.look()
        if self._must_wait:
            self._state.message.emit(self.tr("Another run is under way; start the sequence when it is done."), "")
            return
        in_process = self._takes_process()
        work = run_work.learn_in_sequence(plan, project, self._state.registry, in_process=in_process)
        self._begin(work, plan.revisions[0])

    def _takes_process(self) -> bool:
        flight = self.draft.result.preflight
        return takes_process(self.setup.place.place, flight.seconds if flight is not None else None)

    @Slot()
    def _on_place(self) -> None:
        if not self.draft.pending:
            self._on_checked(self.draft.result)

    @Slot(str)
    def resume(self, run_id: str) -> None:
        """Go on with a run from its last checkpoint; does nothing while others are before it."""
        project = self._state.project
        if project is None:
            return
        self._state.queue.look()
        if self._must_wait:
            self._state.message.emit(self.tr("Another run is under way; go on with this one when it is done."), "")
            return
        try:
            run = project.run(run_id)
        except TLStudioError as error:
            self._state.show_error(error)
            return
        # How long it will take is not known here; a run that was long before is.
        was_long = (run.folder / OUTPUT_NAME).exists()
        in_process = takes_process(self.setup.place.place, float("inf") if was_long else None)
        self._begin(run_work.resume(run_id, project, self._state.registry, in_process=in_process), None)
        self._show_what_runs(run)

    @Slot()
    def _follow_running(self) -> None:
        """Follow a run that goes on in a process of its own, left there by an earlier window."""
        project = self._state.project
        if project is None or self.driver.active:
            return
        rows = (summary for summary in self._state.queue.runs() if summary.status == "running")
        try:
            running = next((row for row in rows if project.run(row.id).own_process is not None), None)
        except TLStudioError:
            return  # the disk is away
        if running is not None:
            self._begin(run_work.follow(running.id, project, self._state.registry), None, planning=self._planning)
            self._show_what_runs(project.run(running.id))
            text = self.tr("{0} has gone on in its process; it is followed again.")
            if self._state.queue.on:
                text = self.tr("{0} has begun: its turn in the queue has come.")
            self._state.message.emit(text.format(run_title(running.id, self._state.registry)), "")

    def _begin(self, work: RunWork, revision: Revision | None, *, planning: bool = False) -> None:
        self._state.message.emit("", "")  # what was said last is no longer so
        self.live.begin(revision, work.run_id)
        self.driver.begin(work)
        self._reins = {}
        self.plan(planning)

    def _show_what_runs(self, run: Run) -> None:
        """Show the recipe of a run that was begun earlier in the form, and its data beside the curves."""
        try:
            recipe = Recipe.model_validate(run.read_recipe())
        except (TLStudioError, ValidationError):
            return  # who carries it out says so
        if not self._planning:
            self.setup.load_values(recipe)
        self.live.open_data(recipe.dataset.name, recipe.dataset.revision)

    @Slot(object)
    def train_recipe(self, recipe: Recipe) -> None:
        """Show a recipe in the form and start it as soon as it has been checked; queue it where it has to wait."""
        if self._must_wait:
            self._state.queue.add(recipe)
        else:
            self._state.navigate.emit("train")
            self.draft.wake()
            self.setup.start_recipe(recipe)

    @Slot(object)
    def edit_recipe(self, recipe: Recipe) -> None:
        """Show a recipe in the form, to be changed and started or queued by the user."""
        if not self.driver.active:
            self._train_again()
        else:
            self.plan(True)
        self.setup.load_values(recipe)

    @Slot(object)
    def start_from(self, backbone: Mapping[str, Any]) -> None:
        """Show the form for a run with this backbone (as in a recipe), on the data that all pages talk about."""
        if not self.driver.active:
            self._train_again()
        else:
            self.plan(True)
        self.draft.set_backbone(backbone)

    # -- the queue ------------------------------------------------------------------------------------------

    @property
    def _must_wait(self) -> bool:
        """Whether a run that is started now has others before it."""
        return self.driver.active or self._state.queue.on

    @Slot(bool)
    def plan(self, planning: bool) -> None:
        """While a run is under way, show the plan for the next one, or the run again."""
        self._planning = planning
        self.right.setCurrentWidget(self.ready if planning else self.live)
        self._show_reins(**self._reins)

    def _show_reins(self, *, paused: bool = False, ending: bool = False, waiting: bool = False) -> None:
        """Show the buttons of the moment; see `TrainSetup.show_running`."""
        self._reins = {"paused": paused, "ending": ending, "waiting": waiting}
        self.setup.show_running(self.driver.active and not self._planning, **self._reins)
        self._show_queue()

    def _show_queue(self) -> None:
        self.queue_row.show_state(running=self.driver.active, planning=self._planning)
        self.setup.show_turn(must_wait=self._must_wait)

    @Slot()
    def _on_queue(self) -> None:
        if not self.driver.active and not self._state.queue.on:
            self._planning = False
            self.draft.look_again()
        self._show_queue()

    # -- while it goes --------------------------------------------------------------------------------------

    @Slot()
    def toggle_pause(self) -> None:
        """Pause the run, or go on."""
        if self.driver.active:
            self._show_reins(paused=self.driver.toggle_pause())

    def shutdown(self, callback: Callable[[], None], *, leave: bool = False) -> None:
        """End the run and keep what it has, or leave it to its process; see `RunDriver.shutdown`."""
        begun = self._live is not None and self._live.story.started is not None
        self.driver.shutdown(callback, self._state.project, begun=begun, leave=leave)

    @Slot()
    def _on_ending(self) -> None:
        self._show_reins(ending=True)
        self.live.set_stopping()
        self.live.redraw()

    @Slot(object)
    def _take_events(self, events: Sequence[RunEvent]) -> None:
        before, begun, run_id = self._how_paused(), self.live.story.started is not None, self.live.story.run
        self.live.take(events)
        if self.live.story.started is not None and not (begun and self.live.story.run == run_id):
            self._state.runs_changed.emit()
        if not self.isHidden():
            self.live.redraw()
        paused, waiting = self._how_paused()
        if (paused, waiting) == before or self.live.phase == "stopping":
            return
        self._show_reins(paused=paused, waiting=waiting)

    def _how_paused(self) -> tuple[bool, bool]:
        """Whether the user has paused the run, and whether it waits by itself."""
        paused, waits = self.live.phase == "paused", bool(self.live.story.waits_for)
        return paused and not waits, paused and waits

    @Slot(object)
    def _on_ended(self, events: Sequence[RunEvent]) -> None:
        self.live.take(events)
        self._show_reins()
        self.live.redraw()
        ended = self.live.ended
        if ended is not None:
            self._state.message.emit(*told_end(ended))
        self._state.runs_changed.emit()
        if not self.driver.closing:
            self.draft.look_again()
            self._tell_sequence()

    def _tell_sequence(self) -> None:
        """Lead who is still here to what a whole sequence has forgotten; else say how it can go on."""
        run = self.live.find_run()
        begun = read_begun(run) if run is not None else None
        if run is None or begun is None:
            return
        if not begun.result.complete:
            text = self.tr("{0} of {1} data sets were learned. To go on: Learn several one after another…")
            done, count = len(begun.result.matrix), len(begun.result.datasets)
            self._state.message.emit(text.format(done, count), self.live.ended.error if self.live.ended else "")
        elif self.isVisible():
            self._see_result(run.id)

    @Slot(str)
    def _see_result(self, run_id: str) -> None:
        self._state.navigate.emit("runs")
        self._state.show_run.emit(run_id)

    @Slot()
    def _train_again(self) -> None:
        self.right.setCurrentWidget(self.ready)
        self._state.set_run_state(RunState())

    # -- the rest of the studio -----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:  # Qt override
        """Look at the recipe as soon as somebody can see what comes of it."""
        super().showEvent(event)
        self.setup.announce_dataset()
        self.draft.wake()

    @Slot(object)
    def _on_checked(self, checked: Checked) -> None:
        in_process = self._must_wait or self._takes_process()
        self.ready.show_checked(checked, self.setup.forms.place, in_process=in_process)
        if checked.can_start and self._live is None:
            # Building the plots now keeps the start quick.
            QTimer.singleShot(0, self, lambda: self.live)

    @Slot()
    def _on_project(self) -> None:
        if self.driver.active:
            return  # the project was only renamed: no other can be opened during a run
        self.draft.clear()
        self._planning = False
        self.right.setCurrentWidget(self.ready)
        self._on_datasets()
        self._follow_running()
        self._show_queue()

    @Slot(str)
    def _on_datasets(self, _name: str = "") -> None:
        if self.empty.show_missing():
            self._pages.setCurrentWidget(self.empty)
        else:
            self.setup.refresh_datasets()
            self._pages.setCurrentIndex(1)

    @Slot(str, str)
    def _on_dataset_selected(self, name: str, revision: str) -> None:
        if not self.driver.active or self._planning:
            self.setup.show_dataset(name, revision)

    @Slot()
    def _on_theme(self) -> None:
        self.setup.forms.set_theme(self._state.theme)
