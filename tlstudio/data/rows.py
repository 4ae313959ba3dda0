"""Writing the table of samples row by row, so that a million texts never lie in memory at once."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tlstudio.api import NAMED, TASKS, Label, Mask, Split, Task, label_names, label_values
from tlstudio.data.cells import cells_json
from tlstudio.data.prepare import Cancelled, Prepared
from tlstudio.data.revision import label_column
from tlstudio.data.table import SCHEMA, UNSPLIT

_ROWS = 4096
_CHARACTERS = 2**20  # so many are read at once by who wants one row


class RowWriter:
    """Collects prepared samples on disk; the splits, known only at the end, are added on the way to Parquet.

    Args:
        folder: Folder for the intermediate and the final file.
        task: Decides which column the labels go to.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self._path = folder / "rows.arrow"
        self._file = self._path.open("wb")
        self._writer = pa.ipc.new_stream(self._file, UNSPLIT)
        self._kind = TASKS[task].label
        self._column = label_column(self._kind)
        self._listed = self._column == "annotation"
        self._names = ["id", "image", "text", "pair", "user", "item", "audio", "values", self._column, "group"]
        self._names += ["source", "hash"]
        self._names += ["width", "height", "seconds", "peak", "dhash"] + (["labels"] if self._listed else [])
        self._batch: list[tuple[Any, ...]] = []
        self._characters = 0
        self._ids = array("q")
        self._contents = array("Q")
        self._same: dict[str, str] = {}
        self.labels: list[Label] = []
        self.groups: list[str] = []
        self.prescribed: list[Split | None] = []

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def contents(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """First 64 bits of each sample's hash, which tell contents apart well enough for splits."""
        return np.array(self._contents, dtype=np.uint64)

    def add(self, item: Prepared) -> None:
        """Write a sample.

        Raises:
            OSError: The disk is full, say.
        """
        sample = item.sample
        # Labels recur: one string object each instead of a million keeps memory small.
        label = self._same.setdefault(sample.label, sample.label) if isinstance(sample.label, str) else sample.label
        self.labels.append(Mask(label.names, b"") if isinstance(label, Mask) else label)  # its pixels are on disk
        self.groups.append(self._same.setdefault(sample.group, sample.group))
        self.prescribed.append(sample.split)
        self._ids.append(hash(sample.id))
        self._contents.append(int(item.hash[:16], 16))
        values = cells_json(sample.values) if sample.values is not None else None
        annotation = json.dumps(label_values(label), ensure_ascii=False) if self._listed else None
        self._batch.append(
            (
                sample.id,
                item.file if sample.image is not None else None,
                sample.text,
                sample.pair,
                sample.user,
                sample.item,
                item.file if sample.audio is not None else None,
                values,
                annotation if self._listed else label,
                sample.group,
                sample.source,
                item.hash,
                item.width,
                item.height,
                item.seconds,
                item.peak,
                item.dhash,
                *((label_names(label) if self._kind in NAMED else None,) if self._listed else ()),
            )
        )
        self._characters += sum(len(text or "") for text in (sample.text, sample.pair, values, annotation))
        if len(self._batch) >= _ROWS or self._characters >= _CHARACTERS:
            self._flush()

    def close(self) -> None:
        """Give the intermediate file back; harmless if it is closed."""
        self._file.close()

    def finish(self, splits: Sequence[Split], target: Path, cancelled: Callable[[], bool]) -> str:
        """Write the final table and remove the intermediate one.

        Args:
            splits: Split of each sample, in the order in which they were added.
            target: The Parquet file.
            cancelled: Asked now and then.

        Returns:
            The SHA-256 of the file.

        Raises:
            OSError: The disk is full, say.
            Cancelled: As soon as `cancelled` says so.
        """
        self._flush()
        self._writer.close()
        self._file.close()
        unique = _UniqueIds(self._ids)
        start = 0
        with self._path.open("rb") as source, target.open("wb") as file:
            reader = pa.ipc.open_stream(source)
            with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
                for batch in reader:
                    if cancelled():
                        raise Cancelled
                    columns = {name: batch.column(name) for name in UNSPLIT.names}
                    columns["id"] = unique.rename(batch.column("id"))
                    columns["split"] = pa.array(splits[start : start + batch.num_rows], pa.string())
                    start += batch.num_rows
                    writer.write_batch(pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA))
            file.flush()
            os.fsync(file.fileno())
        self._path.unlink()
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _flush(self) -> None:
        if self._batch:
            cells = dict(zip(self._names, zip(*self._batch, strict=True), strict=True))
            nothing = (None,) * len(self._batch)
            columns = [pa.array(cells.get(field.name, nothing), field.type) for field in UNSPLIT]
            self._writer.write_batch(pa.record_batch(columns, schema=UNSPLIT))
            self._batch = []
            self._characters = 0


class _UniqueIds:
    """Makes ids unique that a format gave twice: ``"a"``, ``"a (2)"``."""

    def __init__(self, hashes: array[int]) -> None:
        values, counts = np.unique(np.array(hashes, dtype=np.int64), return_counts=True)
        self._repeated = set(values[counts > 1].tolist())
        self._taken = set(values.tolist()) if self._repeated else set()
        self._count: Counter[str] = Counter()

    def rename(self, ids: pa.Array[Any]) -> pa.Array[Any]:
        if not self._repeated:
            return ids
        return pa.array([self._unique(str(name)) for name in ids.to_pylist()], pa.string())

    def _unique(self, name: str) -> str:
        if hash(name) not in self._repeated:
            return name
        self._count[name] += 1
        if self._count[name] == 1:
            return name
        while hash(other := f"{name} ({self._count[name]})") in self._taken:
            self._count[name] += 1
        self._taken.add(hash(other))
        return other
