"""Importing a source as a new revision of a data set: all of it or nothing."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlstudio.api import SPLITS, DataError, Rejected, Sample, Split
from tlstudio.api.files import is_link
from tlstudio.data.names import valid_name
from tlstudio.data.planning import ImportRequest, plan_import, read_source
from tlstudio.data.prepare import Cancelled, Prepared, prepare_files, prepare_rows, prepare_texts
from tlstudio.data.revision import MEDIA_FOLDER, REPORT_FILE, TABLE_FILE, Revision
from tlstudio.data.revision_facts import FACTS_FILE, FORMAT
from tlstudio.data.rows import RowWriter
from tlstudio.data.splits import assign_splits, check_fractions
from tlstudio.data.staging import check_space, publish, staging_folder
from tlstudio.data.targets import check_target

__all__ = ["Cancelled", "ImportReport", "ImportRequest", "import_dataset", "plan_import", "valid_name"]

MAX_REJECTED = 10_000
"""So many rejected items are listed; the rest is counted."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportReport:
    """What an import has done.

    Attributes:
        revision: The new revision, or the latest one where nothing has changed since.
        rejected: Items that could not be used (the first 10,000).
        notes: Sentences on what was noticed.
        unchanged: Whether the source gave what the latest revision holds, so that no new one was made.
    """

    revision: Revision
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]
    unchanged: bool = False


def _ignore_progress(done: int, total: int) -> None:
    """Say nothing."""


def _never() -> bool:
    return False


def import_dataset(
    request: ImportRequest,
    datasets_folder: Path,
    *,
    on_progress: OnProgress = _ignore_progress,
    cancelled: Callable[[], bool] = _never,
) -> ImportReport:
    """Import a source as a new revision of a data set, unless its latest one holds just the same.

    Everything is checked and written in a hidden folder beside the data sets, which takes its final name in one
    step at the end. Until then, an error or a cancel leaves nothing behind.

    Args:
        request: What to import, and how.
        datasets_folder: The project's folder of data sets; made if it is missing.
        on_progress: Called with the items done and their number, 0 where that is unknown.
        cancelled: Asked at every image, every few texts and every step of writing.

    Raises:
        DataError: Nothing usable is there, the labels cannot be learned, or the disk is full or read-only.
        Cancelled: The user has cancelled.
    """
    name = valid_name(request.name)
    check_fractions(request.fractions)
    dataset_folder = datasets_folder / name
    _check_name(datasets_folder, name)
    with staging_folder(datasets_folder) as staging:
        every = 256 if request.format.modality in ("text", "table") else 1  # files take a while each
        collected = _Collected(request.count or 0, every, on_progress)
        rows = RowWriter(staging, request.task)
        try:
            for item in _prepared(request, staging, collected, cancelled):
                collected.add(item, rows)
            classes, notes = collected.judge(request, rows)
            splits = assign_splits(
                rows.labels,
                rows.groups,
                rows.prescribed,
                task=request.task,
                fractions=request.fractions,
                seed=request.seed,
                contents=rows.contents,
            )
            notes += _split_notes(splits, rows, request)
            digest = rows.finish(splits, staging / TABLE_FILE, cancelled)
        finally:
            rows.close()
        facts: dict[str, Any] = {
            "format": FORMAT,
            "app_version": app_version(),
            "dataset": name,
            "id": "",
            "modality": request.format.modality,
            "task": request.task,
            "classes": classes,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": os.fsencode(request.source).decode("utf-8", "replace"),
            "format_name": request.format.name,
            "format_options": request.options.model_dump(mode="json"),
            "copied": request.copy_files,
            "fractions": request.fractions,
            "seed": request.seed,
            "rows": len(rows),
            "sha256": digest,
        }
        same = _same_as_latest(dataset_folder, facts, staging)
        if same is not None:
            told = f"Nothing has changed since revision {same.id}, so no new one was made."
            return ImportReport(same, tuple(collected.rejected), (told, *notes), unchanged=True)
        listed = {"rejected": [asdict(item) for item in collected.rejected], "notes": notes}
        write_json(staging / REPORT_FILE, listed)
        if cancelled():
            raise Cancelled
        folder = publish_revision(staging, dataset_folder, facts)
        return ImportReport(Revision.open(folder), tuple(collected.rejected), tuple(notes))


