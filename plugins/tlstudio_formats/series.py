"""Tables in the order of time, cut into windows: forecasting what follows, or learning what a window is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tlstudio import api
from tlstudio.api import SPLITS, DataError, Label, Preview, Rejected, Sample, Task
from tlstudio_formats.cells import columns_in
from tlstudio_formats.column_names import LABEL_NAMES
from tlstudio_formats.columns import named
from tlstudio_formats.series_columns import (
    TimeReader,
    is_even,
    num_series,
    number_columns,
    series_column,
    time_column,
)
from tlstudio_formats.series_notes import (
    LOOKED,
    columns_left,
    times_that_are_odd,
    values_that_are_missing,
    what_is_learned,
)
from tlstudio_formats.series_options import SeriesOptions
from tlstudio_formats.series_rows import Series, SeriesReader
from tlstudio_formats.sources import Table, open_table, preview_rows
from tlstudio_formats.table_format import TableFormat
from tlstudio_formats.table_options import open_as_given
from tlstudio_formats.values import parse_label, suggest_task
from tlstudio_formats.windows import Window, cut_points, windows

_MOST_WINDOWS = 20_000
_LAST = 100
"""So many of the last times tell at which steps a series goes on."""


class SeriesTable(TableFormat):
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

    def fit(self, table: Table) -> float:
        """Look for a column of times at even steps, in order."""
        rows = table.head(200)
        time = time_column(table, rows)
        if not time or not number_columns(table, rows, {time}):
            return 0.05
        told = any(named(name, LABEL_NAMES) == 1 for name in table.columns)
        return 0.95 if is_even(table, rows, time) and not told else 0.5

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows, find the time and suggest windows that the data have room for."""
        given = dict(options or {})
        table = open_as_given(path, given)
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
        if numbers:
            notes += _notes(table, rows, merged)
        else:
            notes.append("No column of numbers was found: there is nothing to look at.")
        return Preview(table.columns, preview_rows(table, rows), merged, task, None, tuple(notes))

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield a sample for each window; the columns of its values begin with the one that is forecast."""
        if not isinstance(options, SeriesOptions):
            raise TypeError("options must be SeriesOptions")
        table = open_table(path, encoding=options.encoding, delimiter=options.delimiter, has_header=options.has_header)
        columns = _columns(table, options)
        reader = _reader(table, columns, options)
        series: list[Series] = []
        for item in reader.read(table.rows(reader.wanted)):
            if isinstance(item, Rejected):
                yield item
            else:
                series.append(item)
        if not series:
            return
        if not options.horizon and not options.label_column:
            for one in series:
                yield _whole(one, reader.when)
            return
        horizon = 0 if options.label_column else options.horizon
        cuts = cut_points(np.concatenate([one.times for one in series]), options.validation_share, options.test_share)
        _check_room(path, series, options, horizon, cuts)
        for one in series:
            found = windows(one.times, options.length, horizon, options.step, cuts)
            yield from _samples(one, found, options, task, decimal_comma=table.decimal_comma)

    def without_labels(self) -> Mapping[str, Any]:
        """Read each series as one sample; the model looks at its end."""
        return {"label_column": "", "target_column": "", "horizon": 0}

    def splits_told(self, options: api.Options) -> str:
        """Say where time is cut."""
        chosen = SeriesOptions.model_validate(options.model_dump())
        validation, test = chosen.validation_share, chosen.test_share
        return (
            f"Train, validation and test are cut by time: the first {1 - validation - test:.0%} of it, the next "
            f"{validation:.0%} and the last {test:.0%}. No window lies in two of them. Other shares are options of the "
            f"format, Validation and Test (on the command line: -o format.validation_share={validation:g} "
            f"-o format.test_share={test:g})."
        )


def _notes(table: Table, rows: Sequence[Sequence[Any]], given: Mapping[str, Any]) -> list[str]:
    """Say what will be learned, and what is odd about the rows."""
    try:
        options = SeriesOptions.model_validate(given)
        columns = _columns(table, options)
        if not options.horizon and not options.label_column:
            return []  # to be predicted: nothing is learned, and each row counts
        reader = _reader(table, columns, options)
        first = reader.read(islice(table.rows(reader.wanted, beginning=True), LOOKED))
        series = [one for one in first if isinstance(one, Series)]
    except (DataError, ValidationError):
        return []  # a form may be half filled: what is wrong is told where it is read
    roles = {options.time_column, options.series_column, options.label_column}
    only = [f"Times that repeat or leap, and missing values, were looked for in the first {LOOKED:,} rows alone."]
    return [
        what_is_learned(options, columns, series),
        *columns_left(table, rows, {*columns, *roles} if not options.value_columns else set(table.columns)),
        *times_that_are_odd(series),
        *values_that_are_missing(series, options),
        *(only if sum(len(one.rows) for one in series) >= LOOKED else []),
    ]


def _reader(table: Table, columns: Sequence[str], options: SeriesOptions) -> SeriesReader:
    when = TimeReader(table, options.time_column) if options.time_column else None
    return SeriesReader(table, columns, when, options.time_column, options.series_column, options.label_column)


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


def _whole(one: Series, when: TimeReader | None) -> Sample:
    return Sample(
        id=one.name or f"after {one.told[-1]}",
        values={name: tuple(cells.tolist()) for name, cells in one.values.items()},
        times=() if when is None else tuple(map(when.written, one.times[-_LAST:].tolist())),
        source=one.source(0, len(one.rows)),
    )


def _samples(
    one: Series, found: Iterable[Window], options: SeriesOptions, task: Task, *, decimal_comma: bool
) -> Iterator[Sample | Rejected]:
    """Make the samples of the windows of a series, and say which rows have kept some from being made."""
    target = next(iter(one.values))
    missing: Counter[int] = Counter()
    shown = False
    for window in found:
        shown = True
        following = one.values[target][window.end : window.until]
        if (gap := np.flatnonzero(np.isnan(following))).size:
            missing[one.rows[window.end + int(gap[0])]] += 1
            continue
        yield _sample(one, window, options, task, decimal_comma=decimal_comma)
    for row, count in sorted(missing.items()):
        which = "window that was to forecast it is" if count == 1 else f"{count} windows that were to forecast it are"
        yield Rejected(f"{one.file}, row {row}", f'Its "{target}" is missing: the {which} left out.', "Fill the gap.")
    if not shown:
        needed = options.length + (0 if options.label_column else options.horizon)
        what = f"It is too short: a window takes {needed} rows within train, validation or test."
        yield Rejected(one.source(0, len(one.rows)), what, "Choose shorter windows, or leave the series out.")


def _sample(
    one: Series, window: Window, options: SeriesOptions, task: Task, *, decimal_comma: bool
) -> Sample | Rejected:
    source = one.source(window.start, window.end)
    values = {name: cells[window.start : window.end] for name, cells in one.values.items()}
    if all(np.isnan(cells).all() for cells in values.values()):
        return Rejected(source, "The window holds no values.", "Fill the gap.")
    label: Label
    if options.label_column:
        try:
            label = parse_label(one.labels[window.end - 1], task, "", decimal_comma=decimal_comma)
        except ValueError as error:
            return Rejected(source, str(error), "Write the label of its last row, or leave it out.")
    else:
        label = tuple(next(iter(one.values.values()))[window.end : window.until].tolist())
    told = f"{one.name}, {one.told[window.end - 1]}" if one.name else one.told[window.end - 1]
    return Sample(
        id=f"until {told}",
        values={name: tuple(cells.tolist()) for name, cells in values.items()},
        label=label,
        split=window.split,
        source=source,
    )


def _check_room(
    path: Path, series: Sequence[Series], options: SeriesOptions, horizon: int, cuts: tuple[float, float]
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
            least = min(options.validation_share, options.test_share, 1 - options.validation_share - options.test_share)
            enough = f"{math.ceil(needed / least):,} rows would do. " if least > 0 else ""
            raise DataError(
                f"{path.name} has {longest:,} rows in its longest series, and no window of {options.length} rows "
                f"and {horizon} to be forecast ({needed} in all) lies wholly in the time of {split}.",
                f"{enough}Else choose shorter windows, a shorter horizon or larger shares.",
                path=path,
                field="length",
            )
