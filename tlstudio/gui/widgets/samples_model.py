"""The samples of a revision as a table that reads a cell only when it is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from tlstudio import api
from tlstudio.api import Cell, Label
from tlstudio.data.cells import cell_text, cells_from
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.picture import is_ground
from tlstudio.gui.widgets.sample_order import OWN, Indices, in_order
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

AnyIndex = QModelIndex | QPersistentModelIndex
NO_PARENT = QModelIndex()
_ROWS_LOOKED_AT = 20
_MOST_OWN = 40  # columns of the user's table that are shown


def label_text(label: Label) -> str:
    """Write a label for people."""
    if label is None or label == ():
        return ""
    return f"{label:g}" if isinstance(label, float) else api.label_text(label)


def short_label(revision: Revision, index: int) -> str:
    """Write the label of a row; of a mask the names alone, so that its pixels need not be read.

    Of a forecast it is the name of the row, which tells the time: numbers would tell nothing.
    """
    if revision.label_kind == "mask":
        names = revision.table.column("labels")[index].as_py() or ()
        return ", ".join(name for name in names if not is_ground(name)) or ", ".join(names)
    if revision.label_kind == "numbers":
        return str(revision.table.column("id")[index].as_py())
    return label_text(revision.label(index))


def value_columns(revision: Revision) -> tuple[str, ...]:
    """Names of the columns of a table's rows, as its first rows have them."""
    texts = revision.table.column("values").slice(0, _ROWS_LOOKED_AT).to_pylist()
    return tuple(dict.fromkeys(name for text in texts if text is not None for name in cells_from(text)))


class SamplesModel(QAbstractTableModel):
    """Rows are samples (any choice of them, in any order), columns their facts.

    Args:
        state: Whose jobs sort them.
        parent: Its owner.
    """

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._revision: Revision | None = None
        self._rows: Indices = np.zeros(0, dtype=np.int64)
        self._columns: tuple[tuple[str, str], ...] = ()
        self._last: tuple[int, Mapping[str, Cell]] = (-1, {})

    @property
    def rows(self) -> Indices:
        """Indices of the samples in the revision, in the order of the rows."""
        return self._rows

    def show(self, revision: Revision | None, rows: Indices) -> None:
        """Show these samples of a revision."""
        self.beginResetModel()
        self._revision, self._rows = revision, rows
        self._last = (-1, {})
        if revision is None:
            self._columns = ()
        else:
            self._columns = self._columns_of(revision)
        self.endResetModel()

    def _columns_of(self, revision: Revision) -> tuple[tuple[str, str], ...]:
        told: tuple[tuple[str, str], ...] = (("split", self.tr("Split")),)
        if revision.label_kind != "none":
            told = (("label", self.tr("Label")), *told)
        file, source = ("source", self.tr("File")), ("source", self.tr("Source"))
        # A group is rare: its column is there only if somebody has one.
        grouped = any(str(name) for name in revision.table.column("group").unique().to_pylist())
        group = (("group", self.tr("Group")),) if grouped else ()
        if revision.task == "recommendation":
            told = (("user", self.tr("User")), ("item", self.tr("Item")), *told)
        match revision.modality:
            case "image":
                return (file, *told, ("size", self.tr("Size")), *group)
            case "image+text":
                return (("text", self.tr("Text")), file, *told, ("size", self.tr("Size")), *group)
            case "audio":
                return (file, *told, ("seconds", self.tr("Length")), *group)
            case "text":
                return (("text", self.tr("Text")), *told, *group, source)
        own = tuple((f"{OWN}{name}", name) for name in value_columns(revision)[:_MOST_OWN])
        return (*told, *own, *group, source)

    def rowCount(self, parent: AnyIndex = NO_PARENT) -> int:
        """Number of samples shown."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: AnyIndex = NO_PARENT) -> int:
        """Number of columns."""
        return 0 if parent.isValid() else len(self._columns)

    def headerData(  # Qt override
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401  as Qt has it
        """Title of a column."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self._columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._columns[section][1]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401  as Qt has it
        """One cell."""
        if self._revision is None or not index.isValid():
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            text = self.cell(index.row(), self._columns[index.column()][0])
            return text[:500] if role == Qt.ItemDataRole.ToolTipRole else text[:200].replace("\n", " ")
        return None

    def cell(self, row: int, column: str) -> str:
        """Text of a cell by the name of its column."""
        revision = cast("Revision", self._revision)
        index = int(self._rows[row])
        if column == "label":
            numbers = revision.label_kind == "numbers"
            return label_text(revision.label(index)) if numbers else short_label(revision, index)
        if column.startswith(OWN):
            cell = self._values(index).get(column.removeprefix(OWN))
            return "" if cell is None else cell_text(cell)
        if column == "seconds":
            seconds = revision.table.column("seconds")[index].as_py()
            return "" if seconds is None else self.tr("{0} s").format(f"{seconds:.2f}")
        if column == "size":
            width = revision.table.column("width")[index].as_py()
            height = revision.table.column("height")[index].as_py()
            return f"{width} × {height}" if width and height else ""  # noqa: RUF001  the sign for sizes
        if column == "text":
            return revision.sample_text(index, 500)
        return str(revision.table.column(column)[index].as_py() or "")

    def _values(self, index: int) -> Mapping[str, Cell]:
        """The columns of a row; those of the last one are kept, as its cells are asked for one after the other."""
        if self._last[0] != index:
            text = cast("Revision", self._revision).table.column("values")[index].as_py()
            self._last = (index, {} if text is None else cells_from(text))
        return self._last[1]

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, as soon as it has been read."""
        revision, rows = self._revision, self._rows
        if revision is None or not 0 <= column < len(self._columns):
            return
        name, descending = self._columns[column][0], order == Qt.SortOrder.DescendingOrder

        def work(_context: JobContext) -> Indices:
            return in_order(revision, rows, name, descending=descending)

        def show(found: Indices) -> None:
            if self._revision is revision and self._rows is rows:
                self.layoutAboutToBeChanged.emit()
                self._rows = found
                self.layoutChanged.emit()

        self._state.jobs.start(work, self.tr("Sorting"), show, key="samples_sort")
