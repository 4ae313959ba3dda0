"""The most wrong items of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from tlstudio.api import LabelKind
from tlstudio.gui.run_reading import RunDetails
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.figures import label_words, number_text
from tlstudio.gui.widgets.item_gallery import GalleryItem, ItemGallery
from tlstudio.gui.widgets.run_items import RunItems
from tlstudio.gui.widgets.sample_thumbs import row_thumb
from tlstudio.gui.widgets.texts import push_button, text_label

if TYPE_CHECKING:
    from tlstudio.engine.evaluate import ItemResult

MOST_ITEMS = 120
RIGHT_OR_WRONG: frozenset[LabelKind] = frozenset({"name", "names", "spans"})
"""Kinds of label that are right or wrong as a whole; of all others some are only further off."""


def worst_items(details: RunDetails) -> Sequence[ItemResult]:
    """The items of a run that are wrong, or, where nothing is wholly right, those that were predicted; worst first."""
    evaluation = details.evaluation
    if evaluation is None:
        return ()
    if evaluation.label_kind == "none":
        return evaluation.items  # nothing is predicted: those with the largest loss
    predicted = [item for item in evaluation.items if item.predicted is not None]
    if evaluation.label_kind in RIGHT_OR_WRONG or evaluation.label_kind == "number":
        return [item for item in predicted if item.predicted != item.label]
    return predicted


class RunMistakes(QWidget):
    """A gallery of the most wrong items, and one of them large."""

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
        self.items = RunItems("run_mistake", state)
        self.gallery.opened.connect(self.items.show_id)
        self.items.opened.connect(self._open)
        head = QHBoxLayout()
        head.addWidget(self._text, 1)
        head.addWidget(self._all)
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self.gallery, 5)
        row.addWidget(self.items, 4)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(head)
        column.addLayout(row, 1)

    def show_details(self, details: RunDetails) -> None:
        """Show the mistakes of a run."""
        self._details = details
        evaluation = details.evaluation
        wrong = worst_items(details)
        self._ids = [item.id for item in wrong]
        self._all.setVisible(bool(wrong) and details.revision is not None)
        count = len(evaluation.items) if evaluation else 0
        if not wrong:
            text = self.tr("Nothing is wrong here.") if count else self.tr("There is no result to show.")
        elif evaluation is not None and evaluation.label_kind in RIGHT_OR_WRONG:
            text = self.tr("{0} of {1} items are wrong; the ones it was most wrong about come first.").format(
                len(wrong), count
            )
        else:
            text = self.tr("The {0} items that are furthest off, worst first.").format(min(len(wrong), MOST_ITEMS))
        self._text.setText(text)
        shown = wrong[:MOST_ITEMS]
        self.gallery.show_items([item for each in shown if (item := self._item(details, each))])
        self.items.setVisible(bool(wrong))
        if evaluation is not None:
            self.items.show_items(details.revision, evaluation, shown)

    def _item(self, details: RunDetails, result: ItemResult) -> GalleryItem | None:
        revision, evaluation = details.revision, details.evaluation
        if revision is None or evaluation is None:
            return None
        row = revision.index_of(result.id)
        sure = "" if result.confidence is None else f" {round(result.confidence * 100)} %"
        if evaluation.label_kind in ("mask", "numbers", "none"):
            caption = self.tr("loss {0}").format(number_text(result.loss))
        else:
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
