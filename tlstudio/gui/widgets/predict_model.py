"""Which model the Predict page uses, what is known of it, and which other one is asked beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QComboBox, QWidget

from tlstudio.api import TASKS
from tlstudio.gui.run_reading import snapshot_count
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, run_title, run_words
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import metric_title, number_text, size_text
from tlstudio.gui.widgets.run_table import shown_metric
from tlstudio.gui.widgets.texts import ElidedBox, push_button, text_label
from tlstudio.gui.widgets.work_dialog import reporting
from tlstudio.gui.workers import Job, JobContext
from tlstudio.store.run_record import RunSummary

if TYPE_CHECKING:
    from tlstudio.engine.ensembles import EnsembleReport
    from tlstudio.engine.predictor_pool import Switched

Source = tuple[str, str]
"""``("run", id)``, ``("snapshots", id)``: those of the run together, ``("together", ids)``, one a line, or
``("folder", path)``."""


def ensemble_of(runs: Sequence[str]) -> Source:
    """The source that several runs are together."""
    return "together", "\n".join(runs)


def run_ids(source: Source) -> list[str]:
    """The runs of a source; none of a folder."""
    kind, name = source
    return [] if kind == "folder" else name.split("\n")


class PredictModel(Card):
    """A list of runs and exported folders, facts of the chosen one, and a second list of what to compare it with.

    Signals:
        chosen(object): A `Source` was chosen by hand.
        other_chosen(str): Id of the run that is asked beside it; ``""``: none.
        folder_wanted(): An exported folder is to be opened.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    chosen = Signal(object)
    other_chosen = Signal(str)
    folder_wanted = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("predict_model_card", parent, margins=(15, 10, 15, 12), spacing=6)
        self._state = state
        self._runs: Sequence[RunSummary] = ()
        self._asked: RunSummary | None = None  # the run that was chosen last
        self._source: Source | None = None
        self._worth: dict[Source, str] = {}  # what was measured of several together
        self._measuring: Job[EnsembleReport] | None = None
        self.box = _make_box("predict_model", self.tr("Model"))
        self.box.activated.connect(lambda row: self.chosen.emit(self.box.itemData(row)))
        self.facts = text_label("", "second", "predict_facts", wrap=True)
        self.switched = text_label("", "good", "predict_switched", wrap=True)
        self.switched.hide()
        self.worth = text_label("", "second", "predict_worth", wrap=True)
        self.measure_button = push_button(
            self.tr("Meas&ure what they are worth together"),
            "link",
            "predict_measure",
            hint=self.tr("Measures each alone and all together on the splits that none of them has learned from"),
        )
        self.measure_button.clicked.connect(self.measure)
        self.other_title = text_label(self.tr("Compare with"), "second", "predict_other_title")
        self.other = _make_box("predict_other", self.tr("Compare with"))
        self.other.setToolTip(self.tr("Another run that says what it makes of the same item"))
        self.other.activated.connect(lambda row: self.other_chosen.emit(self.other.itemData(row)))
        folder = push_button(self.tr("Open an exported &folder…"), "link", "predict_open_folder")
        folder.clicked.connect(self.folder_wanted)
        self.column.addWidget(text_label(self.tr("MODEL"), "caption", "predict_model_caption"))
        for widget in (self.box, self.facts, self.switched, self.worth):
            self.column.addWidget(widget)
        self.column.addWidget(self.measure_button, 0, Qt.AlignmentFlag.AlignLeft)
        for widget in (self.other_title, self.other):
            self.column.addWidget(widget)
        self.column.addWidget(folder, 0, Qt.AlignmentFlag.AlignLeft)

    def show_models(
        self,
        runs: Sequence[RunSummary],
        ensembles: Sequence[Sequence[str]],
        folders: Sequence[str],
        wanted: Source | None,
    ) -> Source | None:
        """List models, and choose one: that which is wanted, else the first. Returns it; `None`: there is none."""
        wanted, project = wanted or self.box.currentData(), self._state.project
        self._runs = runs
        there = {run.id for run in runs}  # the next run may have the id of one that was deleted
        self._worth = {source: text for source, text in self._worth.items() if there.issuperset(run_ids(source))}
        self.box.clear()
        for run in runs:
            self._add(self.box, run, ("run", run.id))
            if project is not None and (count := snapshot_count(project.runs_folder / run.id)) > 1:
                together = self.tr("its {0} snapshots together").format(count)
                named = f"{run_title(run.id, self._state.registry)} · {together} · {run.dataset}"
                self.box.addItem(named, ("snapshots", run.id))
        for ids in ensembles:
            members = [run for run in runs if run.id in ids]
            if len(members) == len(ids):
                self.box.addItem(f"{self._title(ensemble_of(ids))} · {members[0].dataset}", ensemble_of(ids))
                tip = "\n".join(run_title(one, self._state.registry) for one in ids)
                self.box.setItemData(self.box.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        for folder in folders:
            self.box.addItem(Path(folder).name, ("folder", folder))
        if not self.box.count():
            return None
        row = next((i for i in range(self.box.count()) if self.box.itemData(i) == wanted), 0)
        self.box.setCurrentIndex(row)
        source: Source = self.box.itemData(row)
        self._show_others(source)
        _widen(self.box)
        return source

    def show_source(self, source: Source) -> None:
        """Show what the files tell of a model, before it is loaded."""
        self._source = source
        self.switched.hide()
        self.facts.setToolTip("")
        self._show_others(source)
        self._show_worth()
        kind, name = source
        run = self._run(source)
        if kind == "folder":
            self.facts.setText(self.tr("Exported model in {0}").format(name))
        elif run is None:
            self.facts.setText("")
        elif kind == "together":
            lines = [run_words(one, self._state.registry)[1] for one in run_ids(source)]
            lines.append(self.tr("learned from {0} {1}").format(run.dataset, run.revision))
            lines.append(self.tr("the mean of what they say"))
            self.facts.setText("\n".join(lines))
        else:
            found = shown_metric(run)
            parts = (("backbone", run.backbone), ("strategy", run.strategy))
            lines = [
                " · ".join(component_title(self._state.registry, kind, part) for kind, part in parts),
                self.tr("learned from {0} {1}").format(run.dataset, run.revision),
            ]
            if kind == "snapshots":
                lines.append(self.tr("the mean of what its snapshots say"))
            elif found:
                lines.append(f"{metric_title(found[0])} {number_text(found[1])}")
            self.facts.setText("\n".join(lines))

    def show_switched(self, switched: Switched) -> None:
        """Say what it took to go on to a model that shares its backbone with one that was there already."""
        text = self.tr("Same backbone as before: only what it has learned itself was switched ({0}).")
        if switched.backbone_read:
            text = self.tr("Same backbone as before, in memory once; what it has learned itself takes {0}.")
        self.switched.setText(text.format(size_text(switched.own_bytes)))
        self.switched.setVisible(switched.shared)

    @property
    def other_run(self) -> str:
        """Id of the run that is asked beside the chosen one; ``""``: none."""
        return self.other.currentData() or ""

    def dataset(self, source: Source) -> str:
        """Name of the data set that a model has learned; ``""``: not known."""
        run = self._run(source)
        return "" if run is None else run.dataset

    def _run(self, source: Source) -> RunSummary | None:
        """The run of a source; of several together the first."""
        ids = run_ids(source)
        return next((run for run in self._runs if run.id in ids[:1]), None)

    def _title(self, source: Source) -> str:
        return self.tr("{0} runs together").format(len(run_ids(source)))

    def _show_worth(self) -> None:
        """Show what was measured of several that predict together, or how to measure it."""
        several = self._source is not None and self._source[0] in ("together", "snapshots")
        text = self._worth.get(self._source, "") if self._source is not None else ""
        self.worth.setText(text)
        self.worth.setVisible(bool(text))
        self.measure_button.setVisible(several and not text)

    @Slot()
    def measure(self) -> None:
        """Measure the runs or snapshots that predict together, each alone and all together."""
        source, project, registry = self._source, self._state.project, self._state.registry
        if source is None or project is None:
            return

        def work(context: JobContext) -> EnsembleReport:
            from tlstudio.engine.ensembles import measure_ensemble

            runs = [project.run(run) for run in run_ids(source)]
            return measure_ensemble(runs, project, registry, on_progress=reporting(context))

        def done(report: EnsembleReport) -> None:
            self._worth[source] = self._told(report)
            self._show_worth()

        self.measure_button.setEnabled(False)
        self._measuring = job = self._state.jobs.start(work, self.tr("Measuring"), done, key="predict measure")
        job.ended.connect(lambda _: self.measure_button.setEnabled(True))

    def _told(self, report: EnsembleReport) -> str:
        lines = []
        for split, metrics in report.together.items():
            metric = next((name for name in (report.monitor, "loss") if name in report.common(split)), "")
            if metric:
                mean, spread = report.spread(split, metric)
                lines.append(
                    self.tr("{0}, {1}: together {2}, alone {3} ± {4}").format(
                        metric_title(metric),
                        split,
                        number_text(metrics[metric]),
                        number_text(mean),
                        number_text(spread),
                    )
                )
        return "\n".join(lines)

    def forget(self) -> None:
        """Forget what was and is being measured: another project is open, whose runs may have the same ids."""
        if self._measuring is not None:
            self._measuring.cancel()
        self._worth.clear()

    def _show_others(self, source: Source) -> None:
        """List the runs that can be asked the same: with the same head, on the same data or the same backbone."""
        before, run = self.other_run, self._run(source) if source[0] != "together" else None
        if run is not None and before == run.id and self._asked is not None:
            before = self._asked.id  # the two change places
        self._asked = run
        self.other.clear()
        self.other.addItem(self.tr("No other run"), "")
        for one in self._runs:
            if run is not None and one.id != run.id and _asks_the_same(one, run):
                self._add(self.other, one, one.id)
        self.other.setCurrentIndex(max(0, self.other.findData(before)))
        _widen(self.other)
        for widget in (self.other_title, self.other):
            widget.setVisible(self.other.count() > 1)

    def _add(self, box: QComboBox, run: RunSummary, data: object) -> None:
        found, head = shown_metric(run), self._state.registry.heads.get(run.head)
        parts = [run_title(run.id, self._state.registry), run.dataset]
        parts += [TASKS[head.task].title] if head is not None else []
        parts += [f"{metric_title(found[0], short=True)} {number_text(found[1])}"] if found else []
        box.addItem(" · ".join(parts), data)
        box.setItemData(box.count() - 1, run.id, Qt.ItemDataRole.ToolTipRole)


def _asks_the_same(one: RunSummary, other: RunSummary) -> bool:
    return one.head == other.head and (one.dataset == other.dataset or one.backbone == other.backbone)


def _widen(box: QComboBox) -> None:
    """Let the open list show whole lines, which are longer than the box is wide."""
    view = box.view()
    view.setMinimumWidth(view.sizeHintForColumn(0) + view.verticalScrollBar().sizeHint().width() + 8)


def _make_box(name: str, accessible: str) -> QComboBox:
    box = ElidedBox()
    box.setObjectName(name)
    box.setAccessibleName(accessible)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box
