"""The table of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal, Slot
from PySide6.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTableView, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.sample_order import Indices
from tlstudio.gui.widgets.samples_model import SamplesModel

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

ROW = 32


def style_table(table: QTableView) -> None:
    """Make a table calm: no grid, no row numbers, rows chosen as a whole, left-aligned headings."""
    table.setShowGrid(False)
    table.setFrameShape(QFrame.Shape.NoFrame)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setWordWrap(False)
    table.setTabKeyNavigation(False)
    table.setCornerButtonEnabled(False)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    table.verticalHeader().setDefaultSectionSize(ROW)
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setSectionsMovable(False)
    header.setMinimumSectionSize(64)
    header.setStretchLastSection(True)


class SamplesTable(QTableView):
    """Rows of a revision; only what is seen is read.

    Signals:
        current_changed(int): Row that is now current, -1 for none.
    """

    current_changed = Signal(int)

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("Table of samples"))
        self.setProperty("role", "bare")
        self._model = SamplesModel(state, self)
        self.setModel(self._model)
        style_table(self)
        self.setSortingEnabled(True)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.selectionModel().currentRowChanged.connect(self._row_changed)

    @property
    def rows(self) -> Indices:
        """Indices of the samples in the revision, in the order of the rows."""
        return self._model.rows

    def show_rows(self, revision: Revision | None, rows: Indices) -> None:
        """Show these samples of a revision."""
        widths = [self.columnWidth(column) for column in range(self._model.columnCount())]
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self._model.show(revision, rows)
        columns = self._model.columnCount()
        if len(widths) != columns:
            table = revision is not None and revision.modality == "table"
            widths = [360 if column == 0 and not table else 120 for column in range(columns)]
        for column, width in enumerate(widths[:-1]):
            self.setColumnWidth(column, width)

    def set_current(self, row: int) -> None:
        """Make a row current."""
        self.setCurrentIndex(self._model.index(row, 0))

    @Slot(QModelIndex, QModelIndex)
    def _row_changed(self, current: QModelIndex | QPersistentModelIndex, _before: object) -> None:
        self.current_changed.emit(current.row() if current.isValid() else -1)
