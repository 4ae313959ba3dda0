"""The columns of the user's own table, as they are stored and read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tlstudio.api import Cell
from tlstudio.data.names import plain_text


def cells_json(values: Mapping[str, Cell]) -> str:
    """Write the columns of a sample; numbers that are none (NaN, infinite) are nothing.

    Raises:
        TypeError: A value is no word, number, or tuple of numbers.
    """
    return json.dumps({plain_text(name): _plain(cell) for name, cell in values.items()}, ensure_ascii=False)


def cells_from(text: str) -> dict[str, Cell]:
    """Read back what `cells_json` wrote."""
    return {name: _read(cell) for name, cell in json.loads(text).items()}


def cell_text(cell: Cell) -> str:
    """Write a value for people."""
    if isinstance(cell, tuple):
        return f"{len(cell)} values"
    return "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else cell


def _plain(cell: Cell) -> Any:  # noqa: ANN401  whatever JSON can hold
    if isinstance(cell, tuple):
        return [_plain(number) for number in cell]
    if isinstance(cell, (int, float)):
        return float(cell) if math.isfinite(cell) else None
    if cell is None:
        return None
    if isinstance(cell, str):
        return plain_text(cell)
    raise TypeError(f"a cell cannot be a {type(cell).__name__}")


def _read(cell: Any) -> Cell:  # noqa: ANN401  whatever JSON can hold
    if isinstance(cell, list):
        return tuple(math.nan if number is None else float(number) for number in cell)
    return cell if cell is None or isinstance(cell, str) else float(cell)
