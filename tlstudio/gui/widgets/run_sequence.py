"""What a run that ends a sequence of data sets has kept of each: the matrix of forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.figures import metric_title, number_text
from tlstudio.gui.widgets.texts import text_label

if TYPE_CHECKING:
    from tlstudio.engine.sequences import SequenceResult


class RunSequence(QWidget):
    """A row for each run of the sequence, a column for each data set.

    Args:
        state: Where the titles of runs come from.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("run_sequence")
        self._state = state
        self._sentence = text_label("", "", "run_sequence_sentence", wrap=True)
        self._about = text_label("", "second", "run_sequence_about", wrap=True)
        self.table = FigureTable(
            "run_sequence_table", self.tr("What was kept of each data set after each run"), sortable=False
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._sentence)
        layout.addWidget(self._about)
        layout.addWidget(self.table, 1)

    @property
    def sentence(self) -> str:
        """What it comes to."""
        return self._sentence.text()

    def show_sequence(self, result: SequenceResult) -> None:
        """Show what was measured."""
        metric = metric_title(result.metric)
        self._sentence.setText(
            self.tr("In the end {0} is {1} on average; {2} was forgotten of the earlier data sets.").format(
                metric, number_text(result.average), number_text(result.forgetting)
            )
        )
        better = self.tr("more is better") if result.better == "max" else self.tr("less is better")
        ways = {
            "nothing": self.tr("nothing was done against forgetting"),
            "replay": self.tr("samples of the earlier data were gone through again (replay)"),
            "ewc": self.tr("weights that the earlier tasks need were held (EWC)"),
            "lwf": self.tr("earlier runs were teachers (LwF)"),
        }
        self._about.setText(
            self.tr("{0} on the test split of each data set after each run, {1}; {2}.").format(
                metric, better, ways[result.protection]
            )
        )
        rows = [
            [
                (run_title(run, self._state.registry), run),
                *(("—" if value is None else number_text(value), value or 0.0) for value in values),
            ]
            for run, values in zip(result.runs, result.matrix, strict=True)
        ]
        titles = (self.tr("After"), *result.datasets)
        self.table.show_rows(titles, rows, keys=result.runs)
