"""Reading items without labels, to be predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tlstudio.api import MODALITIES, DataError, DatasetFormat, Modality, Rejected, Sample, Task, TLStudioError
from tlstudio.data.names import plain_text
from tlstudio.data.planning import detect_all, suggest_options

NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
_TRIED = 20  # items that are looked at to tell formats apart


def samples_in(
    source: Path,
    formats: Iterable[DatasetFormat],
    modality: Modality,
    columns: Mapping[str, str] = NO_COLUMNS,
    takes: Callable[[Sample], bool] = lambda _: True,
    task: Task | None = None,
    usual: Mapping[str, str] = NO_COLUMNS,
) -> list[Sample | Rejected]:
    """Read what is to be predicted: one file, a folder (flat or nested) or a table.

    Args:
        source: An image, a sound, a text file, a folder of them, or a table; or what a data set was imported from.
        formats: The formats to read it with.
        modality: What the model takes.
        columns: Columns of a table by the option that names them, such as ``text_column``; what is ``""`` or missing
            is guessed.
        takes: Whether the model can read a sample. Where several formats fit (rows of a table may be a series), the
            first counts that gives such samples.
        task: What is predicted: formats that are read for it go before all others.
        usual: Columns that are taken where a table has them and `columns` says nothing else, before any guess: those
            of the data that the model was trained on.

    Returns:
        The samples in the order of the source, without labels; what cannot be read is `Rejected` in its place.

    Raises:
        DataError: There is no such source, nothing in it is of that modality, or a column does not exist.
    """
    readers = readers_of(source, formats, modality, columns, task)
    if len(readers) > 1:
        readers = [reader for reader in readers if _gives(takes, source, *reader, usual)] or readers
    return [_plain(item) for item in _read(source, *readers[0], usual)]


def gives(
    source: Path,
    formats: Iterable[DatasetFormat],
    modality: Modality,
    columns: Mapping[str, str],
    takes: Callable[[Sample], bool],
    task: Task | None = None,
    usual: Mapping[str, str] = NO_COLUMNS,
) -> bool:
    """Whether one of the first samples of a source is one that a model takes; arguments and errors of `samples_in`."""
    readers = readers_of(source, formats, modality, columns, task)
    return any(_gives(takes, source, *reader, usual) for reader in readers)


def _read(
    source: Path, chosen: DatasetFormat, given: Mapping[str, Any], usual: Mapping[str, str]
) -> Iterator[Sample | Rejected]:
    options, preview = suggest_options(chosen, source, given)
    own = {name: column for name, column in usual.items() if name in chosen.Options.model_fields and name not in given}
    if known := {name: column for name, column in own.items() if column in preview.columns}:
        options, _ = suggest_options(chosen, source, {**given, **known})
    # Without labels, the task does not matter.
    return chosen.read(source, options, "classification")


def _gives(
    takes: Callable[[Sample], bool],
    source: Path,
    chosen: DatasetFormat,
    given: Mapping[str, Any],
    usual: Mapping[str, str],
) -> bool:
    """Whether one of the first samples that a format finds is one that the model takes; others may be spoilt."""
    try:
        first = islice(_read(source, chosen, given, usual), _TRIED)
        return any(takes(item) for item in first if isinstance(item, Sample))
    except TLStudioError:
        return False


def _plain(item: Sample | Rejected) -> Sample | Rejected:
    """Leave a label out that is there all the same, and make texts valid Unicode, as an import does."""
    if isinstance(item, Rejected):
        return item
    text, pair = (None if part is None else plain_text(part) for part in (item.text, item.pair))
    return replace(item, text=text, pair=pair, label=None)


def looks_like(source: Path, formats: Iterable[DatasetFormat], modality: Modality, task: Task) -> bool:
    """Whether the format that fits a source best is of a modality and, where it is of special tasks, of this one."""
    ranked, _ = detect_all(formats, source)
    best = ranked[0][1] if ranked and ranked[0][0] > 0 else None
    return best is not None and best.modality == modality and bool({task, "classification"} & set(best.tasks))


def predictable(modality: Modality) -> str:
    """Say what a model that takes a modality can predict: ``"an image, a folder of images, or ..."``."""
    if modality == "table":
        return "a table with the columns that the model knows"
    if modality == "image+text":
        return "a table with a column of image paths and one of texts, or one image and its text"
    known = MODALITIES[modality]
    return f"one {known.item}, a folder of {known.items}, or a table with a column of them"


def reader_of(
    source: Path, formats: Iterable[DatasetFormat], modality: Modality, columns: Mapping[str, str] = NO_COLUMNS
) -> tuple[DatasetFormat, dict[str, Any]]:
    """Find the format that reads what is to be predicted, and its options; arguments and errors of `samples_in`."""
    return readers_of(source, formats, modality, columns)[0]


def readers_of(
    source: Path,
    formats: Iterable[DatasetFormat],
    modality: Modality,
    columns: Mapping[str, str] = NO_COLUMNS,
    task: Task | None = None,
) -> list[tuple[DatasetFormat, dict[str, Any]]]:
    """Find all formats that could read it, the best first; see `reader_of`."""
    if not source.exists():
        raise DataError(f"There is no file or folder {source}.", "Check the path.", path=source)
    columns = {name: value for name, value in columns.items() if value}
    able = [
        item
        for item in formats
        if item.modality == modality
        and item.without_labels() is not None
        and columns.keys() <= item.Options.model_fields.keys()
    ]
    ranked, failed = detect_all(able, source)
    # A column that the user names leaves no doubt which format is meant.
    fitting = [item for score, item in ranked if score > 0 or (columns and source.is_file())]
    if not fitting:
        what = f"There are no {MODALITIES[modality].items} to predict in {source}."
        raise DataError(" ".join([what, *failed]), f"Choose {predictable(modality)}.", path=source)
    fitting.sort(key=lambda item: task not in item.tasks)
    return [(item, {**(item.without_labels() or {}), **columns}) for item in fitting]
