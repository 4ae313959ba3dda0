"""Data sets in an order that mouse and keyboard change."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from tlstudio.gui.titles import items_word
from tlstudio.gui.widgets.texts import push_button

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

_ROLE = Qt.ItemDataRole.UserRole


class DatasetOrder(QWidget):
    """A numbered list of data sets, and buttons that add, remove and move them.

    Args:
        parent: Parent widget.

    Signals:
        changed(): What is chosen, or its order, is another one.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sequence_order")
        self._offered: Sequence[Revision] = ()
        self.list = _OrderList()
        self.list.setObjectName("sequence_list")
        self.list.setAccessibleName(self.tr("Data sets in their order"))
        self.list.setToolTip(self.tr("Drag them, or move the chosen one with Alt+Up and Alt+Down; Del takes it out"))
        self.list.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.list.setMinimumHeight(110)
        self.list.model().rowsMoved.connect(self._changed)
        self.list.move_wanted.connect(self.move_by)
        self.list.remove_wanted.connect(self.remove)
        self.list.currentRowChanged.connect(lambda _: self._show_buttons())
        self.menu = QMenu(self)
        self.menu.setObjectName("sequence_add_menu")
        self._add_button = push_button(self.tr("&Add"), "secondary", "sequence_add")
        self._add_button.setMenu(self.menu)
        self._movers: dict[str, QPushButton] = {}
        side = QVBoxLayout()
        side.setSpacing(6)
        side.addWidget(self._add_button)
        for name, text, keys, do in (
            ("remove", self.tr("&Remove"), self.tr("Del"), self.remove),
            ("up", self.tr("Move &up"), self.tr("Alt+Up"), partial(self.move_by, -1)),
            ("down", self.tr("Move &down"), self.tr("Alt+Down"), partial(self.move_by, 1)),
        ):
            self._movers[name] = button = push_button(text, "secondary", f"sequence_{name}", hint=keys)
            button.clicked.connect(lambda _checked=False, do=do: do())
            side.addWidget(button)
        side.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(self.list, 1)
        row.addLayout(side)
        self._show_buttons()

    @property
    def chosen(self) -> tuple[Revision, ...]:
        """The data sets in their order."""
        return tuple(self._offered[self.list.item(row).data(_ROLE)] for row in range(self.list.count()))

    def offer(self, revisions: Sequence[Revision], others: int) -> None:
        """Offer data sets; the first one is chosen, and a second one where there is no other.

        Args:
            revisions: Those that fit.
            others: How many do not.
        """
        self._offered = revisions
        for number, revision in enumerate(revisions):
            self.menu.addAction(self._words(revision), partial(self.add, number)).setObjectName(
                f"sequence_add_{revision.dataset}"
            )
        if others:
            text = self.tr("Not offered: {0} for another task, of another kind or damaged").format(others)
            self.menu.addAction(text).setEnabled(False)
        for number in range(2 if len(revisions) == 2 else 1):
            self.add(number)
        self.list.setCurrentRow(0)
        self.list.setFocus()

    def add(self, number: int) -> None:
        """Put one of those that are offered at the end."""
        item = QListWidgetItem()
        item.setData(_ROLE, number)
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsDropEnabled)  # what is dragged lands between others only
        item.setSizeHint(QSize(0, self.list.fontMetrics().height() + 14))
        self.list.addItem(item)
        self.list.setCurrentItem(item)
        self._changed()

    @Slot()
    def remove(self) -> None:
        """Take the current one out."""
        self.list.takeItem(self.list.currentRow())
        self._changed()

    @Slot(int)
    def move_by(self, rows: int) -> None:
        """Move the current one up or down."""
        row = self.list.currentRow()
        if row < 0 or not 0 <= row + rows < self.list.count():
            return
        item = self.list.takeItem(row)
        self.list.insertItem(row + rows, item)
        self.list.setCurrentItem(item)
        self._changed()

    @Slot()
    def _changed(self) -> None:
        for row, revision in enumerate(self.chosen):
            self.list.item(row).setText(f"{row + 1}.  {self._words(revision)}")
        self._show_buttons()
        self.changed.emit()

    def _show_buttons(self) -> None:
        row, count = self.list.currentRow(), self.list.count()
        self._movers["remove"].setEnabled(row >= 0)
        self._movers["up"].setEnabled(row > 0)
        self._movers["down"].setEnabled(0 <= row < count - 1)
        self._add_button.setEnabled(bool(self._offered))

    def _words(self, revision: Revision) -> str:
        unit = items_word(revision.modality, revision.task)
        count = f"{len(revision.indices('train')):,} {unit}"
        classes = self.tr(", {0} classes").format(len(revision.classes)) if len(revision.classes) > 1 else ""
        return f"{revision.dataset} · {revision.id} · {count}{classes}"


class _OrderList(QListWidget):
    """A list whose rows the keyboard moves and removes."""

    move_wanted = Signal(int)
    remove_wanted = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt override
        """Move with Alt and an arrow, remove with Del."""
        rows = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()))
        if rows is not None and event.modifiers() & Qt.KeyboardModifier.AltModifier:
            self.move_wanted.emit(rows)
        elif event.key() == Qt.Key.Key_Delete:
            self.remove_wanted.emit()
        else:
            super().keyPressEvent(event)
