"""Items of a run one after the other: what was expected of each, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QWidget

from tlstudio.api import TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import number_text, percent
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.sample_view import Case, SampleView
from tlstudio.gui.widgets.texts import push_button, text_label

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.evaluate import Evaluation, ItemResult


class RunItems(Card):
    """Shows one item of a run at a time.

    Args:
        name: Object name; those of its parts begin with it.
        state: What the pages share.
        parent: Parent widget.

    Signals:
        opened(str): The item shall be shown on the Data page; carries its id.
    """

    opened = Signal(str)

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(name, parent, margins=(14, 10, 12, 10), spacing=6)
        self._state = state
        self._revision: Revision | None = None
        self._evaluation: Evaluation | None = None
        self._items: Sequence[ItemResult] = ()
        self._position = -1
        self._title = text_label("", "section", f"{name}_title", elide=True)
        self._facts = text_label("", "small", f"{name}_facts", elide=True)
        self.view = SampleView(f"{name}_view", state)
        head = QHBoxLayout()
        head.setSpacing(2)
        head.addWidget(self._title, 1)
        for key, icon, title, step in (
            ("previous", "left", self.tr("Previous item"), -1),
            ("next", "right", self.tr("Next item"), 1),
        ):
            button = QToolButton()
            button.setObjectName(f"{name}_{key}")
            button.setAccessibleName(title)
            button.setToolTip(title)
            button.setProperty("role", "quiet")
            keep_icon(button, state, icon, "second", 14)
            button.clicked.connect(lambda _=False, step=step: self.show_position(self._position + step))
            head.addWidget(button)
        data = push_button(self.tr("On the Data page"), "link", f"{name}_data")
        data.clicked.connect(self._open)
        foot = QHBoxLayout()
        foot.addWidget(self._facts, 1)
        foot.addWidget(data)
        self.column.addLayout(head)
        self.column.addWidget(self.view, 1)
        self.column.addLayout(foot)

    @property
    def item(self) -> ItemResult | None:
        """The item that is shown."""
        return self._items[self._position] if 0 <= self._position < len(self._items) else None

    def show_items(self, revision: Revision | None, evaluation: Evaluation, items: Sequence[ItemResult]) -> None:
        """Show the first of these items; the others can be stepped to."""
        same = evaluation is self._evaluation and items == self._items
        self._revision, self._evaluation, self._items = revision, evaluation, items
        if not same:
            self.show_position(0)

    def show_id(self, sample_id: str) -> None:
        """Show an item by its id."""
        found = next((place for place, item in enumerate(self._items) if item.id == sample_id), -1)
        if found >= 0:
            self.show_position(found)

    def show_position(self, position: int) -> None:
        """Show an item by its place; nothing happens where there is none."""
        if self._items and not 0 <= position < len(self._items):
            return
        self._position = position
        item, evaluation = self.item, self._evaluation
        if item is None or evaluation is None:
            self._title.setText(self.tr("There are no items to show."))
            self._facts.clear()
            self.view.clear()
            return
        self._title.setText(self.tr("{0} of {1}, worst first").format(f"{position + 1:,}", f"{len(self._items):,}"))
        facts = [self.tr("loss {0}").format(number_text(item.loss))]
        if item.confidence is not None:
            facts.append(self.tr("{0} sure").format(percent(item.confidence)))
        if item.predicted is None:
            facts.append(self.tr("nothing was written for this item"))
        self._facts.setText(" · ".join([item.id, *facts]))
        try:
            if self._revision is None:
                raise TLStudioError("The data are gone.")
            sample = self._revision.sample(self._revision.index_of(item.id))
        except TLStudioError as error:
            self._facts.setText(str(error))
            self.view.clear()
            return
        self.view.show_case(Case(sample, evaluation.label_kind, item.label, item.predicted, evaluation.classes))

    def _open(self) -> None:
        if self.item is not None:
            self.opened.emit(self.item.id)
