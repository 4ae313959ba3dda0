"""The result of one run: figures with intervals, classes, confusion or scatter, and the most wrong items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import Label, label_names
from tlstudio.gui.run_reading import RunDetails
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.confusion_matrix import ConfusionMatrix
from tlstudio.gui.widgets.figures import (
    count_text,
    duration_text,
    label_words,
    main_metrics,
    metric_title,
    number_text,
    wilson_interval,
)
from tlstudio.gui.widgets.run_items import RunItems
from tlstudio.gui.widgets.run_mistakes import MOST_ITEMS, worst_items
from tlstudio.gui.widgets.scatter_plot import ScatterPlot
from tlstudio.gui.widgets.stat_card import StatCard
from tlstudio.gui.widgets.texts import text_label

if TYPE_CHECKING:
    from tlstudio.engine.evaluate import Evaluation


class RunResult(QWidget):
    """Figures and classes at the left, confusion (or scatter and residuals) at the right."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("run_result")
        self._state = state
        self._details: RunDetails | None = None
        self.cards = [StatCard(f"run_stat_{number}", "") for number in range(4)]
        stats = QHBoxLayout()
        stats.setSpacing(12)
        for number, card in enumerate(self.cards):
            stats.addWidget(card, 4 if number else 5)  # the first tells an interval
        self.classes = FigureTable("run_classes", self.tr("Classes"))
        self.classes.row_opened.connect(self._open_class)
        self.classes.row_chosen.connect(self._choose_row)
        left = QVBoxLayout()
        left.setSpacing(12)
        left.addLayout(stats)
        left.addWidget(self.classes, 1)
        self.matrix = ConfusionMatrix("run_confusion", state.theme)
        self.matrix.cell_opened.connect(self._open_cell)
        self._matrix_card = Card("run_confusion_card", margins=(14, 10, 8, 8))
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Confusion"), "section", "run_confusion_title"))
        hint = text_label(self.tr("true class ↓  predicted →  · click a cell for its items"), "small", "run_hint")
        head.addWidget(hint, 1, Qt.AlignmentFlag.AlignRight)
        self._matrix_card.column.addLayout(head)
        self._matrix_card.column.addWidget(self.matrix, 1)
        self._right = QStackedWidget()
        self._right.setObjectName("run_result_right")
        self._right.addWidget(self._matrix_card)
        self.items = RunItems("run_item", state)
        self.items.opened.connect(lambda item: self._open_ids([item], self.tr("One item")))
        self._right.addWidget(self.items)
        self._scatter: ScatterPlot | None = None
        self._residuals: ScatterPlot | None = None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addLayout(left, 5)
        row.addWidget(self._right, 5)
        state.theme_changed.connect(self._take_theme)

    def show_details(self, details: RunDetails) -> None:
        """Show the result of a run that has one."""
        self._details = details
        evaluation = details.evaluation
        if evaluation is None:
            return
        self._show_stats(evaluation)
        kind = evaluation.label_kind
        if kind == "number":
            self._show_furthest(evaluation)
        elif kind in ("text", "numbers", "none"):
            self._show_worst(details, evaluation)
        else:
            self._show_classes(evaluation)
        if evaluation.confusion is not None:
            self.matrix.show_counts(evaluation.confusion, evaluation.classes)
            self._right.setCurrentIndex(0)
        elif kind == "number":
            self._show_scatter(evaluation)
        else:
            self.items.show_items(details.revision, evaluation, worst_items(details)[:MOST_ITEMS])
            self._right.setCurrentIndex(1)

    def _show_classes(self, evaluation: Evaluation) -> None:
        of_masks = any(each.iou is not None for each in evaluation.per_class)
        precisions = {name: evaluation.metrics.get(f"ap({name})") for name in evaluation.classes}
        of_boxes = any(value is not None for value in precisions.values())
        rows = []
        for each in evaluation.per_class:
            special = [each.iou] if of_masks else [precisions.get(each.name)] if of_boxes else []
            values = [*special, each.precision, each.recall, each.f1]
            figures = [("—", -1.0) if value is None else (f"{value:.3f}", value) for value in values]
            count = (count_text(each.support) if of_masks else f"{each.support:,}", each.support)
            rows.append([(each.name, each.name.casefold()), *figures, count])
        kind = [self.tr("IoU")] if of_masks else [self.tr("AP")] if of_boxes else []
        counted = {"mask": self.tr("Pixels"), "boxes": self.tr("Boxes"), "spans": self.tr("Parts")}
        last = counted.get(evaluation.label_kind, self.tr("Items"))
        titles = (self.tr("Class"), *kind, self.tr("Precision"), self.tr("Recall"), self.tr("F1"), last)
        self.classes.show_rows(titles, rows)

    def _show_worst(self, details: RunDetails, evaluation: Evaluation) -> None:
        """List what was expected and what was written, or only how far off a forecast was."""
        texts = evaluation.label_kind == "text"
        rows = []
        for item in worst_items(details)[:MOST_ITEMS]:
            told = [label_words(item.label), label_words(item.predicted)] if texts else []
            cells = [(text[:200], text) for text in told]
            rows.append([(item.id, item.id), *cells, (number_text(item.loss), item.loss)])
        words = (self.tr("Expected"), self.tr("Written")) if texts else ()
        shared, left = ((1, 2), 3) if texts else ((0,), 1)
        self.classes.show_rows((self.tr("Item"), *words, self.tr("Loss")), rows, stretch=shared, texts=left)

    def _show_furthest(self, evaluation: Evaluation) -> None:
        rows = []
        for item in evaluation.items[:MOST_ITEMS]:
            true, predicted = _number(item.label), _number(item.predicted)
            cells = [(number_text(value), value) for value in (true, predicted, true - predicted)]
            rows.append([(item.id, item.id), *cells])
        titles = (self.tr("Furthest off"), self.tr("True"), self.tr("Predicted"), self.tr("Off by"))
        self.classes.show_rows(titles, rows)

    def _show_stats(self, evaluation: Evaluation) -> None:
        details = self._details
        names = main_metrics(evaluation.metrics, 3)
        count = len(evaluation.items)
        where = self.tr("test") if evaluation.split == "test" else self.tr("validation")
        for card, name in zip(self.cards, [*names, *[""] * (3 - len(names))], strict=False):
            card.setVisible(bool(name))
            if not name:
                continue
            value = evaluation.metrics[name]
            card.set_caption(metric_title(name, short=True))
            if name == "accuracy" and count:
                low, high = wilson_interval(round(value * count), count)
                card.show_figure(number_text(value), self.tr("95 %: {0} to {1}").format(f"{low:.3f}", f"{high:.3f}"))
                card.setToolTip(
                    self.tr("Wilson interval over {0} {1} items: where the true accuracy lies, 19 times of 20.").format(
                        count, where
                    )
                )
            else:
                card.show_figure(number_text(value), self.tr("{0} {1} items").format(f"{count:,}", where))
                card.setToolTip("")
        if details is not None:
            last = self.cards[3]
            last.set_caption(self.tr("Kept epoch"))
            best = str(details.summary.best_epoch) if details.summary.best_epoch else "—"
            last.show_figure(best, self.tr("{0} in all").format(duration_text(details.summary.seconds)))

    def _show_scatter(self, evaluation: Evaluation) -> None:
        if self._scatter is None or self._residuals is None:
            theme = self._state.theme
            self._scatter = ScatterPlot(
                "run_scatter",
                self.tr("Predicted and true"),
                theme,
                x_title=self.tr("true"),
                y_title=self.tr("predicted"),
                slope=1.0,
            )
            self._residuals = ScatterPlot(
                "run_residuals",
                self.tr("Residuals"),
                theme,
                x_title=self.tr("predicted"),
                y_title=self.tr("true - predicted"),
                slope=0.0,
            )
            page = QWidget()
            column = QHBoxLayout(page)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(12)
            for plot in (self._scatter, self._residuals):
                plot.opened.connect(lambda item: self._open_ids([item], self.tr("One item")))
                column.addWidget(plot)
            self._right.addWidget(page)
        true = np.array([_number(item.label) for item in evaluation.items], dtype=np.float64)
        predicted = np.array([_number(item.predicted) for item in evaluation.items], dtype=np.float64)
        ids = [item.id for item in evaluation.items]
        self._scatter.show_points(true, predicted, ids)
        self._residuals.show_points(predicted, true - predicted, ids)
        self._right.setCurrentIndex(2)

    # -- items ----------------------------------------------------------------------------------------------

    def _open_cell(self, row: int, column: int) -> None:
        evaluation = self._details.evaluation if self._details else None
        if evaluation is None:
            return
        true, predicted = evaluation.classes[row], evaluation.classes[column]
        ids = [item.id for item in evaluation.items if item.label == true and item.predicted == predicted]
        self._open_ids(ids, self.tr("“{0}” taken for “{1}”").format(true, predicted))

    def _choose_row(self, name: str) -> None:
        evaluation = self._details.evaluation if self._details else None
        if evaluation is not None and evaluation.label_kind in ("text", "numbers", "none"):
            self.items.show_id(name)

    def _open_class(self, name: str) -> None:
        evaluation = self._details.evaluation if self._details else None
        if evaluation is None:
            return
        if evaluation.label_kind == "number":
            self._open_ids([name], self.tr("One item"))
            return
        if evaluation.label_kind in ("text", "numbers", "none"):
            self.items.show_id(name)
            return
        ids = [item.id for item in evaluation.items if _has(item.label, name) != _has(item.predicted, name)]
        self._open_ids(ids, self.tr("Mistakes with “{0}”").format(name))

    def _open_ids(self, ids: list[str], title: str) -> None:
        if self._details is not None and self._details.revision is not None and ids:
            self._state.show_items.emit(self._details.revision, ids, title)
        elif not ids:
            self._state.message.emit(self.tr("There are no items in this cell."), "")

    def _take_theme(self) -> None:
        self.matrix.set_theme(self._state.theme)
        for plot in (self._scatter, self._residuals):
            if plot is not None:
                plot.set_theme(self._state.theme)


def _has(label: Label, name: str) -> bool:
    return name in label_names(label)


def _number(label: Label) -> float:
    return float(label) if isinstance(label, (int, float)) else float("nan")
