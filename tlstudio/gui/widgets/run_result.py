"""The result of one run: figures with intervals, classes, confusion or scatter, and the most wrong items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.gui.run_reading import RunDetails
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.confusion_matrix import ConfusionMatrix
from tlstudio.gui.widgets.figures import (
    duration_text,
    label_words,
    main_metrics,
    metric_title,
    number_text,
    wilson_interval,
)
from tlstudio.gui.widgets.item_gallery import GalleryItem, ItemGallery
from tlstudio.gui.widgets.sample_thumbs import row_thumb
from tlstudio.gui.widgets.scatter_plot import ScatterPlot
from tlstudio.gui.widgets.stat_card import StatCard
from tlstudio.gui.widgets.texts import push_button, text_label

if TYPE_CHECKING:
    from tlstudio.api import Label
    from tlstudio.engine.evaluate import Evaluation, ItemResult

_MOST_ITEMS = 120


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
        self._right.addWidget(QWidget())
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
        if evaluation.label_kind == "number":
            self._show_furthest(evaluation)
        else:
            self._show_classes(evaluation)
        self._right.setVisible(evaluation.confusion is not None or evaluation.label_kind == "number")
        if evaluation.confusion is not None:
            self.matrix.show_counts(evaluation.confusion, evaluation.classes)
            self._right.setCurrentIndex(0)
        elif evaluation.label_kind == "number":
            self._show_scatter(evaluation)

    def _show_classes(self, evaluation: Evaluation) -> None:
        figures = [
            (
                (each.name, each.name.casefold()),
                *((f"{value:.3f}", value) for value in (each.precision, each.recall, each.f1)),
                (f"{each.support:,}", each.support),
            )
            for each in evaluation.per_class
        ]
        titles = (self.tr("Class"), self.tr("Precision"), self.tr("Recall"), self.tr("F1"), self.tr("Items"))
        self.classes.show_rows(titles, figures)

    def _show_furthest(self, evaluation: Evaluation) -> None:
        rows = []
        for item in evaluation.items[:_MOST_ITEMS]:
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

    def _open_class(self, name: str) -> None:
        evaluation = self._details.evaluation if self._details else None
        if evaluation is None:
            return
        if evaluation.label_kind == "number":
            self._open_ids([name], self.tr("One item"))
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


class RunMistakes(QWidget):
    """The most wrong items of a run, with what was predicted and how sure it was."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("run_mistakes")
        self._state = state
        self._details: RunDetails | None = None
        self._ids: list[str] = []
        self._text = text_label("", "second", "run_mistakes_text", elide=True)
        self._all = push_button(self.tr("Show all on the &Data page"), "link", "run_mistakes_all")
        self._all.clicked.connect(self._open_all)
        self.gallery = ItemGallery("run_mistakes_gallery", state, self.tr("Most wrong items"), columns=9, fitted=False)
        self.gallery.opened.connect(self._open)
        head = QHBoxLayout()
        head.addWidget(self._text, 1)
        head.addWidget(self._all)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(head)
        column.addWidget(self.gallery, 1)

    def show_details(self, details: RunDetails) -> None:
        """Show the mistakes of a run."""
        self._details = details
        evaluation = details.evaluation
        wrong: Sequence[ItemResult] = ()
        if evaluation is not None:
            wrong = [item for item in evaluation.items if item.predicted != item.label]
        self._ids = [item.id for item in wrong]
        self._all.setVisible(bool(wrong) and details.revision is not None)
        count = len(evaluation.items) if evaluation else 0
        if evaluation is not None and evaluation.label_kind == "number":
            text = self.tr("The {0} items that are furthest off, worst first.").format(min(len(wrong), _MOST_ITEMS))
        elif wrong:
            text = self.tr("{0} of {1} items are wrong; the ones it was most wrong about come first.").format(
                len(wrong), count
            )
        else:
            text = self.tr("Nothing is wrong here.") if count else self.tr("There is no result to show.")
        self._text.setText(text)
        self.gallery.show_items([item for each in wrong[:_MOST_ITEMS] if (item := self._item(details, each))])

    def _item(self, details: RunDetails, result: ItemResult) -> GalleryItem | None:
        if details.revision is None:
            return None
        revision = details.revision
        row = revision.index_of(result.id)
        sure = "" if result.confidence is None else f" {round(result.confidence * 100)} %"
        caption = f"{label_words(result.label)} → {label_words(result.predicted)}{sure}"
        tip = f"{revision.table.column('source')[row].as_py() or result.id}\n{caption}"
        thumb = row_thumb(revision, row, self._state.theme)
        return GalleryItem(result.id, caption, thumb, "" if thumb is not None else revision.sample_text(row, 240), tip)

    def _open(self, sample_id: str) -> None:
        if self._details is not None and self._details.revision is not None:
            self._state.show_items.emit(self._details.revision, [sample_id], self.tr("One mistake"))

    def _open_all(self) -> None:
        if self._details is not None and self._details.revision is not None:
            title = self.tr("Mistakes of {0}").format(self._details.summary.id)
            self._state.show_items.emit(self._details.revision, self._ids, title)


def _has(label: Label, name: str) -> bool:
    return name in label if isinstance(label, tuple) else label == name


def _number(label: Label) -> float:
    return float(label) if isinstance(label, (int, float)) else float("nan")