class _Collected:
    """What became of the items so far."""

    def __init__(self, total: int, every: int, on_progress: OnProgress) -> None:
        self.total = total
        self.done = 0
        self.rejected: list[Rejected] = []
        self.num_rejected = 0
        self._every = every
        self._on_progress = on_progress

    def add(self, item: Prepared | Rejected, rows: RowWriter) -> None:
        """Take an item in or note why not, and tell the progress."""
        if isinstance(item, Prepared):
            rows.add(item)
        else:
            self.num_rejected += 1
            if self.num_rejected <= MAX_REJECTED:
                self.rejected.append(item)
        self.done += 1
        if self.done % self._every == 0:
            self._on_progress(self.done, max(self.total, self.done) if self.total else 0)

    def judge(self, request: ImportRequest, rows: RowWriter) -> tuple[tuple[str, ...], list[str]]:
        """Return the classes and the notes on the labels.

        Raises:
            DataError: Nothing can be learned from what is left.
        """
        if not len(rows):
            raise _nothing_usable(request, self.rejected, self.num_rejected)
        classes, notes = check_target(rows.labels, request.task)
        self._on_progress(self.done, self.done)
        listed = list(notes)
        if self.num_rejected > MAX_REJECTED:
            listed.insert(0, f"{self.num_rejected:,} items were left out; the first {MAX_REJECTED:,} are listed.")
        return classes, listed


def _prepared(
    request: ImportRequest, staging: Path, collected: _Collected, cancelled: Callable[[], bool]
) -> Iterator[Prepared | Rejected]:
    source = _reading(request)
    if request.format.modality == "text":
        try:
            check_space(staging.parent, 3 * request.source.stat().st_size if request.source.is_file() else 0)
        except FileNotFoundError:
            raise _gone(request.source) from None
        yield from prepare_texts(source, request.task, cancelled)
        return
    if request.format.modality == "table":
        yield from prepare_rows(source, request.task, cancelled)
        return
    # Listing files is cheap beside decoding them: do it first, for the progress, the disk and the classes.
    listed: list[Sample | Rejected] = []
    for item in source:
        if cancelled():
            raise Cancelled
        listed.append(item)
    collected.total = len(listed)
    labels = [item.label for item in listed if isinstance(item, Sample) and item.label is not None]
    if labels and request.task == "classification":
        check_target(labels, request.task)
    if request.copy_files:
        check_space(staging.parent, _bytes_of(listed))
    media = staging / MEDIA_FOLDER if request.copy_files else None
    with_text = request.format.modality == "image+text"
    yield from prepare_files(listed, request.task, media, cancelled, with_text=with_text)


def _reading(request: ImportRequest) -> Iterator[Sample | Rejected]:
    """Read the source; what goes wrong there is told as such and not as a fault of the project's disk."""
    try:
        yield from read_source(request)
    except FileNotFoundError:
        raise _gone(request.source) from None
    except OSError as error:
        raise DataError(
            f"{error.filename or request.source} cannot be read: {error.strerror or error}.",
            "Check its access rights and its disk.",
            path=request.source,
        ) from error


def _gone(source: Path) -> DataError:
    return DataError(f"{source} is no longer there.", "Bring it back, or choose another source.", path=source)


def _bytes_of(items: list[Sample | Rejected]) -> int:
    total = 0
    for item in items:
        path = (item.image or item.audio) if isinstance(item, Sample) else None
        if path is not None:
            try:
                total += path.stat().st_size
            except OSError:
                continue  # will be rejected with its own sentence
    return total


