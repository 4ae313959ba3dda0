"""Samples in the order of one of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tlstudio.data.cells import cells_from

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

Indices = npt.NDArray[np.int64]
OWN = "values."
"""What the names of the user's own columns begin with, to tell them from those of the studio."""


def in_order(revision: Revision, rows: Indices, column: str, *, descending: bool) -> Indices:
    """Sort rows of a revision by a column. Reads it whole: to be called off the window's thread."""
    if column == "size":
        width, height = (revision.table.column(name).take(rows).to_pylist() for name in ("width", "height"))
        values: Sequence[Any] = [(w or 0) * (h or 0) for w, h in zip(width, height, strict=True)]
        empty: Any = 0
    else:
        values, empty = _keys(revision, rows, column)
    ranks = sorted(range(len(values)), key=lambda i: values[i] or empty)
    sorted_rows = rows[np.asarray(ranks, dtype=np.int64)]
    return sorted_rows[::-1] if descending else sorted_rows


def _keys(revision: Revision, rows: Indices, name: str) -> tuple[Sequence[Any], Any]:
    """What the rows are sorted by, and what stands for nothing."""
    if name.startswith(OWN):
        column = name.removeprefix(OWN)
        texts = revision.table.column("values").take(rows).to_pylist()
        cells = [None if text is None else cells_from(text).get(column) for text in texts]
        plain = [cell if isinstance(cell, (str, float)) else None for cell in cells]
        # Numbers before words, as a column may hold both.
        return [None if cell is None else (isinstance(cell, str), cell) for cell in plain], (False, 0.0)
    if name == "label" and revision.label_kind in ("text", "numbers"):
        return revision.annotations.take(rows), ""
    if name == "label":
        name = {"name": "label", "number": "value"}.get(revision.label_kind, "labels")
    values = revision.table.column(name).take(rows).to_pylist()
    if name == "labels":
        values = [", ".join(value or []) for value in values]
    return values, 0.0 if name in ("value", "seconds") else ""
