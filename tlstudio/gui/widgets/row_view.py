"""A row of a table: its columns and their values, and the series among them as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.api import Cell
from tlstudio.data.cells import cell_text
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.series_view import SeriesView, series_of


class RowView(QWidget):
    """Shows the columns of a sample of a table.

    Args:
        name: Object name.
        state: Gives the theme.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._state = state
        self.series: SeriesView | None = None
        self.table = FigureTable(f"{name}_table", self.tr("Columns"), sortable=False)
        self.table.setMinimumHeight(120)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._column.addWidget(self.table, 1)

    def show_row(
        self, values: Mapping[str, Cell], expected: Sequence[float] = (), predicted: Sequence[float] = ()
    ) -> None:
        """Show a row.

        Args:
            values: Its columns by name.
            expected: How its series went on.
            predicted: How it was said to go on.
        """
        series = series_of(values)
        plain = {name: cell for name, cell in values.items() if name not in series}
        if series or expected or predicted:
            if self.series is None:
                self.series = SeriesView(f"{self.objectName()}_series", self._state)
                self._column.insertWidget(0, self.series, 2)
            self.series.show_series(series, expected, predicted)
        if self.series is not None:
            self.series.setVisible(bool(series or expected or predicted))
        self.table.setVisible(bool(plain))
        rows = [[(name, name), (cell_text(cell) or "—", str(cell))] for name, cell in plain.items()]
        self.table.show_rows((self.tr("Column"), self.tr("Value")), rows)