def _nothing_usable(request: ImportRequest, rejected: list[Rejected], count: int) -> DataError:
    if not count:
        return DataError(f"{request.source} has no items.", "Choose another folder or file.", path=request.source)
    reasons = Counter(item.reason for item in rejected)
    if reasons.most_common(1)[0][0] == "It has no label.":
        column = "label_column" in type(request.options).model_fields
        remedy = "Choose the label column." if column else "Put each class into a subfolder of its own."
        remedy += " To learn from these items as they are, choose the task pretraining (--task pretraining)."
        if not column and "anomaly_detection" in request.format.tasks:
            remedy += " If all are normal, and what is not shall be found, put them into one subfolder, such as "
            remedy += "normal, and choose the task anomaly_detection."
        return DataError(
            f"Nothing in {request.source} is labelled, and this task is learned from labelled items alone.",
            f"{remedy} To use a trained model on them, go to the Predict page (tlstudio predict).",
            path=request.source,
            field="label_column" if column else "",
        )
    first = rejected[0]
    counted, verb = ("The only item", "cannot") if count == 1 else (f"None of the {count:,} items", "can")
    return DataError(
        f"{counted} of {request.source} {verb} be used. First: {first.source}: {first.reason}",
        first.remedy,
        path=request.source,
    )


def _split_notes(splits: list[Split], rows: RowWriter, request: ImportRequest) -> list[str]:
    notes = []
    given = {split for split in rows.prescribed if split}
    counts = Counter(splits)
    if given:
        listed = " and ".join(split for split in SPLITS if split in given)
        made = [split for split in SPLITS if split not in given and counts[split]]
        cut = f"; {' and '.join(made)} {'was' if len(made) == 1 else 'were'} cut from the rest" if made else ""
        own = f"The source says itself what belongs to {listed}{cut}."
        notes.append(request.format.splits_told(request.options) or own)
    for split in SPLITS:
        if not counts[split]:
            remedy = {
                "train": "Nothing can be learned from this revision.",
                "validation": "The best epoch cannot be chosen by it.",
                "test": "A model cannot be tested on it.",
            }[split]
            notes.append(f"No item is left for {split}. {remedy}")
    return notes


def _check_name(datasets_folder: Path, name: str) -> None:
    """Refuse a name that leads elsewhere, or that Windows and macOS would take for that of another data set."""
    if is_link(datasets_folder / name):
        raise DataError(
            f"{datasets_folder / name} is a link, and what it leads to is not the project's.",
            "Remove the link, or choose another name.",
            path=datasets_folder / name,
            field="name",
        )
    if not datasets_folder.is_dir():
        return
    for folder in datasets_folder.iterdir():
        if folder.name != name and folder.name.casefold() == name.casefold():
            raise DataError(
                f'There is a data set "{folder.name}" already, and names may not differ by case only.',
                f'Name it "{folder.name}" to add a revision to that one, or choose another name.',
                field="name",
            )


def _same_as_latest(dataset_folder: Path, facts: dict[str, Any], staging: Path) -> Revision | None:
    """Return the latest revision if it is whole and holds what was just read."""
    number = _latest_number(dataset_folder)
    if not number:
        return None
    try:
        latest = Revision.open(dataset_folder / f"r{number}")
    except DataError:
        return None  # damaged: importing again is how it is mended
    new = (facts["sha256"], facts["modality"], facts["task"], tuple(facts["classes"]))
    if (latest.sha256, latest.modality, latest.task, latest.classes) != new:
        return None
    return latest if _sizes(latest.folder / MEDIA_FOLDER) == _sizes(staging / MEDIA_FOLDER) else None


def _sizes(media: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in media.glob("*/*")}


def _latest_number(dataset_folder: Path) -> int:
    return max(
        (
            int(folder.name[1:])
            for folder in (dataset_folder.iterdir() if dataset_folder.is_dir() else ())
            if folder.name[:1] == "r" and folder.name[1:].isdecimal()
        ),
        default=0,
    )


def publish_revision(staging: Path, dataset_folder: Path, facts: dict[str, Any]) -> Path:
    """Give a finished revision its number and its place; returns its folder."""
    while True:
        facts["id"] = f"r{_latest_number(dataset_folder) + 1}"
        write_json(staging / FACTS_FILE, facts)
        folder = publish(staging, dataset_folder, facts["id"])
        if folder is not None:
            return folder


def write_json(path: Path, value: object) -> None:
    """Write a file of a revision, safely on the disk."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.flush()
        os.fsync(file.fileno())


def app_version() -> str:
    """The version of this program; empty where it is not installed."""
    try:
        return version("tlstudio")
    except PackageNotFoundError:
        return ""
