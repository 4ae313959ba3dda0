"""Sentences on a table in the order of time: what will be learned, and what is odd about its rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tlstudio_formats.cells import is_nothing
from tlstudio_formats.series_columns import MISSING
from tlstudio_formats.series_options import SeriesOptions
from tlstudio_formats.series_rows import Series
from tlstudio_formats.sources import Table
from tlstudio_formats.values import as_text, parse_number

LOOKED = 20_000
"""So many rows are looked at for notes."""

_LISTED = 4


def what_is_learned(options: SeriesOptions, columns: Sequence[str], series: Sequence[Series]) -> str:
    """Say what is learned from what, and what changes that.

    Args:
        options: The options.
        columns: The columns of values; the first is forecast.
        series: The series.
    """
    order = f'in the order of "{options.time_column}"' if options.time_column else "in the order of the file"
    each = f', in each of the {len(series):,} series of "{options.series_column}"' if options.series_column else ""
    known = _listed([f'"{name}"' for name in columns])
    if options.label_column:
        what = f'what "{options.label_column}" says in the last of {options.length} rows of {known}'
        return (
            f"{what[0].upper()}{what[1:]} is learned, {order}{each}; each such window is an item. Window sets how many "
            f"rows (on the command line: -o format.length={options.length})."
        )
    following, verb = ("value", "is") if options.horizon == 1 else (f"{options.horizon} values", "are")
    return (
        f'The next {following} of "{columns[0]}" {verb} forecast from {options.length} past ones of {known}, '
        f"{order}{each}; each such window is an item. Forecast, Values, Window and Horizon change that (on the command "
        f"line: -o format.target_column=NAME -o format.value_columns=A,B -o format.length={options.length} "
        f"-o format.horizon={options.horizon})."
    )


def columns_left(table: Table, rows: Sequence[Sequence[Any]], taken: Collection[str]) -> list[str]:
    """Say which columns are not taken, as they hold no numbers, with an example of each."""
    told = []
    for place, name in enumerate(table.columns):
        if name and name not in taken:
            filled = (row[place] for row in rows if not is_nothing(row[place], MISSING))
            other = (cell for cell in filled if parse_number(cell, decimal_comma=table.decimal_comma) is None)
            cell = next(other, None)
            told.append(f'"{name}"' if cell is None else f'"{name}" ("{as_text(cell)[:40]}", for instance)')
    return [f"Not taken, as they hold no numbers or hardly any: {_listed(told)}."] if told else []


def times_that_are_odd(series: Sequence[Series]) -> list[str]:
    """Say which rows have the time of the one before them, and where time leaps."""
    same, leaps = [], []
    for one in series:
        steps = np.diff(one.times)
        usual = np.median(steps) if len(steps) else 0.0
        again = np.flatnonzero(steps == 0)
        same += [f"row {one.rows[place + 1]} that of row {one.rows[place]} ({one.told[place]})" for place in again]
        far = np.flatnonzero(steps > 1.5 * usual)
        if usual > 0 and len(far) <= 0.1 * len(steps):  # else there is no usual step: working days, say
            leaps += [f"{one.told[place]} and {one.told[place + 1]} (row {one.rows[place + 1]})" for place in far]
    notes = []
    if same:
        who = "1 row has" if len(same) == 1 else f"{len(same):,} rows have"
        notes.append(
            f"{who} the time of another: {_listed(same, '; ')}. They are kept one after the other. If they are of "
            "several series, choose the series column; else remove what is there twice."
        )
    if leaps:
        how = "is 1 leap" if len(leaps) == 1 else f"are {len(leaps):,} leaps"
        notes.append(
            f"There {how} in time, between {_listed(leaps, '; ')}. The rows are taken as if nothing were missing. To "
            "have it count as missing, write the times that are left out with empty cells."
        )
    return notes


def values_that_are_missing(series: Sequence[Series], options: SeriesOptions) -> list[str]:
    """Say in which rows values are missing, and what is done with that."""
    rows: dict[str, list[int]] = {}
    for one in series:
        for name, values in one.values.items():
            rows.setdefault(name, []).extend(one.rows[place] for place in np.flatnonzero(np.isnan(values)))
    told = [f'"{name}" in {_rows(sorted(found))}' for name, found in rows.items() if found]
    if not told:
        return []
    left_out = "" if options.label_column else " Where it was to be forecast, the window is left out."
    return [f"Missing: {_listed(told, '; ')}. There the value before counts.{left_out}"]


def _rows(numbers: Sequence[int]) -> str:
    return f"{'row' if len(numbers) == 1 else 'rows'} {_listed([str(number) for number in numbers])}"


def _listed(told: Sequence[str], between: str = ", ") -> str:
    more = len(told) - _LISTED
    return between.join(told[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")
