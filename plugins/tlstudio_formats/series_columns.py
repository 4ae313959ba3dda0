"""Finding the columns of a table in the order of time: when, which series, and the numbers."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlstudio_formats.cells import cell_reader, is_nothing, words_in
from tlstudio_formats.columns import named
from tlstudio_formats.dates import DateReader, date_way
from tlstudio_formats.sources import Table
from tlstudio_formats.values import as_text, parse_number

MISSING = words_in("?, -, NA, none")
"""What stands in a cell for a missing value, in small letters."""

_TIME_NAMES = words_in(
    "t, date, time, datetime, timestamp, second, minute, hour, day, weekday, week, month, quarter, year, ds, when, "
    "datum, zeit, zeitpunkt"
)
_ENOUGH = 0.8
_FEW_REPEATED = 0.9
_SOME_MORE = 1.5
_BEGIN = datetime.datetime(1970, 1, 1)


class TimeReader:
    """Turns the cells of the time column into numbers that grow with time: seconds where they are dates.

    Args:
        table: The table.
        column: Its time column.
    """

    def __init__(self, table: Table, column: str) -> None:
        place = table.columns.index(column)
        cells = [row[place] for row in table.head()]
        way = date_way(cells, numbers=_are_days(cells))
        self._decimal_comma = table.decimal_comma
        self._dates = None if way is None else DateReader(way)

    def __call__(self, cell: Any) -> float | None:  # noqa: ANN401  a cell of any table
        """Return the number of a cell, `None` where it is no time."""
        if self._dates is None:
            return parse_number(cell, decimal_comma=self._decimal_comma)
        date = self._dates(cell)
        # Without a time zone the clock has no gaps: days have equal lengths.
        return None if date is None else (date - _BEGIN).total_seconds()

    def written(self, time: float) -> str:
        """Write a time: a date as ISO 8601, to the millisecond."""
        if self._dates is None:
            return f"{time:.15g}"
        return (_BEGIN + datetime.timedelta(milliseconds=round(time * 1000))).isoformat(sep=" ")


def _are_days(cells: Sequence[Any]) -> bool:
    """Whether numbers are dates like 20240131."""
    texts = [as_text(cell).strip() for cell in cells[:100]]
    return all(len(text) == 8 and text.isdigit() and "17" <= text[:2] <= "21" for text in texts)


def time_column(table: Table, rows: Sequence[Sequence[Any]]) -> str:
    """Return the first column of dates, or of numbers with the name of a time; ``""``: there is none."""
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in rows]
        if date_way(cells) is not None or (_are_days(cells) and named(name, _TIME_NAMES) > 0 and bool(cells)):
            return name
    for place, name in enumerate(table.columns):
        numbers = [parse_number(row[place], decimal_comma=table.decimal_comma) for row in rows]
        known = [number for number in numbers if number is not None]
        if named(name, _TIME_NAMES) > 0 and known and len(known) == len(numbers) and known == sorted(known):
            return name
    return ""


def number_columns(table: Table, rows: Sequence[Sequence[Any]], other: set[str]) -> list[str]:
    """Return the columns of numbers that have no other part to play; a few cells may be spoilt."""
    found = []
    for place, name in enumerate(table.columns):
        filled = [row[place] for row in rows if not is_nothing(row[place], MISSING)]
        numbers = [
            parse_number(cell, decimal_comma=table.decimal_comma) for cell in filled if not isinstance(cell, bool)
        ]
        known = sum(number is not None for number in numbers)
        if name and name not in other and filled and known >= _ENOUGH * len(filled):
            found.append(name)
    return found


def series_column(table: Table, rows: Sequence[Sequence[Any]], time: str) -> str:
    """Return a column whose values tell apart rows of the same time: of words, or of few numbers; ``""``: none is."""
    if not time or not rows:
        return ""
    when = table.columns.index(time)
    at_once = Counter(as_text(row[when]) for row in rows)
    # A time that is there twice by mistake makes no second series.
    if len(at_once) > _FEW_REPEATED * len(rows):
        return ""
    most = max(at_once.values())
    for place, name in enumerate(table.columns):
        cells = [as_text(row[place]) for row in rows]
        pairs = {(as_text(row[when]), cell) for row, cell in zip(rows, cells, strict=True)}
        if name == time or len(pairs) < len(rows) or named(name, _TIME_NAMES) > 0:
            continue
        counted = all(cell.isdigit() for cell in cells) and len(set(cells)) <= _SOME_MORE * most
        if counted or cell_reader(name, [row[place] for row in rows]).kind == "word":
            return name
    return ""


def num_series(table: Table, rows: Sequence[Sequence[Any]], column: str) -> int:
    """Count the series among the first rows."""
    if not column:
        return 1
    place = table.columns.index(column)
    return max(1, len({as_text(row[place]) for row in rows}))


def is_even(table: Table, rows: Sequence[Sequence[Any]], time: str) -> bool:
    """Say whether rows come at even steps, within each series where there are several."""
    reader = TimeReader(table, time)
    column = series_column(table, rows, time)
    place, which = table.columns.index(time), table.columns.index(column) if column else None
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        seconds = reader(row[place])
        if seconds is None:
            return False
        times["" if which is None else as_text(row[which])].append(seconds)
    steps = np.concatenate([np.diff(listed) for listed in times.values()]) if times else np.zeros(0)
    # Months and quarters differ by some days; now and then a step may be missing.
    return (
        len(steps) >= 10
        and bool((steps > 0).mean() > 0.95)
        and bool((np.abs(steps - np.median(steps)) <= 0.11 * np.median(steps)).mean() > 0.9)
    )
