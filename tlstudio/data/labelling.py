"""Labels that are given in the project: a new revision of a data set, with them and with items that had none."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tlstudio.api import TASKS, DataError, Label, Rejected, Sample
from tlstudio.api.wording import did_you_mean
from tlstudio.data.importing import ImportReport, app_version, publish_revision, write_json
from tlstudio.data.labels import WrongLabel, checked_label
from tlstudio.data.prepare import Cancelled, Prepared, prepare_files, prepare_rows, prepare_texts
from tlstudio.data.revision import MEDIA_FOLDER, REPORT_FILE, TABLE_FILE, Revision, label_column
from tlstudio.data.revision_facts import FORMAT, read_facts
from tlstudio.data.rows import RowWriter
from tlstudio.data.staging import check_space, staging_folder
from tlstudio.data.table import SCHEMA
from tlstudio.data.targets import check_target

__all__ = ["GIVEN_KINDS", "GivenLabel", "with_labels"]

GIVEN_KINDS = ("name", "names", "number")
"""Kinds of labels that can be given item by item."""

_ADDED_FILE = "added.parquet"
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """A label that somebody has given to an item.

    Attributes:
        id: Id of the item.
        label: The label, of the kind of the data set's task.
        sample: The item itself, where it comes from elsewhere and is to be added; `None`: it is in the data set.
    """

    id: str
    label: Label
    sample: Sample | None = None


def with_labels(
    revision: Revision,
    given: Sequence[GivenLabel],
    *,
    new_classes: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> ImportReport:
    """Make a new revision of a data set in which items have the labels that were given to them.

    Items of the data set keep their split; items that are new to it go to train, never to validation or test. One whose
    very content is in the data set already, or whose group is held out there, is rejected. All of it or nothing is
    done, as in an import.

    Args:
        revision: What the new revision begins with; nothing of it changes.
        given: The labels.
        new_classes: Whether there may be classes among them that the data set does not have.
        cancelled: Asked at every file and every few rows.

    Returns:
        What was done. ``unchanged`` says that all items have these labels already, so that no revision was made.

    Raises:
        DataError: No label can be used, a class is unknown, or the disk is full or read-only.
        Cancelled: The user has cancelled.
    """
    if revision.label_kind not in GIVEN_KINDS:
        what = f"Labels of '{revision.dataset}' are {TASKS[revision.task].title.lower()}, not a class or a number each."
        raise DataError(what, "Annotate them with a tool for that, and import the data again.", path=revision.folder)
    if not given:
        raise DataError("No label was given to any item.", "Fill in the column label.", field="labels")
    rejected: list[Rejected] = []
    changes, new = _sorted_out(revision, given, rejected, new_classes=new_classes)
    facts = read_facts(revision.folder)
    with staging_folder(revision.folder.parents[1]) as staging:
        added = _add(revision, new, staging, rejected, copied=bool(facts.get("copied", True)), cancelled=cancelled)
        if not added and not changes:
            if rejected:
                raise DataError(f"No label was given: {rejected[0].source}: {rejected[0].reason}", rejected[0].remedy)
            told = f"All items have these labels in revision {revision.id} already, so no new one was made."
            return ImportReport(revision, (), (told,), unchanged=True)
        labels = revision.labels(np.arange(len(revision)))
        for row, label in changes.items():
            labels[row] = label
        classes, notes = check_target([*labels, *(label for _, label in added)], revision.task)
        _take_media(revision.folder / MEDIA_FOLDER, staging / MEDIA_FOLDER)
        digest = _join_tables(revision, changes, staging, has_added=bool(added), cancelled=cancelled)
        told = _told(revision, len(added), len(changes))
        write_json(staging / REPORT_FILE, {"rejected": [asdict(one) for one in rejected], "notes": [told, *notes]})
        made: dict[str, Any] = {
            **facts,
            "format": FORMAT,
            "app_version": app_version(),
            "id": "",
            "classes": classes,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": len(revision) + len(added),
            "sha256": digest,
            "labelled": {"since": revision.id, "added": len(added), "changed": len(changes)},
        }
        if cancelled():
            raise Cancelled
        folder = publish_revision(staging, revision.folder.parent, made)
        return ImportReport(Revision.open(folder), tuple(rejected), (told, *notes))


def _sorted_out(
    revision: Revision, given: Sequence[GivenLabel], rejected: list[Rejected], *, new_classes: bool
) -> tuple[dict[int, Label], list[Sample]]:
    """Check the labels; returns those that change by row, and the samples that are new."""
    changes: dict[int, Label] = {}
    new: list[Sample] = []
    unknown: dict[str, str] = {}
    for one in given:
        label = checked_label(one.label, revision.task, "")
        if isinstance(label, WrongLabel):
            rejected.append(Rejected(one.id, label.reason, label.remedy))
            continue
        names = (label,) if isinstance(label, str) else label if isinstance(label, tuple) else ()
        unknown.update({str(name): one.id for name in names if name not in revision.classes})
        if one.sample is not None:
            new.append(replace(one.sample, label=label, split="train"))
            continue
        try:
            row = revision.index_of(one.id)
        except DataError as error:
            rejected.append(Rejected(one.id, error.what, "Say which data set or folder it is in."))
            continue
        if label != revision.label(row):
            changes[row] = label
        else:
            changes.pop(row, None)
    if unknown and not new_classes:
        name, item = next(iter(unknown.items()))
        more = f" and {len(unknown) - 1} more names are none of its classes, either" if len(unknown) > 1 else ""
        raise DataError(
            f"'{revision.dataset}' has no class '{name}', the label of {item}{more}.",
            f"{did_you_mean(name, revision.classes, 'Classes')} To add a class, allow new ones (--new-classes).",
            field="new_classes",
        )
    return changes, new


def _add(
    revision: Revision,
    new: Sequence[Sample],
    staging: Path,
    rejected: list[Rejected],
    *,
    copied: bool,
    cancelled: Callable[[], bool],
) -> list[tuple[str, Label]]:
    """Write the rows of new samples into a table of their own; returns their ids and labels."""
    table = revision.table
    known = dict(zip(table.column("hash").to_pylist(), table.column("id").to_pylist(), strict=True))
    taken = {str(name) for name in known.values()}
    splits, groups = table.column("split").to_pylist(), table.column("group").to_pylist()
    held_out = {group for split, group in zip(splits, groups, strict=True) if split != "train" and group}
    rows = RowWriter(staging, revision.task)
    added: list[tuple[str, Label]] = []
    try:
        for item in _prepared(revision, new, staging / MEDIA_FOLDER, copied=copied, cancelled=cancelled):
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            sample = item.sample
            if item.hash in known:
                reason = f"The same is in '{revision.dataset}' already, as {known[item.hash]}."
                rejected.append(Rejected(sample.id, reason, "Give the label to that item, or leave it out."))
                continue
            if sample.group in held_out:
                reason = f"Its group '{sample.group}' is in validation or test, where nothing may be learned from."
                rejected.append(Rejected(sample.id, reason, "Leave it out."))
                continue
            name = _free_name(sample.id, taken)
            taken.add(name)
            known[item.hash] = name
            rows.add(replace(item, sample=replace(sample, id=name)))
            added.append((name, sample.label))
        if added:
            rows.finish(["train"] * len(added), staging / _ADDED_FILE, cancelled)
    finally:
        rows.close()
    (staging / "rows.arrow").unlink(missing_ok=True)
    return added


def _prepared(
    revision: Revision, new: Sequence[Sample], media: Path, *, copied: bool, cancelled: Callable[[], bool]
) -> Iterator[Prepared | Rejected]:
    if revision.modality == "text":
        yield from prepare_texts(new, revision.task, cancelled)
    elif revision.modality == "table":
        yield from prepare_rows(new, revision.task, cancelled)
    else:
        # What lies in another data set of the project is copied in any case: that one may be deleted.
        project = revision.folder.parents[1]
        inside = [copied or (one.image or one.audio or Path()).is_relative_to(project) for one in new]
        check_space(media.parent, sum(_size(one) for one, copy in zip(new, inside, strict=True) if copy))
        for copy in (True, False):
            part = [one for one, wanted in zip(new, inside, strict=True) if wanted is copy]
            with_text = revision.modality == "image+text"
            yield from prepare_files(part, revision.task, media if copy else None, cancelled, with_text=with_text)


def _size(sample: Sample) -> int:
    try:
        path = sample.image or sample.audio
        return path.stat().st_size if path is not None else 0
    except OSError:
        return 0  # will be rejected with its own sentence


def _free_name(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"


def _take_media(old: Path, new: Path) -> None:
    """Give a revision the files of the one before it: as links where the disk has them, else as copies."""
    linking = True
    for file in sorted(old.glob("*/*")):
        target = new / file.parent.name / file.name
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if linking:
            try:
                os.link(file, target)
                continue
            except OSError:
                linking = False
                check_space(new.parent, sum(each.stat().st_size for each in old.glob("*/*")))
        shutil.copyfile(file, target)


def _join_tables(
    revision: Revision,
    changes: dict[int, Label],
    staging: Path,
    *,
    has_added: bool,
    cancelled: Callable[[], bool],
) -> str:
    """Write the table of the new revision: the old rows with their labels, and the added ones; returns its SHA-256."""
    target = staging / TABLE_FILE
    column = label_column(revision.label_kind)
    with target.open("wb") as file:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            start = 0
            for batch in _batches(revision.folder / TABLE_FILE):
                if cancelled():
                    raise Cancelled
                writer.write_batch(_changed(batch, changes, start, column))
                start += batch.num_rows
            if has_added:
                for batch in _batches(staging / _ADDED_FILE):
                    writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    (staging / _ADDED_FILE).unlink(missing_ok=True)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Read a table of samples in parts, with the columns that tables of today have."""
    with pq.ParquetFile(path, memory_map=False) as file:
        for batch in file.iter_batches(_ROWS):
            there = {name: batch.column(name) for name in batch.schema.names}
            columns = [
                there[field.name].cast(field.type) if field.name in there else pa.nulls(batch.num_rows, field.type)
                for field in SCHEMA
            ]
            yield pa.record_batch(columns, schema=SCHEMA)


def _changed(batch: pa.RecordBatch, changes: dict[int, Label], start: int, column: str) -> pa.RecordBatch:
    here = {row - start: label for row, label in changes.items() if start <= row < start + batch.num_rows}
    if not here:
        return batch
    values = batch.column(column).to_pylist()
    for row, label in here.items():
        values[row] = list(label) if isinstance(label, tuple) else label
    place = SCHEMA.get_field_index(column)
    return batch.set_column(place, SCHEMA.field(column), pa.array(values, SCHEMA.field(column).type))


def _told(revision: Revision, added: int, changed: int) -> str:
    parts = []
    if added:
        parts.append(f"{added} item{'s were' if added != 1 else ' was'} labelled and added to train")
    if changed:
        parts.append(f"the label{'s' if changed != 1 else ''} of {changed} {'were' if changed != 1 else 'was'} changed")
    return f"Since {revision.id}, {' and '.join(parts)}."
