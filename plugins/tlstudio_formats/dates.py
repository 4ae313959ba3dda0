"""Dates and times as people write them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

from tlstudio_formats.values import as_text, is_missing

_TIMES = ("", " %H:%M", " %H:%M:%S")
_DAYS = ("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%m/%d/%y", "%d-%m-%Y", "%d %b %Y", "%b %d %Y", "%b %d, %Y")
_WAYS = ("", *(f"{day}{time}" for day in _DAYS for time in _TIMES))
"""How dates are written; ``""`` is year, month, day and maybe a time, as ISO 8601 has it, with any sign between."""

_ENOUGH = 0.95
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


class DateReader:
    """Reads the dates of one column, all of which are written in one way.

    Args:
        way: How they are written; see `date_way`.
    """

    def __init__(self, way: str) -> None:
        self._way = way

    def __call__(self, cell: Any) -> datetime.datetime | None:  # noqa: ANN401  a cell of any table
        """Return the date of a cell without its time zone, or `None` if it is none."""
        return _read(cell, self._way)


def date_way(cells: Sequence[Any], *, numbers: bool = False) -> str | None:
    """Find out how the dates of a column are written; `None`: they are none.

    Args:
        cells: The first cells of the column.
        numbers: Whether numbers such as ``20240131`` are dates here.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    if not filled or (not numbers and all(_NUMBER.fullmatch(as_text(cell).strip()) for cell in filled)):
        return None
    for way in _WAYS:
        if sum(_read(cell, way) is not None for cell in filled) >= _ENOUGH * len(filled):
            return way
    return None


def _read(cell: Any, way: str) -> datetime.datetime | None:  # noqa: ANN401  a cell of any table
    if isinstance(cell, datetime.datetime):
        return cell.replace(tzinfo=None)
    if isinstance(cell, datetime.date):
        return datetime.datetime(cell.year, cell.month, cell.day)
    text = as_text(cell).strip()
    if not 6 <= len(text) <= 40:
        return None
    try:
        if way:
            return datetime.datetime.strptime(text, way)
        plain = re.sub(r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", r"\1-\2-\3", text)
        plain = re.sub(r"^(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)", lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", plain)
        plain = f"{plain}-01" if re.fullmatch(r"\d{4}-\d{2}", plain) else plain
        return datetime.datetime.fromisoformat(plain).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
