"""Plain tables of figures: per class, side by side, and the like."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

Index = QModelIndex | QPersistentModelIndex
VALUE_ROLE = Qt.ItemDataRole.UserRole + 1
KEY_ROLE = Qt.ItemDataRole.UserRole + 2
Cell = tuple[str, Any]
"""What a cell shows, and what it is sorted by."""


class FigureModel(QAbstractTableModel):
    """Rows of texts and figures."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.keys: tuple[str, ...] = ()
        self.texts = 1
        self._titles: tuple[str, ...] = ()
        self._rows: tuple[tuple[Cell, ...], ...] = ()

    def show_rows(self, titles: Sequence[str], rows: Sequence[Sequence[Cell]], keys: Sequence[str] = ()) -> None:
        """Show other rows; without keys, the text of its first cell is that of a row."""
        self.beginResetModel()
        self.keys = tuple(keys) or tuple(row[0][0] for row in rows)
        self._titles, self._rows = tuple(titles), tuple(tuple(row) for row in rows)
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:  # Qt override
        """Number of rows."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index | None = None) -> int:  # Qt override
        """Number of columns."""
        return 0 if parent is not None and parent.isValid() else len(self._titles)

    def headerData(  # Qt override
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401  Qt override
        """Titles of the columns."""
        if orientation == Qt.Orientation.Horizontal and section < len(self._titles):
            if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
                return self._titles[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return self._alignment(section)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401  Qt override
        """What a cell shows."""
        if not index.isValid():
            return None
        text, value = self._rows[index.row()][index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return text
        if role == VALUE_ROLE:
            return value
        if role == KEY_ROLE:
            return self.keys[index.row()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignment(index.column())
        return None

    def _alignment(self, column: int) -> int:
        side = Qt.AlignmentFlag.AlignLeft if column < self.texts else Qt.AlignmentFlag.AlignRight
        return int(side | Qt.AlignmentFlag.AlignVCenter)


class FigureTable(QTableView):
    """A table to read and sort; the first column takes the room that is left.

    Signals:
        row_opened(str): A row was double-clicked or Enter was pressed on it; carries its key.
        row_chosen(str): Another row is current; carries its key.
    """

    row_opened = Signal(str)
    row_chosen = Signal(str)

    def __init__(self, name: str, accessible: str, *, sortable: bool = True, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.figures = FigureModel(self)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.figures)
        self._sorted.setSortRole(VALUE_ROLE)
        self.setModel(self._sorted)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setMouseTracking(True)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(28)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setTextElideMode(Qt.TextElideMode.ElideRight)
        header.setMinimumSectionSize(48)
        self.setSortingEnabled(sortable)
        if sortable:
            header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.activated.connect(lambda index: self.row_opened.emit(str(index.data(KEY_ROLE))))
        self.selectionModel().currentRowChanged.connect(self._choose)

    def choose(self, key: str) -> None:
        """Make a row current by its key; nothing happens where there is none."""
        if key in self.figures.keys:
            row = self._sorted.mapFromSource(self.figures.index(self.figures.keys.index(key), 0))
            self.setCurrentIndex(row)

    def show_rows(
        self,
        titles: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        keys: Sequence[str] = (),
        stretch: Collection[int] = (0,),
        texts: int = 1,
    ) -> None:
        """Show other rows.

        Args:
            titles: Headings of the columns.
            rows: For each cell its text and what it is sorted by.
            keys: By which rows are told apart, in their order; the text of the first cell if there are none.
            stretch: Which columns share the width that is left.
            texts: How many columns at the left are texts, and stand at the left.
        """
        self.figures.texts = texts
        self.figures.show_rows(titles, rows, keys)
        header = self.horizontalHeader()
        for column in range(len(titles)):
            mode = QHeaderView.ResizeMode.Stretch if column in stretch else QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(column, mode)

    def _choose(self, current: Index, _before: Index) -> None:
        if current.isValid():
            self.row_chosen.emit(str(current.data(KEY_ROLE)))
