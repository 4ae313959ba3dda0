"""A model soup: the weights of several runs averaged, with what each of them and the average is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QComboBox, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.class_table import Cell, FigureTable
from tlstudio.gui.widgets.figures import metric_title, number_text
from tlstudio.gui.widgets.run_table import shown_metric
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.widgets.work_dialog import WorkDialog, reporting
from tlstudio.gui.workers import JobContext
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run_record import RunSummary

if TYPE_CHECKING:
    from tlstudio.engine.soups import Kettle, Soup

_SPLITS = ("validation", "test")
Metrics = Mapping[str, Mapping[str, float]]


class SoupDialog(WorkDialog):
    """Measures runs alone and as a soup, and makes a run of the soup.

    Args:
        state: What the pages share.
        runs: The runs, which fit together.
        parent: Parent widget.

    Signals:
        made(str): A run was made; carries its id.
    """

    made = Signal(str)

    def __init__(self, state: AppState, runs: Sequence[RunSummary], parent: QWidget | None = None) -> None:
        title = self.tr("Average of {0} runs (soup)").format(len(runs))
        super().__init__(state, "soup", title, title, parent)
        self._runs = tuple(runs)
        self._soups: dict[bool, Soup] = {}  # by whether it is greedy
        self._cooked: tuple[Kettle, Soup] | None = None  # the last one, which can be written as it is
        self.way = QComboBox()
        self.way.setObjectName("soup_way")
        self.way.setAccessibleName(self.tr("Which runs are averaged"))
        self.way.addItem(self.tr("Greedy: a run is taken only where the average does not become worse"), True)
        self.way.addItem(self.tr("Uniform: all runs are averaged"), False)
        self.way.currentIndexChanged.connect(lambda _: self._show())
        about = self.tr(
            "The mean of their weights is one model, which costs no more to use than one of them. Runs that differ in "
            "seed, learning rate or augmentation suit best. The validation split chooses; nothing is trained."
        )
        self.table = FigureTable("soup_table", self.tr("What each run and the soup are worth"), sortable=False)
        self._told = text_label("", "second", "soup_told", wrap=True)
        measure = push_button(self.tr("&Measure"), "secondary", "soup_measure")
        make = push_button(self.tr("Make a &run"), "primary", "soup_make")
        measure.clicked.connect(self.measure)
        make.clicked.connect(self.make)
        self.body.addWidget(self.way)
        self.body.addWidget(text_label(about, "second", "soup_about", wrap=True))
        self.body.addWidget(self.table, 1)
        self.body.addWidget(self._told)
        self.add_buttons(measure, make, also=(self.way,))
        self.resize(680, 460)
        self._show()

    @property
    def greedy(self) -> bool:
        """Whether a run is taken only where the soup does not become worse."""
        return bool(self.way.currentData())

    @Slot()
    def _show(self) -> None:
        """Show what was measured in the way that is chosen; before that, what is known of the runs."""
        soup = self._soups.get(self.greedy)
        if soup is None:
            known = (run.monitor or (shown_metric(run) or ("",))[0] for run in self._runs)
            monitor = next((name for name in known if name), "")
            rows = [(run.id, run.metrics, "") for run in self._runs]
            whole: Metrics = {}
            self._told.setText(self.tr("Measure to see what the soup is worth on the validation and test splits."))
        else:
            monitor = soup.monitor
            rows = [(one.run, one.measured.metrics, self.tr("yes") if one.taken else "—") for one in soup.tasted]
            whole = soup.measured.metrics
            count = sum(one.taken for one in soup.tasted)
            told = [self.tr("{0} of {1} runs are in the soup.").format(count, len(soup.tasted))]
            if soup.statistics:
                told.append(self.tr("Running statistics of BatchNorm were measured anew on the train split."))
            self._told.setText(" ".join(told))
        splits = [split for split in _SPLITS if any(split in metrics for _, metrics, _ in rows)]
        cells = [
            self._row(run_title(run, self._state.registry), metrics, splits, monitor, taken)
            for run, metrics, taken in rows
        ]
        cells.append(self._row(self.tr("The soup"), whole, splits, monitor, ""))
        metric = metric_title(monitor) if monitor else ""
        heads = [self.tr("{0}, {1}").format(metric, split) for split in splits]
        self.table.show_rows((self.tr("Run"), *heads, self.tr("In the soup")), cells)

    def _row(self, name: str, metrics: Metrics, splits: Sequence[str], monitor: str, taken: str) -> list[Cell]:
        values = [metrics.get(split, {}).get(monitor) for split in splits]
        return [
            (name, name),
            *(("—", -1.0) if value is None else (number_text(value), value) for value in values),
            (taken, taken),
        ]

    @Slot()
    def measure(self) -> None:
        """Make the soup and measure it, without writing it."""
        greedy, ids = self.greedy, [run.id for run in self._runs]
        self._cooked = None  # no more models are in memory than one soup takes

        def cook(project: Project, registry: Registry, context: JobContext) -> tuple[Kettle, Soup]:
            return _cooked(project, registry, ids, greedy, context)

        def done(cooked: tuple[Kettle, Soup]) -> None:
            self._cooked = cooked
            self._soups[greedy] = cooked[1]
            self._show()

        self.work(self.tr("Measuring"), cook, done)

    @Slot()
    def make(self) -> None:
        """Make a run of the soup."""
        greedy, ids, last = self.greedy, [run.id for run in self._runs], self._cooked

        def save(project: Project, registry: Registry, context: JobContext) -> str:
            ready = last is not None and last[1].greedy == greedy
            kettle, soup = last if last and ready else _cooked(project, registry, ids, greedy, context)
            return kettle.save(soup).id

        def done(made: str) -> None:
            self.accept()
            self.made.emit(made)

        self.work(self.tr("Making the run"), save, done)

    def done(self, result: int) -> None:  # Qt override
        """Let go of the models when the dialog closes."""
        self._cooked = None
        super().done(result)


def _cooked(
    project: Project, registry: Registry, ids: Sequence[str], greedy: bool, context: JobContext
) -> tuple[Kettle, Soup]:
    from tlstudio.engine.soups import Kettle

    kettle = Kettle([project.run(run) for run in ids], project, registry, on_progress=reporting(context))
    return kettle, kettle.cook(greedy=greedy)
