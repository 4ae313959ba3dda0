"""A run while it goes: figures, progress, curves, what it gets wrong, and its log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

from tlstudio.api import TLStudioError
from tlstudio.engine.events import EpochEnded, RunEnded, RunEvent, RunStarted, StepLogged, TextsWritten
from tlstudio.engine.sequences import read_begun
from tlstudio.gui.run_reading import can_go_on
from tlstudio.gui.run_story import RunStory
from tlstudio.gui.state import AppState, RunPhase
from tlstudio.gui.step_values import RATES, thing_title
from tlstudio.gui.theme import mono_font
from tlstudio.gui.titles import items_word
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.end_card import EndCard
from tlstudio.gui.widgets.error_card import ErrorCard
from tlstudio.gui.widgets.figures import (
    duration_text,
    main_metrics,
    metric_ceiling,
    metric_title,
    number_text,
    size_text,
)
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.metric_plot import MetricPlot
from tlstudio.gui.widgets.series_plot import SeriesPlot
from tlstudio.gui.widgets.stat_card import StatCard
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.widgets.worst_card import WorstCard
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.store.run import Run

_LOG_LINES = 500


class LiveView(QWidget):
    """Shows the events of one run. Taking an event is cheap; drawing happens in `redraw`.

    Signals:
        see_result(str): The user wants to see the result of this run.
        train_again(): The user wants to go back to the form.
        go_on(str): The user wants to go on with this run.
        progressed(object): A `RunState`, at each `redraw` that changed it.
    """

    see_result = Signal(str)
    train_again = Signal()
    go_on = Signal(str)
    progressed = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_live")
        self._state = state
        self._revision: Revision | None = None
        self.story = RunStory()
        self._dirty = False
        self._end_drawn = False
        self._metric = ""
        self._worst: tuple[tuple[str, str, float], ...] | None = None
        self._written: TextsWritten | None = None
        self._build()
        state.theme_changed.connect(self._take_theme)

    def _build(self) -> None:
        theme = self._state.theme
        self.metric_card = StatCard("train_stat_metric", self.tr("Validation"))
        self.epoch_card = StatCard("train_stat_epoch", self.tr("Epoch"))
        self.time_card = StatCard("train_stat_time", self.tr("Time left"))
        self.speed_card = StatCard("train_stat_speed", self.tr("Speed"))
        cards = QHBoxLayout()
        cards.setSpacing(12)
        for card in (self.metric_card, self.epoch_card, self.time_card, self.speed_card):
            cards.addWidget(card)
        self.bar = QProgressBar()
        self.bar.setObjectName("train_progress")
        self.bar.setAccessibleName(self.tr("Progress of the run"))
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.error_card = ErrorCard("train_error", self._state, self.tr("The run has failed"))
        self.summary = EndCard()
        self.summary.see_result.connect(lambda: self.see_result.emit(self.story.run))
        self.summary.train_again.connect(self.train_again)
        self.summary.go_on.connect(lambda: self.go_on.emit(self.story.run))
        self.summary.try_suggestion.connect(self._try_suggestion)
        self.waiting_card = self._make_waiting()
        self.loss_plot = MetricPlot("train_plot_loss", self.tr("Loss"), theme)
        self.metric_plot = MetricPlot("train_plot_metric", self.tr("Metric"), theme)
        self.told_plot = SeriesPlot("train_plot_told", self._thing_title, theme, first=RATES)
        self.memory_plot = MetricPlot("train_plot_memory", self.tr("GPU memory (GB)"), theme)
        self.memory_plot.hide()
        self.worst_card = WorstCard(self._state)
        self.worst_card.opened.connect(self._open_item)
        self._grid = QGridLayout()
        self._grid.setSpacing(12)
        for number, widget in enumerate((self.loss_plot, self.metric_plot, self.told_plot, self.worst_card)):
            self._grid.addWidget(widget, number // 2, number % 2)
        self._grid.addWidget(self.memory_plot, 2, 0, 1, 2)
        for line in range(2):
            self._grid.setRowStretch(line, 3)
            self._grid.setColumnStretch(line, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addLayout(cards)
        layout.addWidget(self.bar)
        layout.addWidget(self.waiting_card)
        layout.addWidget(self.error_card)
        layout.addWidget(self.summary)
        layout.addLayout(self._grid, 1)
        layout.addLayout(self._make_log())

    def _make_waiting(self) -> Card:
        card = Card("train_waiting")
        title = self.tr("The run waits; it goes on by itself as soon as this is mended")
        card.setAccessibleName(title)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(IconLabel(self._state, "warning", "caution", 18))
        head.addWidget(text_label(title, "section", "train_waiting_title"), 1)
        self._waiting_text = text_label("", "", "train_waiting_text", wrap=True)
        card.column.addLayout(head)
        card.column.addWidget(self._waiting_text)
        card.hide()
        return card

    def _make_log(self) -> QVBoxLayout:
        self._log_line = text_label("", "small", "train_log_line", elide=True)
        self.log_button = push_button(self.tr("Show &log"), "link", "train_log_toggle")
        self.log_button.setCheckable(True)
        self.log = QPlainTextEdit()
        self.log.setObjectName("train_log")
        self.log.setAccessibleName(self.tr("Log"))
        self.log.setReadOnly(True)
        self.log.setTabChangesFocus(True)
        self.log.setProperty("role", "mono")
        self.log.setFont(mono_font())
        self.log.setMaximumBlockCount(_LOG_LINES)
        self.log.setFixedHeight(120)
        self.log.hide()
        self.log_button.toggled.connect(self._show_log)
        row = QHBoxLayout()
        row.addWidget(self._log_line, 1)
        row.addWidget(self.log_button)
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addLayout(row)
        column.addWidget(self.log)
        return column

    # -- events ---------------------------------------------------------------------------------------------

    def begin(self, revision: Revision | None, run_id: str = "", *, follows: bool = False) -> None:
        """Get ready for a run.

        Args:
            revision: Its data; `None` if they are still to be opened, see `show_data`.
            run_id: Its id, if it is known already.
            follows: Whether it follows another one of the same sequence, whose log stays.
        """
        self._revision = revision
        self.story = RunStory()
        self.story.run = run_id
        self._end_drawn = False
        self._worst = self._written = None
        for plot in (self.loss_plot, self.metric_plot, self.memory_plot):
            plot.clear()
            plot.set_growing(True)
        self.told_plot.forget()
        self.told_plot.set_growing(True)
        self.memory_plot.hide()
        self._grid.setRowStretch(2, 0)
        for card in (self.metric_card, self.epoch_card, self.time_card, self.speed_card):
            card.show_figure("—")
        self.error_card.hide()
        self.waiting_card.hide()
        self.summary.hide()
        self.worst_card.begin(revision)
        if not follows:
            self.log.clear()
            self.story.log.append(self.tr("Getting ready: the libraries are loaded when they are first needed."))
        self.time_card.set_caption(self.tr("Time left"))
        self.bar.setValue(0)
        self._dirty = True
        self.redraw()

    def open_data(self, name: str, revision_id: str) -> None:
        """Open the data of the run, and show them as soon as they are there."""
        project, story = self._state.project, self.story

        def work(_: JobContext) -> Revision | None:
            with contextlib.suppress(TLStudioError):  # who carries the run out says so
                return project.dataset(name, revision_id) if project is not None else None
            return None

        def show(revision: Revision | None) -> None:
            if revision is not None and story is self.story:
                self.show_data(revision)

        self._state.jobs.start(work, self.tr("Opening the data"), show, key="train data")

    def show_data(self, revision: Revision) -> None:
        """Take the data of the run, once they are open."""
        self._revision = revision
        if self.story.epoch is not None:
            self.worst_card.show_data(revision, self.story.epoch.worst)
        else:
            self.worst_card.begin(revision)
        self._dirty = True

    def take(self, events: Iterable[RunEvent]) -> None:
        """Take in events; nothing is drawn yet."""
        for event in events:
            if isinstance(event, RunStarted) and self.story.started is not None and event.run != self.story.run:
                self.redraw()  # what was told of the run before
                self.begin(None, event.run, follows=True)
                if (run := self.find_run()) is not None:
                    summary = run.summary()
                    self.open_data(summary.dataset, summary.revision)
            self._dirty = True
            self.story.take((event,))
            if isinstance(event, StepLogged):
                self._add_step(event)
            elif isinstance(event, EpochEnded):
                self._add_epoch(event)
            elif isinstance(event, TextsWritten):
                self._written = event
            elif isinstance(event, RunStarted):
                self._add_curves(event)

    @property
    def ended(self) -> RunEnded | None:
        """The last event, once it has come."""
        return self.story.ended

    @property
    def phase(self) -> RunPhase:
        """What the run is doing."""
        return self.story.phase

    def set_stopping(self) -> None:
        """Show that the end has been asked for."""
        self.story.phase = "stopping"
        self._dirty = True

    def _add_curves(self, event: RunStarted) -> None:
        run = self.find_run()
        if run is not None and (sequence := read_begun(run)) is not None:
            part, count = len(sequence.result.runs), len(sequence.result.datasets)
            self.story.part = self.tr("{0} of {1}").format(part, count)
        self._choose_metric("" if event.monitor == "loss" else event.monitor)
        self.loss_plot.add_curve(self.tr("train"), color=0)
        self.loss_plot.add_curve(self.tr("validation"), color=1)
        self.metric_plot.add_curve(self.tr("validation"), color=1)

    def _choose_metric(self, name: str) -> None:
        # The loss has a plot of its own: where it is what the best epoch is chosen by, the second plot shows the
        # metric that people look at.
        self._metric = name
        title = metric_title(name) if name else self.tr("Metric")
        short = metric_title(name, short=True) if name else title
        self.metric_card.set_caption(self.tr("Validation {0}").format(short))
        self.metric_plot.set_title(title, metric_ceiling(name))

    def _add_step(self, event: StepLogged) -> None:
        self.loss_plot.append(self.tr("train"), event.epoch, event.loss)
        self.told_plot.take_step(event)
        if event.gpu_memory:
            self.memory_plot.add_curve(self.tr("in use"), color=4)
            self.memory_plot.append(self.tr("in use"), event.epoch, event.gpu_memory / 1e9)

    def _add_epoch(self, event: EpochEnded) -> None:
        self._worst = event.worst
        if self._metric not in event.validation:
            self._choose_metric(main_metrics(event.validation, 1)[0] if event.validation else "")
        for plot, name in ((self.loss_plot, "loss"), (self.metric_plot, self._metric)):
            if name in event.validation:
                plot.append(self.tr("validation"), event.epoch, event.validation[name])
                if event.is_best:
                    plot.mark_best(event.epoch, event.validation[name])

    # -- drawing --------------------------------------------------------------------------------------------

    def redraw(self) -> None:
        """Draw what has changed since the last call."""
        if not self._dirty:
            return
        self._dirty = False
        for plot in (self.loss_plot, self.metric_plot, self.told_plot):
            plot.flush()
        if self.memory_plot.flush() and self.memory_plot.isHidden():
            self._grid.setRowStretch(2, 2)
            self.memory_plot.show()
        self._draw_figures()
        self._waiting_text.setText(self.story.waits_for)
        self.waiting_card.setVisible(bool(self.story.waits_for))
        if self.story.log:
            self.log.appendPlainText("\n".join(self.story.log))
            self._log_line.setText(self.story.log[-1])
            self.story.log.clear()
        if self._written is not None:
            self.worst_card.take_texts(self._written)
        elif self._worst is not None:
            self.worst_card.take_worst(self._worst)
        self._written = self._worst = None
        if self.story.ended is not None and not self._end_drawn:
            self._end_drawn = True
            self._draw_end(self.story.ended)
        self.progressed.emit(self.story.nutshell())

    def _draw_figures(self) -> None:
        story = self.story
        started, step, epoch = story.started, story.step, story.epoch
        if epoch is not None and self._metric in epoch.validation:
            best = self.tr("best was epoch {0}").format(epoch.best_epoch)
            best = self.tr("best so far") if epoch.is_best else best
            self.metric_card.show_figure(number_text(epoch.validation[self._metric]), best)
        if story.progress is not None and (step is None or story.phase == "evaluating"):
            done = f" {story.progress.done:,} / {story.progress.total:,}" if story.progress.total else ""
            figure = "—" if step is None or started is None else f"{story.epoch_now} / {started.epochs}"
            self.epoch_card.show_figure(figure, story.progress.what + done)
        elif started is not None:
            total = started.epochs * started.steps_per_epoch
            steps = self.tr("step {0} of {1}").format(f"{step.step:,}", f"{total:,}") if step else ""
            self.epoch_card.show_figure(f"{story.epoch_now} / {started.epochs}", steps)
        if step is not None:
            data = self._revision
            items = self.tr("items") if data is None else items_word(data.modality, data.task)
            text = self.tr("{0} a second").format(items)
            self.speed_card.show_figure(number_of_items(step.samples_per_second), text)
            left = "—" if step.seconds_left is None else duration_text(step.seconds_left)
            so_far = self.tr("{0} so far").format(duration_text(story.seconds))
            if step.gpu_memory:
                so_far += " · " + size_text(step.gpu_memory)
            self.time_card.show_figure(left, so_far)
        fraction = story.fraction
        self.bar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.bar.setValue(round(fraction * 1000))

    def _draw_end(self, ended: RunEnded) -> None:
        self.time_card.set_caption(self.tr("Time"))
        self.time_card.show_figure(duration_text(ended.seconds), self.tr("in all"))
        for plot in (self.loss_plot, self.metric_plot, self.told_plot, self.memory_plot):
            plot.set_growing(False)
            plot.flush()
        if ended.status == "failed":
            self.error_card.show_error(ended.error, ended.traceback)
        run = self.find_run()
        self.summary.show_end(
            self.story,
            can_go_on=run is not None and can_go_on(run, ended.status),
            kept=run is not None and run.best_checkpoint.is_dir(),
        )
        self.worst_card.draw()

    def find_run(self) -> Run | None:
        """The run; `None` where it never got a folder."""
        project = self._state.project
        try:
            return project.run(self.story.run) if project is not None and self.story.run else None
        except TLStudioError:
            return None

    @Slot()
    def _try_suggestion(self) -> None:
        """Train once more with the options that the failed run has found to work."""
        from tlstudio.engine.recipe import Recipe

        if self._state.project is None or self.ended is None:
            return
        try:
            values = self._state.project.run(self.story.run).read_recipe()
        except TLStudioError as error:
            self._state.error.emit(error)
            return
        for path, value in self.ended.suggestion.items():
            section, _, name = path.partition(".")
            values[section] = {**values[section], name: value}
        self._state.train_requested.emit(Recipe.model_validate(values))

    def _open_item(self, sample_id: str) -> None:
        if self._revision is not None:
            self._state.show_items.emit(self._revision, [sample_id], self.tr("Most wrong right now"))

    @Slot(bool)
    def _show_log(self, shown: bool) -> None:
        self.log.setVisible(shown)
        self.log_button.setText(self.tr("Hide &log") if shown else self.tr("Show &log"))

    def _thing_title(self, thing: str) -> str:
        return thing_title(thing, self._state.registry)

    def _take_theme(self) -> None:
        for plot in (self.loss_plot, self.metric_plot, self.told_plot, self.memory_plot):
            plot.set_theme(self._state.theme)


def number_of_items(rate: float) -> str:
    """Write items a second without needless digits."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
