"""The annotations of a revision (masks, boxes, texts), which may be far larger than all the rest of its table."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tlstudio.api import DataError
from tlstudio.data.table import SCHEMA

COLUMN = "annotation"


class Annotations:
    """The column of annotations, read in the groups of rows that the file is made of, when they are asked for.

    Args:
        path: The table of samples; somebody may have sent it.
        rows: How many rows it should have.
        most: So many bytes of groups are kept; whatever was asked for last is.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, path: Path, rows: int, *, most: int = 2**27) -> None:
        self._path = path
        self._most = most
        self._kept: OrderedDict[int, pa.ChunkedArray[Any]] = OrderedDict()
        self._lock = threading.Lock()
        try:
            self._facts = pq.read_metadata(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        sizes = [self._facts.row_group(group).num_rows for group in range(self._facts.num_row_groups)]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._there = COLUMN in self._facts.schema.to_arrow_schema().names  # not in tables of the first format
        if sum(sizes) != rows:
            raise self._unreadable(f"it has {sum(sizes)} rows")

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return sum(group.nbytes for group in self._kept.values())

    def take(self, indices: npt.NDArray[np.int64]) -> list[str | None]:
        """Return those of many rows, in their order.

        Raises:
            DataError: The file cannot be read.
        """
        taken: list[str | None] = [None] * len(indices)
        if not self._there:
            return taken
        groups = np.searchsorted(self._ends, indices, side="right")
        for group in np.unique(groups).tolist():
            places = np.flatnonzero(groups == group)
            end, values = int(self._ends[group]), self._group(group)
            found = values.take(indices[places] - (end - len(values)))
            for place, value in zip(places.tolist(), found.to_pylist(), strict=True):
                taken[place] = value
        return taken

    def _group(self, group: int) -> pa.ChunkedArray[Any]:
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
            try:
                with pq.ParquetFile(self._path, metadata=self._facts, memory_map=False) as file:
                    column = file.read_row_group(group, columns=[COLUMN]).column(COLUMN)
                values = column.cast(SCHEMA.field(COLUMN).type)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise self._unreadable(error) from error
            self._kept[group] = values
            while len(self._kept) > 1 and self.size > self._most:
                self._kept.popitem(last=False)
            return values

    def _unreadable(self, why: object) -> DataError:
        what = f"The table of samples {self._path} cannot be read: {why}."
        return DataError(what, "Import the data again.", path=self._path)
