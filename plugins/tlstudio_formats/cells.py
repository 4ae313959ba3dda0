"""Cells of a table as what they mean: numbers, dates and words."""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tlstudio.api import Cell, DataError
from tlstudio_formats.dates import DateReader, date_way
from tlstudio_formats.sources import Table
from tlstudio_formats.values import as_text, is_missing, parse_number

CellKind = Literal["number", "date", "word"]

_ENOUGH = 0.95
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class CellReader:
    """Reads the cells of one column.

    Attributes:
        name: The column.
        kind: What its cells are.
        way: How its dates are written.
        decimal_comma: Whether ``3,5`` is a number.
        missing: Words that stand for nothing, in small letters.
    """

    name: str
    kind: CellKind
    way: str = ""
    decimal_comma: bool = False
    missing: frozenset[str] = frozenset()

    def __call__(self, value: Any) -> Cell:  # noqa: ANN401  a cell of any table
        """Return what a cell holds; dates as ISO 8601.

        Raises:
            ValueError: With a sentence, where it is not of the kind of its column.
        """
        if is_nothing(value, self.missing):
            return None
        text = as_text(value).replace("\0", "").strip()
        if self.kind == "number":
            number = parse_number(_plain(value), decimal_comma=self.decimal_comma)
            if number is None:
                raise ValueError(f'Its "{self.name}" is no finite number: "{text[:60]}".')
            return number
        if self.kind == "date":
            date = DateReader(self.way)(value)
            if date is None:
                raise ValueError(f'Its "{self.name}" is no date: "{text[:60]}".')
            return date.isoformat()
        if len(text) > _LONGEST:
            raise ValueError(
                f'Its "{self.name}" has more than {_LONGEST:,} letters, too many for the name of a category.'
            )
        return text


def cell_reader(
    name: str,
    cells: Sequence[Any],
    *,
    decimal_comma: bool = False,
    missing: frozenset[str] = frozenset(),
    words: bool = False,
) -> CellReader:
    """Look at the first cells of a column and make what reads them.

    Args:
        name: The column.
        cells: Its first cells.
        decimal_comma: Whether ``3,5`` is a number.
        missing: Words that stand for nothing, in small letters.
        words: Whether its numbers and dates are names.

    Raises:
        DataError: Its cells are lists or objects.
    """
    filled = [cell for cell in cells if not is_nothing(cell, missing)]
    if any(isinstance(cell, (list, dict, bytes)) for cell in filled):
        raise DataError(
            f'The cells of the column "{name}" are lists or objects, not single values.',
            "Leave it out, or give each value a column of its own.",
            field="leave_out",
        )
    count = len(filled)
    numbers = sum(
        not isinstance(cell, bool) and parse_number(_plain(cell), decimal_comma=decimal_comma) is not None
        for cell in filled
    )
    if count and not words and numbers >= _ENOUGH * count:
        return CellReader(name, "number", "", decimal_comma, missing)
    way = None if words else date_way(filled)
    if way is not None:
        return CellReader(name, "date", way, decimal_comma, missing)
    return CellReader(name, "word", "", decimal_comma, missing)


def is_nothing(value: Any, missing: frozenset[str]) -> bool:  # noqa: ANN401  a cell of any table
    """Whether a cell is empty, or one of the words for that."""
    return is_missing(value) or (isinstance(value, str) and value.strip().casefold() in missing)


def _plain(value: Any) -> Any:  # noqa: ANN401  a cell of any table
    """Numbers of databases as numbers."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


def words_in(text: str) -> frozenset[str]:
    """Return the words of a list with commas, in small letters."""
    return frozenset(word.strip().casefold() for word in text.split(",") if word.strip())


def columns_in(text: str, table: Table, field: str) -> list[str]:
    """Return the columns that an option names: with commas between, or as a JSON list where names have commas.

    Raises:
        DataError: There is no such column.
    """
    names = [text.strip()] if text.strip() in table.columns else [name.strip() for name in text.split(",")]
    if text.strip().startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"The list of columns is no valid JSON: {error}.", 'Write it as ["a", "b"].', field=field
            ) from error
        names = [as_text(name) for name in listed]
    names = [name for name in dict.fromkeys(names) if name]
    for name in names:
        table.check_columns({field: name})
    return names
