"""A frozen revision of a data set: what a run learns from, and never changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tlstudio.api import (
    NAMED,
    SPLITS,
    TASKS,
    Cell,
    DataError,
    Label,
    LabelKind,
    Modality,
    Rejected,
    Sample,
    Split,
    TargetInfo,
    Task,
    label_from,
)
from tlstudio.api.files import read_text
from tlstudio.data.annotations import COLUMN, Annotations
from tlstudio.data.cells import cell_text, cells_from
from tlstudio.data.folds import rows_of_fold, rows_of_folds
from tlstudio.data.revision_facts import damaged_facts, read_facts, verify_table
from tlstudio.data.shots import rows_left_aside
from tlstudio.data.table import read_table
from tlstudio.data.target_info import describe_target

TABLE_FILE = "samples.parquet"
REPORT_FILE = "report.json"
MEDIA_FOLDER = "media"

Indices = npt.NDArray[np.int64]
_OWN_COLUMNS: dict[LabelKind, str] = {"name": "label", "names": "labels", "number": "value", "none": "label"}
_AS_STORED = ("text", "pair", "user", "item", "group", "split", "source")
_NOT_AS_WRITTEN = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_ROWS = 4096  # so many rows are turned into Python objects at once


def label_column(kind: LabelKind) -> str:
    """In which column of the table labels of a kind are."""
    return _OWN_COLUMNS.get(kind, COLUMN)


@dataclass(frozen=True)
class Revision:
    """A frozen revision: its facts, and its samples in a table that is read when first needed.

    Attributes:
        folder: Where it lies.
        dataset: Name of the data set.
        id: ``"r1"``, ``"r2"``, ... in the order of import.
        modality: What its samples are.
        task: What its labels are for.
        classes: Class names in the order of a head's outputs; empty for regression.
        created: When it was imported, as ISO 8601 in UTC.
        source: What it was imported from.
        format: Name of the format that read it.
        format_options: Options of that format.
        seed: Seed of the splits.
        sha256: Hash of ``samples.parquet``.
        rows: Number of samples.
        left_aside: Rows of the train split that are not learned from; see `few`.
        held_out: Rows that are the validation split in place of those that were imported as such; see `fold`.
    """

    folder: Path
    dataset: str
    id: str
    modality: Modality
    task: Task
    classes: tuple[str, ...]
    created: str
    source: str
    format: str
    format_options: dict[str, Any]
    seed: int
    sha256: str
    rows: int
    left_aside: tuple[int, ...] = ()
    held_out: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.rows

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the table: a loader process reads it from the file again, which is quicker than sending it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> Revision:
        """Open a revision and check that its table is what was imported.

        Args:
            folder: The revision's folder.
            verify: Whether to read the whole table for that; not needed where it was just done.

        Raises:
            DataError: It is missing, damaged, changed, or was made by a newer version.
        """
        facts = read_facts(folder)
        if verify:
            verify_table(folder / TABLE_FILE, facts["sha256"])
        for key, known in (("modality", get_args(Modality)), ("task", get_args(Task))):
            if facts.get(key) not in known:
                raise damaged_facts(folder, f"its {key} is none of {', '.join(known)}")
        try:
            return cls(
                folder=folder.absolute(),
                dataset=str(facts["dataset"]),
                id=str(facts["id"]),
                modality=facts["modality"],
                task=facts["task"],
                classes=tuple(str(name) for name in facts["classes"]),
                created=str(facts["created"]),
                source=str(facts["source"]),
                format=str(facts["format_name"]),
                format_options=dict(facts["format_options"]),
                seed=int(facts["seed"]),
                sha256=facts["sha256"],
                rows=int(facts["rows"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise damaged_facts(folder, f"it has no usable {error}") from error

    @property
    def reference(self) -> str:
        """Its name in recipes, by which it is found in its project: ``"flowers@r2"``."""
        return f"{self.folder.parent.name}@{self.folder.name}"

    @cached_property
    def table(self) -> pa.Table:
        """The samples, columns as in `tlstudio.data.table.SCHEMA` but for the annotations, in one chunk each.

        Raises:
            DataError: The file cannot be read.
        """
        path = self.folder / TABLE_FILE
        table = read_table(path)
        if table.num_rows != self.rows:
            what = f"The table of samples {path} has {table.num_rows} rows."
            raise DataError(what, "Import the data again.", path=path)
        return table

    @cached_property
    def annotations(self) -> Annotations:
        """The column of the table that may be too large for memory."""
        return Annotations(self.folder / TABLE_FILE, self.rows)

    @cached_property
    def _columns(self) -> dict[str, pa.ChunkedArray[Any]]:
        return {name: self.table.column(name) for name in self.table.column_names}

    @property
    def _splits(self) -> list[str]:
        """The split of each row."""
        stored = cast("list[str]", self.table.column("split").to_pylist())
        if self.held_out is not None:
            stored = ["test" if split == "test" else "train" for split in stored]
            for row in self.held_out:
                stored[row] = "validation"
        return stored

    @cached_property
    def _split_indices(self) -> dict[Split, Indices]:
        names = np.asarray(self._splits, dtype=object)
        found: dict[Split, Indices] = {split: np.flatnonzero(names == split).astype(np.int64) for split in SPLITS}
        found["train"] = np.setdiff1d(found["train"], np.asarray(self.left_aside, dtype=np.int64))
        return found

    def few(self, shots: int, seed: int) -> Revision:
        """Return the same revision with a small train split: so many samples of each class, drawn at random.

        Args:
            shots: Samples of each class, at least 1.
            seed: The same seed draws the same samples.

        Raises:
            DataError: Its labels are not one class each, or a class has fewer samples.
        """
        return replace(self, left_aside=tuple(rows_left_aside(self, shots, seed).tolist()))

    def fold(self, number: int, folds: int, seed: int) -> Revision:
        """Return the same revision with other train and validation splits: one fold of both together is held out.

        Args:
            number: Which fold is the validation split, from 1.
            folds: How many there are, at least 2.
            seed: The same seed gives the same folds.

        Raises:
            DataError: There is no such fold, or its labels or its samples are not for folds.
        """
        return replace(self, held_out=tuple(rows_of_fold(self, number, folds, seed).tolist()))

    def in_folds(self, folds: int, seed: int) -> list[Revision]:
        """Return the same revision for each fold, which is held out there; see `fold`."""
        return [replace(self, held_out=tuple(rows.tolist())) for rows in rows_of_folds(self, folds, seed)]

    @cached_property
    def _index_by_id(self) -> dict[str, int]:
        return {str(name): index for index, name in enumerate(self.table.column("id").to_pylist())}

    def sample(self, index: int) -> Sample:
        """Return a sample with the absolute path of its file and its label.

        Args:
            index: Row, from 0; negative counts from the end.

        Raises:
            IndexError: There is no such row.
        """
        return next(self.samples(np.array([self._checked(index)])))

    def samples(self, indices: Indices) -> Iterator[Sample]:
        """Yield the samples of many rows, much faster than one by one."""
        for start in range(0, len(indices), _ROWS):
            part = self.table.take(indices[start : start + _ROWS])
            cells = {name: part.column(name).to_pylist() for name in ("id", "image", "audio", "values", *_AS_STORED)}
            for row, label in enumerate(self.labels(indices[start : start + _ROWS])):
                stored: dict[str, Any] = {name: cells[name][row] for name in ("id", *_AS_STORED)}
                image, audio, values = (cells[name][row] for name in ("image", "audio", "values"))
                yield Sample(
                    **stored,
                    image=None if image is None else self.folder / image,
                    audio=None if audio is None else self.folder / audio,
                    values=self._cells(values),
                    label=label,
                )

    def ids(self, indices: Indices) -> list[str]:
        """Return the ids of many rows."""
        return cast("list[str]", self.table.column("id").take(indices).to_pylist())

    def labels(self, indices: Indices) -> list[Label]:
        """Return the labels of many rows, each as `label` gives it."""
        values = self._stored_labels(indices)
        if self.label_kind in ("name", "number"):
            return cast("list[Label]", values)
        return [self._label(value) for value in values]

    def label(self, index: int) -> Label:
        """Return the label of a row, of the kind of the task."""
        return self._label(self._stored_labels(np.array([self._checked(index)]))[0])

    def sample_text(self, index: int, length: int = 200) -> str:
        """Return one line that names a sample in lists: its text or the cells of its row, shortened, or its id."""
        index = self._checked(index)
        text = self._get("text", index)
        if text is None and (values := self._get("values", index)) is not None:
            told = ((name, cell_text(cell)) for name, cell in (self._cells(values) or {}).items())
            text = ", ".join(f"{name}: {cell}" for name, cell in told if cell)
        if not text:
            return cast(str, self._get("id", index))
        line = " ".join(text[: length * 4].split())
        return line if len(line) <= length and len(text) <= length * 4 else line[: length - 1].rstrip() + "…"

    def split(self, index: int) -> Split:
        """Return the split of a row."""
        return cast(Split, self._get("split", self._checked(index)))

    def indices(self, split: Split) -> Indices:
        """Return the rows of a split, ascending."""
        return self._split_indices[split]

    def index_of(self, id: str) -> int:  # noqa: A002  the word of the contract
        """Return the row of a sample.

        Raises:
            DataError: No sample has this id.
        """
        try:
            return self._index_by_id[id]
        except KeyError:
            raise DataError(
                f"The data set {self.dataset} ({self.id}) has no item {id!r}.", "Look for it in another revision."
            ) from None

    def target_info(self) -> TargetInfo:
        """Describe what a head has to learn, from the train split alone."""
        return describe_target(self)

    def values(self) -> npt.NDArray[np.float64]:
        """Return the regression targets of all rows, NaN where the task has none."""
        return self.table.column("value").to_numpy().astype(np.float64)

    @property
    def has_class_names(self) -> bool:
        """Whether it has classes that tell items apart: the only one of question answering is the answer."""
        return bool(self.classes) and self.task != "question_answering"

    def class_counts(self) -> dict[Split, dict[str, int]]:
        """Count the samples of each class by split; a sample with several names counts for each of them."""
        counts: dict[Split, dict[str, int]] = {split: dict.fromkeys(self.classes, 0) for split in SPLITS}
        if self.label_kind not in NAMED:
            return counts
        single = self.label_kind == "name"
        names = self.table.column("label" if single else "labels").to_pylist()
        splits = self._splits
        if single:
            aside = set(self.left_aside)
            rows = enumerate(zip(splits, names, strict=True))
            pairs = Counter(pair for row, pair in rows if row not in aside)
        else:
            pairs = Counter(
                (split, name) for split, several in zip(splits, names, strict=True) for name in several or ()
            )
        for (split, name), count in pairs.items():
            counts[cast(Split, split)][str(name)] = count
        return counts

    def report(self) -> tuple[tuple[Rejected, ...], tuple[str, ...]]:
        """Return what the import rejected and what it noted; empty where that file is gone."""
        try:
            data = json.loads(read_text(self.folder / REPORT_FILE))
            rejected = tuple(
                Rejected(str(item["source"]), str(item["reason"]), str(item["remedy"])) for item in data["rejected"]
            )
            return rejected, tuple(str(note) for note in data["notes"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return (), ()  # it only informs: nothing depends on it

    @property
    def has_pairs(self) -> bool:
        """Whether each sample has a second text."""
        column = self.table.column("pair")
        return self.rows > 0 and column.null_count == 0

    @property
    def label_kind(self) -> LabelKind:
        """What its labels are made of."""
        return TASKS[self.task].label

    def not_as_written(self, what: str, error: Exception) -> DataError:
        """Say that the table holds something that an import does not write: it was damaged, or written by another."""
        path = self.folder / TABLE_FILE
        why = f"The table of samples {path} holds a {what} that cannot be read ({type(error).__name__})."
        return DataError(why, "Restore it from a backup, or import the data again.", path=path)

    def _stored_labels(self, indices: Indices) -> list[Any]:
        column = label_column(self.label_kind)
        if column == COLUMN:
            return self.annotations.take(indices)
        return self.table.column(column).take(indices).to_pylist()

    def _label(self, value: Any) -> Label:  # noqa: ANN401  a cell of any column
        kind = self.label_kind
        try:
            return label_from(json.loads(value) if kind not in _OWN_COLUMNS and value is not None else value, kind)
        except _NOT_AS_WRITTEN as error:
            raise self.not_as_written("label", error) from error

    def _cells(self, text: str | None) -> dict[str, Cell] | None:
        try:
            return None if text is None else cells_from(text)
        except _NOT_AS_WRITTEN as error:
            raise self.not_as_written("row of values", error) from error

    def _get(self, column: str, index: int) -> Any:  # noqa: ANN401  a cell of any column
        return self._columns[column][index].as_py()

    def _checked(self, index: int) -> int:
        position = int(index)
        if position < 0:
            position += self.rows
        if not 0 <= position < self.rows:
            raise IndexError(f"row {index} of {self.rows}")
        return position
