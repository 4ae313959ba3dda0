"""The samples of a revision as a table that reads a cell only when it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from tlstudio import api
from tlstudio.api import Label

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

Indices = npt.NDArray[np.int64]
AnyIndex = QModelIndex | QPersistentModelIndex
NO_PARENT = QModelIndex()


def label_text(label: Label) -> str:
    """Write a label for people."""
    if label is None:
        return ""
    if isinstance(label, tuple):
        return api.label_text(label) if label else ""
    return f"{label:g}" if isinstance(label, float) else label


class SamplesModel(QAbstractTableModel):
    """Rows are samples (any choice of them, in any order), columns their facts."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._revision: Revision | None = None
        self._rows: Indices = np.zeros(0, dtype=np.int64)
        self._columns: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> Indices:
        """Indices of the samples in the revision, in the order of the rows."""
        return self._rows

    def show(self, revision: Revision | None, rows: Indices) -> None:
        """Show these samples of a revision."""
        self.beginResetModel()
        self._revision, self._rows = revision, rows
        if revision is None:
            self._columns = ()
        else:
            content = (
                (("text", self.tr("Text")), ("label", self.tr("Label")), ("split", self.tr("Split")))
                if revision.modality == "text"
                else (
                    ("source", self.tr("File")),
                    ("label", self.tr("Label")),
                    ("split", self.tr("Split")),
                    ("size", self.tr("Size")),
                )
            )
            rest = (("source", self.tr("Source")),) if revision.modality == "text" else ()
            # A group is rare: its column is there only if somebody has one.
            grouped = any(str(name) for name in revision.table.column("group").unique().to_pylist())
            group = (("group", self.tr("Group")),) if grouped else ()
            self._columns = (*content, *group, *rest)
        self.endResetModel()

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
            return label_text(revision.label(index))
        if column == "size":
            width = revision.table.column("width")[index].as_py()
            height = revision.table.column("height")[index].as_py()
            return f"{width} × {height}" if width and height else ""  # noqa: RUF001  the sign for sizes
        if column == "text":
            return revision.sample_text(index, 500)
        return str(revision.table.column(column)[index].as_py() or "")

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        if self._revision is None or not 0 <= column < len(self._columns):
            return
        name = self._columns[column][0]
        table = self._revision.table.take(self._rows)
        if name == "size":
            keys = table.column("width").to_numpy(zero_copy_only=False).astype(float) * table.column("height").to_numpy(
                zero_copy_only=False
            ).astype(float)
            ranks = np.argsort(keys, kind="stable")
        else:
            if name == "label":
                name = {"name": "label", "number": "value"}.get(self._revision.label_kind, "labels")
            values = table.column(name).to_pylist()
            if name == "labels":
                values = [", ".join(value or []) for value in values]
            empty: Any = 0.0 if name == "value" else ""
            ranks = np.asarray(sorted(range(len(values)), key=lambda i: values[i] or empty), dtype=np.int64)
        if order == Qt.SortOrder.DescendingOrder:
            ranks = ranks[::-1]
        self.layoutAboutToBeChanged.emit()
        self._rows = self._rows[ranks]
        self.layoutChanged.emit()
