"""Which samples are shown: by class, by split, by what is written, by a list of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleFilter:
    """What a sample must be to be shown; empty fields ask nothing.

    Attributes:
        label: Its class, or one of its classes.
        split: Its split.
        text: Occurs in its text, label, source or id, whatever the case.
        ids: One of these, shown in this order.
    """

    label: str = ""
    split: str = ""
    text: str = ""
    ids: tuple[str, ...] | None = None

    @property
    def asks(self) -> bool:
        """Whether it asks anything."""
        return bool(self.label or self.split or self.text or self.ids is not None)


def matching(revision: Revision, wanted: SampleFilter) -> Indices:
    """Return the rows of a revision that a filter lets through, ascending, or in the order of its ids.

    Args:
        revision: The revision.
        wanted: The filter.
    """
    table = revision.table
    keep = np.ones(len(revision), dtype=bool)
    if wanted.split:
        keep &= _mask(pc.equal(table.column("split"), pa.scalar(wanted.split)))
    if wanted.label:
        if revision.label_kind != "name":
            names = table.column("labels").to_pylist()
            keep &= np.fromiter((wanted.label in (each or ()) for each in names), dtype=bool, count=len(names))
        else:
            keep &= _mask(pc.equal(table.column("label"), pa.scalar(wanted.label)))
    if wanted.text:
        found = np.zeros(len(revision), dtype=bool)
        for column in ("text", "pair", "label", "source", "id"):
            values = table.column(column)
            if values.null_count < len(values):
                found |= _mask(pc.match_substring(values, wanted.text, ignore_case=True))
        keep &= found
    if wanted.ids is None:
        return np.flatnonzero(keep).astype(np.int64)
    rows = [row for row in (_row_of(revision, each) for each in wanted.ids) if row >= 0 and keep[row]]
    return np.asarray(rows, dtype=np.int64)


def _mask(values: Any) -> npt.NDArray[np.bool_]:  # noqa: ANN401  arrow's functions return any of its arrays
    found: Any = pc.fill_null(values, pa.scalar(False))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _row_of(revision: Revision, sample_id: str) -> int:
    from tlstudio.api import DataError

    try:
        return revision.index_of(sample_id)
    except DataError:
        return -1
