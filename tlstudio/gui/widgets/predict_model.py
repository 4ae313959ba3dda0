"""Which model the Predict page uses, what is known of it, and which other one is asked beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QWidget

from tlstudio.api import TASKS
from tlstudio.gui.run_reading import snapshot_count
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, run_title
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import metric_title, number_text, size_text
from tlstudio.gui.widgets.run_table import shown_metric
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.store.run_record import RunSummary

if TYPE_CHECKING:
    from tlstudio.engine.predictor_pool import Switched

Source = tuple[str, str]
"""``("run", id)``, ``("snapshots", id)``: those of the run together, or ``("folder", path)``."""


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
        self.box = _make_box("predict_model", self.tr("Model"))
        self.box.activated.connect(lambda row: self.chosen.emit(self.box.itemData(row)))
        self.facts = text_label("", "second", "predict_facts", wrap=True)
        self.switched = text_label("", "good", "predict_switched", wrap=True)
        self.switched.hide()
        self.other_title = text_label(self.tr("Compare with"), "second", "predict_other_title")
        self.other = _make_box("predict_other", self.tr("Compare with"))
        self.other.setToolTip(self.tr("Another run that says what it makes of the same item"))
        self.other.activated.connect(lambda row: self.other_chosen.emit(self.other.itemData(row)))
        folder = push_button(self.tr("Open an exported &folder…"), "link", "predict_open_folder")
        folder.clicked.connect(self.folder_wanted)
        self.column.addWidget(text_label(self.tr("MODEL"), "caption", "predict_model_caption"))
        for widget in (self.box, self.facts, self.switched, self.other_title, self.other):
            self.column.addWidget(widget)
        self.column.addWidget(folder, 0, Qt.AlignmentFlag.AlignLeft)

    def show_models(self, runs: Sequence[RunSummary], folders: Sequence[str], wanted: Source | None) -> Source | None:
        """List models, and choose one: that which is wanted, else the first. Returns it; `None`: there is none."""
        wanted, project = wanted or self.box.currentData(), self._state.project
        self._runs = runs
        self.box.clear()
        for run in runs:
            self._add(self.box, run, ("run", run.id))
            if project is not None and (count := snapshot_count(project.runs_folder / run.id)) > 1:
                together = self.tr("its {0} snapshots together").format(count)
                named = f"{run_title(run.id, self._state.registry)} · {together} · {run.dataset}"
                self.box.addItem(named, ("snapshots", run.id))
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
        self.switched.hide()
        self.facts.setToolTip("")
        self._show_others(source)
        kind, name = source
        run = self._run(source)
        if kind == "folder":
            self.facts.setText(self.tr("Exported model in {0}").format(name))
        elif run is None:
            self.facts.setText("")
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
        kind, name = source
        return next((run for run in self._runs if kind != "folder" and run.id == name), None)

    def _show_others(self, source: Source) -> None:
        """List the runs that can be asked the same: with the same head, on the same data or the same backbone."""
        before, run = self.other_run, self._run(source)
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
    box = QComboBox()
    box.setObjectName(name)
    box.setAccessibleName(accessible)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box
