"""Any number of labels for one item: a button that opens a list to be ticked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QMenu, QPushButton, QWidget, QWidgetAction

_ROWS_SHOWN = 12


class SeveralLabels(QPushButton):
    """Shows the labels of an item; the list stays open while they are ticked.

    Args:
        classes: All labels that there are.
        predicted: Those that a model says.
        name: Object name.
        title: What a screen reader says.
        parent: Parent widget.

    Signals:
        changed(): A label was given or taken away.
    """

    changed = Signal()

    def __init__(
        self, classes: Sequence[str], predicted: Collection[str], name: str, title: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.setProperty("role", "choice")
        self._predicted = [one for one in classes if one in predicted]
        self.list = QListWidget()
        self.list.setObjectName(f"{name}_list")
        self.list.setAccessibleName(title)
        self.list.setProperty("role", "ticks")
        self.list.setFrameShape(QListWidget.Shape.NoFrame)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for one in classes:
            item = QListWidgetItem(self.tr("{0} (predicted)").format(one) if one in predicted else one)
            item.setData(Qt.ItemDataRole.UserRole, one)
            self._add(item)
        self.none = QListWidgetItem(self.tr("none of them (predicted)") if not predicted else self.tr("none of them"))
        self._add(self.none)
        self.list.setFixedHeight(min(self.list.count(), _ROWS_SHOWN) * self.list.sizeHintForRow(0) + 4)
        # Not `setMenu`: with it, the text of a styled button loses its distance from the edge.
        menu = QMenu(self)
        menu.setObjectName(f"{name}_menu")
        menu.addAction(self.tr("As predicted"), self.take_predicted).setObjectName(f"{name}_predicted")
        holder = QWidgetAction(menu)
        holder.setDefaultWidget(self.list)
        menu.addAction(holder)
        self.clicked.connect(lambda: menu.popup(self.mapToGlobal(self.rect().bottomLeft())))
        self.list.itemChanged.connect(self._on_tick)
        self._show_labels()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels that were given, in the order of the classes; `None`: nothing was said yet."""
        ticked = [item for item in self._items() if item.checkState() == Qt.CheckState.Checked]
        if not ticked:
            return () if self.none.checkState() == Qt.CheckState.Checked else None
        return tuple(item.data(Qt.ItemDataRole.UserRole) for item in ticked)

    @Slot()
    def take_predicted(self) -> None:
        """Give the labels that the model says."""
        for item in self._items():
            item.setCheckState(_ticked(item.data(Qt.ItemDataRole.UserRole) in self._predicted))
        self.none.setCheckState(_ticked(not self._predicted))

    def _add(self, item: QListWidgetItem) -> None:
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Unchecked)
        self.list.addItem(item)

    def _items(self) -> list[QListWidgetItem]:
        return [self.list.item(row) for row in range(self.list.count() - 1)]

    @Slot(QListWidgetItem)
    def _on_tick(self, item: QListWidgetItem) -> None:
        """A label and "none of them" exclude each other."""
        if item.checkState() == Qt.CheckState.Checked:
            for other in self._items() if item is self.none else [self.none]:
                other.setCheckState(Qt.CheckState.Unchecked)
        self._show_labels()
        self.changed.emit()

    def _show_labels(self) -> None:
        labels = self.labels
        text = self.tr("not labelled") if labels is None else ", ".join(labels) or self.tr("none of them")
        self.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, 150))
        self.setToolTip(text if labels else "")
        self.setAccessibleDescription(text)


def _ticked(yes: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if yes else Qt.CheckState.Unchecked
