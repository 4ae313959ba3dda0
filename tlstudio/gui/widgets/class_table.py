"""Plain tables of figures: per class, side by side, and the like."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    QSortFilterProxyModel,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from tlstudio.gui.theme import set_role

Index = QModelIndex | QPersistentModelIndex
VALUE_ROLE = Qt.ItemDataRole.UserRole + 1
KEY_ROLE = Qt.ItemDataRole.UserRole + 2
_PADDING = 11
"""Left and right of a title, as the style sheet has it."""
Cell = tuple[str, Any]
"""What a cell shows, and what it is sorted by."""


class FigureModel(QAbstractTableModel):
    """Rows of texts and figures."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.keys: tuple[str, ...] = ()
        self.texts = 1
        self.wraps = False
        self._titles: tuple[str, ...] = ()
        self._tips: tuple[str, ...] = ()
        self._rows: tuple[tuple[Cell, ...], ...] = ()

    def show_rows(
        self,
        titles: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        keys: Sequence[str] = (),
        tips: Sequence[str] = (),
    ) -> None:
        """Show other rows; without keys, the text of its first cell is that of a row; without tips, titles are."""
        self.beginResetModel()
        self.keys = tuple(keys) or tuple(row[0][0] for row in rows)
        self._titles, self._rows = tuple(titles), tuple(tuple(row) for row in rows)
        self._tips = tuple(tips) or self._titles
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
        """Titles of the columns; those of the rows are their first cells."""
        if orientation == Qt.Orientation.Vertical and section < len(self._rows):
            return self._rows[section][0][0] if role == Qt.ItemDataRole.DisplayRole else None
        if section < len(self._titles):
            if role == Qt.ItemDataRole.DisplayRole:
                return self._titles[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._tips[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return self._alignment(section) | (Qt.TextFlag.TextWordWrap.value if self.wraps else 0)
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

    def name_rows(self, width: int) -> None:
        """Let the first column stay at the left while the others are scrolled, whose titles may have several lines.

        Args:
            width: What each of the others has at least, in pixels.
        """
        self.figures.wraps = True
        self.setHorizontalHeader(_TitleHeader(self))
        self.horizontalHeader().setMinimumSectionSize(width)
        names = self.verticalHeader()
        set_role(names, "names")
        names.setHighlightSections(False)
        names.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        names.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        names.show()

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
        tips: Sequence[str] = (),
    ) -> None:
        """Show other rows.

        Args:
            titles: Headings of the columns.
            rows: For each cell its text and what it is sorted by.
            keys: By which rows are told apart, in their order; the text of the first cell if there are none.
            stretch: Which columns share the width that is left.
            texts: How many columns at the left are texts, and stand at the left.
            tips: What the tooltips of the headings tell; the headings if there are none.
        """
        self.figures.texts = texts
        self.figures.show_rows(titles, rows, keys, tips)
        header = self.horizontalHeader()
        self.setColumnHidden(0, self.verticalHeader().isVisibleTo(self))  # they name the rows already
        for column in range(len(titles)):
            mode = QHeaderView.ResizeMode.Stretch if column in stretch else QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(column, mode)

    def _choose(self, current: Index, _before: Index) -> None:
        if current.isValid():
            self.row_chosen.emit(str(current.data(KEY_ROLE)))


class _TitleHeader(QHeaderView):
    """Titles of columns that break into as many lines as they need."""

    def __init__(self, table: QTableView) -> None:
        super().__init__(Qt.Orientation.Horizontal, table)
        self.setHighlightSections(False)
        self.setTextElideMode(Qt.TextElideMode.ElideNone)
        # Narrower columns take more lines. The table hears it once it has placed all of them, and not before.
        self._placed = QTimer(self)
        self._placed.setSingleShot(True)
        self._placed.setInterval(0)
        self._placed.timeout.connect(self.geometriesChanged)
        self.sectionResized.connect(lambda *_: self._placed.start())

    def sizeHint(self) -> QSize:  # Qt override
        """As high as the title of the most lines at the widths of now."""
        hint = super().sizeHint()
        flags = int(Qt.AlignmentFlag.AlignLeft) | Qt.TextFlag.TextWordWrap.value
        for section in range(self.count()):
            title = str(self.model().headerData(section, Qt.Orientation.Horizontal))
            room = QRect(0, 0, self.sectionSize(section) - 2 * _PADDING, 1000)
            if room.width() > 0:
                lines = self.fontMetrics().boundingRect(room, flags, title)
                hint.setHeight(max(hint.height(), lines.height() + _PADDING))
        return hint
