"""Sentences on what else a table may be, where another format reads it otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tlstudio_formats.column_names import ITEM_NAMES, USER_NAMES
from tlstudio_formats.columns import named
from tlstudio_formats.series_columns import TimeReader, number_columns, time_column
from tlstudio_formats.sources import Table

_FEWEST = 5
_MOST_IN_ORDER = 0.9


def goes_on(table: Table, rows: Sequence[Sequence[Any]], given: Mapping[str, Any]) -> list[str]:
    """Say that a table may be a time series, where the user has not said what is learned from it.

    Args:
        table: The table.
        rows: Its first rows.
        given: Options that the user has set.
    """
    time = "" if given.get("label_column") or len(rows) < _FEWEST else time_column(table, rows)
    numbers = number_columns(table, rows, {time}) if time else []
    if not numbers:
        return []
    place, reader = table.columns.index(time), TimeReader(table, time)
    times = [seconds for row in rows if (seconds := reader(row[place])) is not None]
    later = sum(after > before for before, after in pairwise(times))
    earlier = sum(after < before for before, after in pairwise(times))
    if max(later, earlier) < _MOST_IN_ORDER * (len(rows) - 1):
        return []
    return [
        f'The rows are in the order of "{time}". To forecast how "{numbers[0]}" goes on, choose the format Time series '
        f'(on the command line: --format series -o "format.time_column={time}" -o "format.target_column={numbers[0]}").'
    ]


def who_rated_what(columns: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """Say that a table may be one of ratings, where the user has not said what is learned from it.

    Args:
        columns: Its columns.
        given: Options that the user has set.
    """
    user, item = (next((name for name in columns if named(name, names) == 1), "") for names in (USER_NAMES, ITEM_NAMES))
    if not user or not item or given.get("label_column"):
        return []
    return [
        f'"{user}" and "{item}" may say who has rated or chosen what. To recommend, choose the format Ratings of texts '
        '(on the command line: --format text_ratings -o "format.text_column=COLUMN", and -o "format.items_table=FILE" '
        "where another table says what each item is). image_ratings and image_text_ratings do the same with images."
    ]
