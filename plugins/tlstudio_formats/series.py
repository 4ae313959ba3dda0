"""Tables in the order of time, cut into windows: forecasting what follows, or learning what a window is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlstudio import api
from tlstudio.api import SPLITS, DataError, DatasetFormat, Label, Preview, Rejected, Sample, Task, option
from tlstudio_formats.cells import columns_in, is_nothing
from tlstudio_formats.column_names import LABEL_NAMES
from tlstudio_formats.columns import named
from tlstudio_formats.series_columns import (
    MISSING,
    is_even,
    num_series,
    number_columns,
    series_column,
    time_column,
    time_reader,
)
from tlstudio_formats.sources import TABLE_SUFFIXES, Table, open_table, preview_rows
from tlstudio_formats.values import as_text, parse_label, parse_number, suggest_task
from tlstudio_formats.windows import Window, cut_points, windows

_MOST_WINDOWS = 20_000


class SeriesOptions(api.Options):
    """How series are read and cut."""

    time_column: str = option(
        "", title="Time column", help="Date, time or number that orders the rows. Empty: as they come."
    )
    target_column: str = option(
        "", title="Forecast", help="The column of numbers that is to be forecast. Empty: the first of the values."
    )
    value_columns: str = option(
        "", title="Values", help="The columns of numbers that are known, with commas between. Empty: all."
    )
    label_column: str = option(
        "",
        title="Label column",
        help="To learn what a window is instead of what follows it: the label in its last row counts.",
    )
    series_column: str = option(
        "",
        title="Series column",
        help="Says which series a row belongs to (sensor, shop, patient). Empty: there is one.",
    )
    length: int = option(48, title="Window", help="How many values the model looks at.", unit="rows", ge=2, le=100_000)
    horizon: int = option(
        12,
        title="Horizon",
        help="How many values it forecasts. 0: none, and each series is one sample from its beginning to its end.",
        unit="rows",
        ge=0,
        le=10_000,
    )
    step: int = option(1, title="Step", help="A window begins every so many rows.", unit="rows", ge=1, le=100_000)
    validation_share: float = option(
        0.15, title="Validation", help="Share of the time that is for validation: what follows train.", gt=0, lt=1
    )
    test_share: float = option(0.15, title="Test", help="Share of the time that is for test: the end.", gt=0, lt=1)
    has_header: bool = option(
        True, title="First row has names", help="Whether the first row of a CSV file names the columns.", advanced=True
    )
    delimiter: str = option(
        "", title="Delimiter", help="The character between fields of a CSV file. Empty: it is detected.", advanced=True
    )
    encoding: str = option(
        "", title="Encoding", help="Such as utf-8, cp1252 or gb18030. Empty: it is detected.", advanced=True
    )


@dataclass(frozen=True, slots=True)
class _Series:
    """One series in the order of time: N rows.

    Attributes:
        name: Its name, ``""`` where there is one.
        times: When, ``[N]``.
        told: The same for people.
        rows: Numbers of the rows.
        values: Each column ``[N]``, NaN where nothing is known.
        labels: The cells of the label column.
    """

    name: str
    times: npt.NDArray[np.float64]
    told: list[str]
    rows: list[int]
    values: dict[str, npt.NDArray[np.float64]]
    labels: list[Any]


class SeriesTable(DatasetFormat):
    """CSV, TSV, JSON lines or Parquet: a point in time a row."""

    name = "series"
    title = "Time series"
    description = (
        "A table with a row for each point in time, and columns of numbers. It is cut into windows, and into train, "
        "validation and test by time."
    )
    modality = "table"
    tasks: tuple[Task, ...] = ("forecasting", "classification", "regression", "anomaly_detection")
    Options = SeriesOptions

    def detect(self, path: Path) -> float:
        """Look for a column of times at even steps, in order."""
        try:
            if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
                return 0.0
            table = open_table(path)
            rows = table.head(200)
            time = time_column(table, rows)
            if not time or not number_columns(table, rows, {time}):
                return 0.05
            told = any(named(name, LABEL_NAMES) == 1 for name in table.columns)
            return 0.95 if is_even(table, rows, time) and not told else 0.5
        except (DataError, OSError, ValueError):
            return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows, find the time and suggest windows that the data have room for."""
        given = dict(options or {})
        header = given.get("has_header")
        table = open_table(
            path,
            encoding=str(given.get("encoding", "")),
            delimiter=str(given.get("delimiter", "")),
            has_header=None if header is None else bool(header),
        )
        rows = table.head()
        suggested: dict[str, Any] = {}
        time = str(given.get("time_column") or time_column(table, rows))
        suggested["time_column"] = time
        if "series_column" not in given:
            suggested["series_column"] = series_column(table, rows, time)
        other = {time, str(given.get("series_column") or suggested.get("series_column", ""))} - {""}
        numbers = number_columns(table, rows, other | {str(given.get("label_column", ""))})
        suggested["target_column"] = numbers[0] if numbers else ""
        count = table.count_rows()
        if count:
            of_each = count // max(1, num_series(table, rows, str(suggested.get("series_column", ""))))
            suggested["length"] = max(4, min(96, of_each // 15))
            suggested["horizon"] = max(1, int(given.get("length", suggested["length"])) // 4)
            suggested["step"] = max(1, math.ceil(count / _MOST_WINDOWS))
        if hasattr(table, "has_header"):
            suggested["has_header"] = bool(table.has_header)
        merged = {**suggested, **given}
        task: Task | None = "forecasting"
        if merged.get("label_column"):
            table.check_columns({"label_column": str(merged["label_column"])})
            place = table.columns.index(str(merged["label_column"]))
            task, _ = suggest_task([row[place] for row in rows], decimal_comma=table.decimal_comma)
        notes = [*table.notes]
        if not time:
            notes.append("No column of times was found: the rows are taken in their order.")
        if not numbers:
            notes.append("No column of numbers was found: there is nothing to look at.")
        return Preview(table.columns, preview_rows(table, rows), merged, task, None, tuple(notes))

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield a sample for each window; the columns of its values begin with the one that is forecast."""
        if not isinstance(options, SeriesOptions):
            raise TypeError("options must be SeriesOptions")
        table = open_table(path, encoding=options.encoding, delimiter=options.delimiter, has_header=options.has_header)
        columns = _columns(table, options)
        series: list[_Series] = []
        for item in _read_series(table, columns, options):
            if isinstance(item, Rejected):
                yield item
            else:
                series.append(item)
        if not series:
            return
        if not options.horizon and not options.label_column:
            for one in series:
                yield _whole(path, one, columns)
            return
        horizon = 0 if options.label_column else options.horizon
        cuts = cut_points(np.concatenate([one.times for one in series]), options.validation_share, options.test_share)
        _check_room(path, series, options, horizon, cuts)
        for one in series:
            for window in windows(one.times, options.length, horizon, options.step, cuts):
                yield _sample(path, one, window, columns, options, task, decimal_comma=table.decimal_comma)

    def without_labels(self) -> Mapping[str, Any]:
        """Read each series as one sample; the model looks at its end."""
        return {"label_column": "", "target_column": "", "horizon": 0}


def _columns(table: Table, options: SeriesOptions) -> list[str]:
    """The columns of values, the one that is forecast first.

    Raises:
        DataError: One does not exist, or there is none.
    """
    roles = {
        "time_column": options.time_column,
        "series_column": options.series_column,
        "label_column": options.label_column,
        "target_column": options.target_column,
    }
    table.check_columns(roles)
    chosen = columns_in(options.value_columns, table, "value_columns")
    if not chosen:
        other = {options.time_column, options.series_column, options.label_column}
        chosen = number_columns(table, table.head(), other)
    first = [options.target_column] if options.target_column else []
    columns = list(dict.fromkeys([*first, *chosen]))
    if not columns:
        raise DataError(
            f"{table.path.name} has no columns of numbers.", "Choose the columns of values.", field="value_columns"
        )
    return columns


def _read_series(table: Table, columns: Sequence[str], options: SeriesOptions) -> Iterator[_Series | Rejected]:
    extra = [options.time_column, options.series_column, options.label_column]
    wanted = [*columns, *dict.fromkeys(name for name in extra if name and name not in columns)]
    place = {name: number for number, name in enumerate(wanted)}
    when = time_reader(table, options.time_column) if options.time_column else None
    cells: dict[str, list[tuple[float, int, str, list[float], Any]]] = defaultdict(list)
    for row in table.rows(wanted):
        if isinstance(row, Rejected):
            yield row
            continue
        number, found = row
        source = f"{table.path.name}, row {number}"
        time = when(found[place[options.time_column]]) if when is not None else float(number)
        if time is None:
            told = as_text(found[place[options.time_column]])[:60]
            yield Rejected(source, f'Its time is none: "{told}".', "Correct it, or leave the row out.")
            continue
        try:
            values = [_number(name, found[place[name]], decimal_comma=table.decimal_comma) for name in columns]
        except ValueError as error:
            yield Rejected(source, str(error), "Correct it, or leave it empty.")
            continue
        name = as_text(found[place[options.series_column]]).strip() if options.series_column else ""
        told = as_text(found[place[options.time_column]]).strip() if options.time_column else f"row {number}"
        label = found[place[options.label_column]] if options.label_column else None
        cells[name].append((time, number, told, values, label))
    for name, listed in cells.items():
        listed.sort(key=lambda entry: entry[0])
        array = np.array([entry[3] for entry in listed], dtype=np.float64)
        times = [entry[0] for entry in listed] if options.time_column else range(len(listed))
        yield _Series(
            name,
            np.array(times, dtype=np.float64),
            [entry[2] for entry in listed],
            [entry[1] for entry in listed],
            {column: array[:, number] for number, column in enumerate(columns)},
            [entry[4] for entry in listed],
        )


def _number(name: str, cell: Any, *, decimal_comma: bool) -> float:  # noqa: ANN401  a cell of any table
    if is_nothing(cell, MISSING):
        return math.nan
    number = parse_number(cell, decimal_comma=decimal_comma)
    if number is None:
        raise ValueError(f'Its "{name}" is no finite number: "{as_text(cell)[:60]}".')
    return number


def _whole(path: Path, one: _Series, columns: Sequence[str]) -> Sample:
    values = {name: tuple(one.values[name].tolist()) for name in columns}
    source = f"{path.name}, rows {one.rows[0]} to {one.rows[-1]}"
    return Sample(id=one.name or f"after {one.told[-1]}", values=values, source=source)


def _sample(
    path: Path,
    one: _Series,
    window: Window,
    columns: Sequence[str],
    options: SeriesOptions,
    task: Task,
    *,
    decimal_comma: bool,
) -> Sample | Rejected:
    source = f"{path.name}, rows {one.rows[window.start]} to {one.rows[window.end - 1]}"
    values = {name: one.values[name][window.start : window.end] for name in columns}
    if all(np.isnan(values[name]).all() for name in columns):
        return Rejected(source, "The window holds no values.", "Fill the gap.")
    label: Label
    if options.label_column:
        try:
            label = parse_label(one.labels[window.end - 1], task, "", decimal_comma=decimal_comma)
        except ValueError as error:
            return Rejected(source, str(error), "Write the label of its last row, or leave it out.")
    else:
        following = one.values[columns[0]][window.end : window.until]
        if np.isnan(following).any():
            return Rejected(source, "A value that is to be forecast is missing.", "Fill the gap.")
        label = tuple(following.tolist())
    told = f"{one.name}, {one.told[window.end - 1]}" if one.name else one.told[window.end - 1]
    return Sample(
        id=f"until {told}",
        values={name: tuple(cells.tolist()) for name, cells in values.items()},
        label=label,
        split=window.split,
        source=source,
    )


def _check_room(
    path: Path, series: Sequence[_Series], options: SeriesOptions, horizon: int, cuts: tuple[float, float]
) -> None:
    """Make sure that each split has room for a window.

    Raises:
        DataError: One has not.
    """
    needed = options.length + horizon
    for split in SPLITS:
        found = any(
            window.split == split
            for one in series
            for window in windows(one.times, options.length, horizon, max(1, options.step), cuts)
        )
        if not found:
            longest = max(len(one.times) for one in series)
            raise DataError(
                f"{path.name} has {longest:,} rows in its longest series, and no window of {options.length} rows "
                f"and {horizon} to be forecast ({needed} in all) lies wholly in the time of {split}.",
                "Choose shorter windows, a shorter horizon or larger shares.",
                path=path,
                field="length",
            )
