"""What the columns of a table hold: how much is missing, from where to where, how many different values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlstudio.api import Cell
from tlstudio.data.cells import cells_from

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

MOST_ROWS = 20_000
"""Rows that are read; a regular part of larger tables tells the same."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column.

    Attributes:
        name: Its name.
        missing: Share of the rows where nothing is, in 0..1.
        low: Smallest number; NaN if it has none.
        high: Largest number; NaN if it has none.
        different: Number of different words; 0 of numbers.
        steps: Most values of a series in it; 0 if it holds none.
    """

    name: str
    missing: float
    low: float = math.nan
    high: float = math.nan
    different: int = 0
    steps: int = 0


def measure_columns(revision: Revision) -> tuple[ColumnFacts, ...]:
    """Read the columns of a table; runs off the window's thread."""
    column = revision.table.column("values")
    if not len(revision) or column.null_count == len(column):
        return ()
    texts = column.to_pylist()[:: max(1, -(-len(column) // MOST_ROWS))]
    rows = [{} if text is None else cells_from(text) for text in texts]
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(_facts(name, [row.get(name) for row in rows]) for name in names)


def _facts(name: str, cells: list[Cell]) -> ColumnFacts:
    series = [cell for cell in cells if isinstance(cell, tuple)]
    numbers = [cell for cell in cells if isinstance(cell, float)]
    numbers += [number for each in series for number in each if math.isfinite(number)]
    words = {cell for cell in cells if isinstance(cell, str)}
    return ColumnFacts(
        name,
        missing=sum(cell is None for cell in cells) / len(cells),
        low=min(numbers, default=math.nan),
        high=max(numbers, default=math.nan),
        different=len(words),
        steps=max(map(len, series), default=0),
    )
