"""After an import: what could not be used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QLocale, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QTableView, QVBoxLayout, QWidget

from tlstudio.api import Rejected
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.icons import IconLabel, keep_icon
from tlstudio.gui.widgets.samples_table import style_table
from tlstudio.gui.widgets.texts import push_button, text_label

if TYPE_CHECKING:
    from tlstudio.data.importing import ImportReport

AnyIndex = QModelIndex | QPersistentModelIndex
NO_PARENT = QModelIndex()


class RejectedModel(QAbstractTableModel):
    """One row an item that could not be used."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._items: tuple[Rejected, ...] = ()

    def show(self, items: tuple[Rejected, ...]) -> None:
        """Show these."""
        self.beginResetModel()
        self._items = items
        self.endResetModel()

    def rowCount(self, parent: AnyIndex = NO_PARENT) -> int:
        """Number of items."""
        return 0 if parent.isValid() else len(self._items)

    def columnCount(self, parent: AnyIndex = NO_PARENT) -> int:
        """Where, what, what to do."""
        return 0 if parent.isValid() else 3

    def headerData(  # Qt override
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401  as Qt has it
        """Title of a column."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return (self.tr("Item"), self.tr("What is wrong"), self.tr("What to do"))[section]
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401  as Qt has it
        """One cell."""
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole) or not index.isValid():
            return None
        item = self._items[index.row()]
        return (item.source, item.reason, item.remedy)[index.column()]

    def as_text(self) -> str:
        """Return all rows as tab-separated lines."""
        return "\n".join("\t".join((item.source, item.reason, item.remedy)) for item in self._items)


class ImportReportView(QWidget):
    """A table of rejected items, to read and copy.

    Signals:
        closed(): On to the data.
    """

    closed = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("import_report")
        self._title = text_label("", "title", "import_report_title")
        self._text = text_label("", "second", "import_report_text", wrap=True)
        self._model = RejectedModel(self)
        table = QTableView()
        table.setObjectName("import_report_table")
        table.setAccessibleName(self.tr("Items that could not be used"))
        table.setModel(self._model)
        style_table(table)
        for column, width in enumerate((300, 460)):
            table.setColumnWidth(column, width)
        copy = push_button(
            " " + self.tr("&Copy the list"), "secondary", "import_report_copy", accessible=self.tr("Copy the list")
        )
        keep_icon(copy, state, "copy", "second", 15)
        copy.clicked.connect(self._copy)
        on = push_button(self.tr("&Show the data"), "primary", "import_report_close")
        on.clicked.connect(self.closed)
        head = QHBoxLayout()
        head.setSpacing(12)
        head.addWidget(IconLabel(state, "warning", "caution", 22))
        head.addWidget(self._title, 1)
        head.addWidget(copy)
        head.addWidget(on)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        layout.addLayout(head)
        layout.addWidget(self._text)
        layout.addWidget(table, 1)

    def show_report(self, report: ImportReport) -> None:
        """Show what an import has rejected."""
        locale = QLocale()
        self._title.setText(
            self.tr("{0} imported, {1} left out").format(
                locale.toString(len(report.revision)), locale.toString(len(report.rejected))
            )
        )
        self._text.setText("  ".join(report.notes))
        self._text.setVisible(bool(report.notes))
        self._model.show(report.rejected)

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._model.as_text())
