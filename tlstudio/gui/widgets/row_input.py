"""A row of a table as a form: one field for each column, filled by hand, from the clipboard or from a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import Cell, DataError, Sample
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.file_dialogs import ask_file
from tlstudio.gui.widgets.series_view import SeriesView, series_of
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext


class RowInput(QWidget):
    """Takes the columns of a row.

    Args:
        state: What the pages share.
        parent: Parent widget.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_table_input")
        self._state = state
        self._example: dict[str, Cell] = {}
        self.fields: dict[str, QLineEdit] = {}
        self._hint = text_label("", "second", "predict_row_hint", wrap=True)
        paste = push_button(self.tr("Paste a &row"), "link", "predict_row_paste")
        paste.setToolTip(self.tr("From a spreadsheet or a CSV file: the names of the columns, and a row below them"))
        paste.clicked.connect(self.paste)
        choose = push_button(self.tr("First row of a &file…"), "link", "predict_row_file")
        choose.clicked.connect(self._ask)
        self.go = push_button(self.tr("&Predict"), "primary", "predict_row_go")
        self.go.clicked.connect(self.give)
        links = QHBoxLayout()
        links.setSpacing(16)
        links.addWidget(paste)
        links.addWidget(choose)
        links.addStretch(1)
        self._area = QScrollArea()
        self._area.setObjectName("predict_row_scroll")
        self._area.setAccessibleName(self.tr("Columns of the row"))
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.series: SeriesView | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._column.addLayout(links)
        self._column.addWidget(self._hint)
        self._column.addWidget(self._area, 1)
        foot = QHBoxLayout()
        foot.addWidget(text_label(self.tr("Ctrl+Enter predicts"), "small", "predict_row_keys"), 1)
        foot.addWidget(self.go)
        self._column.addLayout(foot)
        QShortcut(QKeySequence("Ctrl+Return"), self, self.give, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self.set_example({})

    def set_example(self, values: Mapping[str, Cell]) -> None:
        """Make a field for each column of a row, filled with its values.

        Args:
            values: A row as the model knows them; empty: its columns are not known here.
        """
        self._example = dict(values)
        inner = QWidget()
        inner.setProperty("role", "bare")
        form = QFormLayout(inner)
        form.setContentsMargins(0, 0, 12, 0)
        form.setHorizontalSpacing(12)
        form.setVerticalSpacing(6)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.fields = {}
        for number, (name, cell) in enumerate(values.items()):
            field = QLineEdit(written(cell))
            field.setCursorPosition(0)
            field.setObjectName(f"predict_column_{number}")
            field.setAccessibleName(name)
            field.textChanged.connect(self._show_series)
            title = QLabel(field.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, 150))
            title.setTextFormat(Qt.TextFormat.PlainText)
            title.setToolTip(name)
            title.setObjectName(f"predict_column_{number}_title")
            title.setProperty("role", "second")
            title.setMinimumHeight(30)
            form.addRow(title, field)
            self.fields[name] = field
        self._area.setWidget(inner)
        self._area.setVisible(bool(values))
        self._hint.setText(
            self.tr("An item of the data that the model has learned from; change what you like.")
            if values
            else self.tr("Paste a row with the names of its columns above it, or choose a file.")
        )
        self.go.setEnabled(bool(values))
        self._show_series()

    def _show_series(self) -> None:
        series = series_of(self.row())
        if series and self.series is None:
            self.series = SeriesView("predict_row_series", self._state)
            self._column.insertWidget(2, self.series, 1)
        if self.series is not None:
            self.series.setVisible(bool(series))
            self.series.show_series(series)

    def row(self) -> dict[str, Cell]:
        """The row as it stands in the fields."""
        return {name: read_cell(field.text(), self._example.get(name)) for name, field in self.fields.items()}

    def give(self) -> None:
        """Predict the row."""
        if self.go.isEnabled():
            self.sample_given.emit(Sample(id="row", values=self.row(), source=self.tr("the row")))

    def paste(self) -> bool:
        """Predict the row in the clipboard; tell whether there is one."""
        found = read_row(QApplication.clipboard().text(), self._example)
        if not found:
            self._state.message.emit(self.tr("There is no row with the names of its columns in the clipboard."), "")
            return False
        self._take(found)
        return True

    def _take(self, values: Mapping[str, Cell]) -> None:
        # Columns that the model knows and the row lacks are empty; others are left out.
        known = {name: values.get(name) for name in self._example} if self._example else dict(values)
        self.set_example(known)
        self.give()

    def _ask(self) -> None:
        ask_file(self._state, self, "predict_row", self.tr("Choose a table"), self.take_file)

    def take_file(self, path: Path) -> None:
        """Predict the first row of a file."""
        formats = tuple(self._state.registry.formats.values())
        known = dict(self._example)

        def fits(sample: Sample) -> bool:
            """Whether it has the columns that are known: the rows of a table may be read as a series, too."""
            values = sample.values or {}
            return all(
                name in values and isinstance(values[name], tuple) == isinstance(cell, tuple)
                for name, cell in known.items()
            )

        def read(_context: JobContext) -> Mapping[str, Cell]:
            from tlstudio.data.unlabelled import samples_in

            for item in samples_in(path, formats, "table", takes=fits):
                if isinstance(item, Sample) and item.values is not None:
                    return item.values
            raise DataError(f"There is no row in {path.name}.", "Choose another file.", path=path)

        self._state.jobs.start(read, self.tr("Reading {0}").format(path.name), self._take, key="predict row")


def written(cell: Cell) -> str:
    """Write a value as a person would type it."""
    if isinstance(cell, tuple):
        return " ".join(f"{number:.6g}" for number in cell)
    return "" if cell is None else f"{cell:.10g}" if isinstance(cell, float) else cell


def read_cell(text: str, example: Cell) -> Cell:
    """Read a value; what the column held before tells whether it is a number, several, or a word.

    Args:
        text: As it was typed.
        example: Another value of the column.
    """
    text = text.strip()
    if not text:
        return None
    if isinstance(example, tuple):
        parts = text.strip("[]()").replace(";", " ").replace(",", " ").split()
        numbers = [_number(part) for part in parts]
        return tuple(math.nan if number is None else number for number in numbers)
    if isinstance(example, str):
        return text
    number = _number(text)
    return text if number is None else number


def read_row(text: str, example: Mapping[str, Cell]) -> dict[str, Cell]:
    """Read names of columns and the row below them; or a row alone, where the columns are known and as many.

    Args:
        text: As a spreadsheet or a CSV file gives it.
        example: A row of the columns that are known; may be empty.
    """
    lines = [line for line in text.strip().splitlines() if line.strip()][:2]
    if not lines:
        return {}
    delimiter = max("\t;,", key=lines[0].count)
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    if len(rows) == 1:
        names, cells = list(example), rows[0]
    else:
        names, cells = rows[0], rows[1]
    if not names or len(names) != len(cells) or (example and not set(names) & set(example)):
        return {}
    return {name: read_cell(cell, example.get(name)) for name, cell in zip(names, cells, strict=True)}


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
