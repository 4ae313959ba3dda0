"""Rows of a table as series in the order of time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tlstudio.api import Rejected
from tlstudio_formats.cells import is_nothing
from tlstudio_formats.series_columns import MISSING, TimeReader
from tlstudio_formats.sources import Row, Table
from tlstudio_formats.values import as_text, parse_number


@dataclass(frozen=True, slots=True)
class Series:
    """One series in the order of time: N rows.

    Attributes:
        file: Name of its file.
        name: Its name, ``""`` where there is one.
        times: When, ``[N]``.
        told: The same for people.
        rows: Numbers of the rows.
        values: Each column ``[N]``, NaN where nothing is known.
        labels: The cells of the label column.
    """

    file: str
    name: str
    times: npt.NDArray[np.float64]
    told: list[str]
    rows: list[int]
    values: dict[str, npt.NDArray[np.float64]]
    labels: list[Any]

    def source(self, start: int, end: int) -> str:
        """Say which rows a part of it is, for messages; `end` is behind its last."""
        which = f'series "{self.name}", ' if self.name else ""
        return f"{self.file}, {which}rows {self.rows[start]} to {self.rows[end - 1]}"


@dataclass(frozen=True, slots=True)
class SeriesReader:
    """Reads the rows of a table as series.

    Attributes:
        table: The table.
        columns: The columns of values.
        when: Reads the times; `None`: the rows are in their order.
        time_column: When.
        series_column: Which series, or ``""``.
        label_column: The labels, or ``""``.
    """

    table: Table
    columns: Sequence[str]
    when: TimeReader | None
    time_column: str
    series_column: str
    label_column: str

    @property
    def wanted(self) -> list[str]:
        """The columns that are read."""
        return [name for name in dict.fromkeys([*self.columns, *self._roles]) if name]

    def read(self, rows: Iterator[Row | Rejected]) -> Iterator[Series | Rejected]:
        """Yield what cannot be used, and then each series in the order of time.

        Args:
            rows: Rows of the table, with the cells of `wanted`.
        """
        places = {name: place for place, name in enumerate(self.wanted)}
        time_place, series_place, label_place = (places.get(name) for name in self._roles)
        cells: dict[str, list[tuple[float, int, str, list[float], Any]]] = defaultdict(list)
        for row in rows:
            if isinstance(row, Rejected):
                yield row
                continue
            number, found = row
            source = f"{self.table.path.name}, row {number}"
            told = f"row {number}" if time_place is None else as_text(found[time_place]).strip()
            time = float(number) if self.when is None or time_place is None else self.when(found[time_place])
            if time is None:
                yield Rejected(source, f'Its time is none: "{told[:60]}".', "Correct it, or leave the row out.")
                continue
            try:
                values = [self._number(name, found[places[name]]) for name in self.columns]
            except ValueError as error:
                yield Rejected(source, str(error), "Correct it, or leave it empty.")
                continue
            name = "" if series_place is None else as_text(found[series_place]).strip()
            label = None if label_place is None else found[label_place]
            cells[name].append((time, number, told, values, label))
        for name, listed in cells.items():
            listed.sort(key=lambda entry: entry[0])
            array = np.array([entry[3] for entry in listed], dtype=np.float64)
            times = range(len(listed)) if self.when is None else [entry[0] for entry in listed]
            yield Series(
                self.table.path.name,
                name,
                np.array(times, dtype=np.float64),
                [entry[2] for entry in listed],
                [entry[1] for entry in listed],
                {column: array[:, place] for place, column in enumerate(self.columns)},
                [entry[4] for entry in listed],
            )

    @property
    def _roles(self) -> tuple[str, str, str]:
        return self.time_column, self.series_column, self.label_column

    def _number(self, name: str, cell: Any) -> float:  # noqa: ANN401  a cell of any table
        if is_nothing(cell, MISSING):
            return math.nan
        number = parse_number(cell, decimal_comma=self.table.decimal_comma)
        if number is None:
            raise ValueError(f'Its "{name}" is no finite number: "{as_text(cell)[:60]}".')
        return number
