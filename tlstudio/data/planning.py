"""Planning an import: find the format, map the columns, and check everything before anything is read in full."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tlstudio.api import (
    MODALITIES,
    TASKS,
    DataError,
    DatasetFormat,
    Options,
    Preview,
    Problem,
    ProblemsError,
    Rejected,
    Sample,
    Source,
    Task,
    TLStudioError,
    problems_of,
)
from tlstudio.data.names import safe_name, valid_name
from tlstudio.data.own_folders import refuse_as_source
from tlstudio.data.splits import Fractions, check_fractions

PRETRAINING: Task = "pretraining"
"""The task of data without labels."""


@dataclass(frozen=True)
class ImportRequest:
    """Everything that an import needs to know.

    Attributes:
        source: Folder or file to import.
        name: Name of the data set; a name that exists gets a new revision.
        format: The format that reads it.
        options: Options of that format.
        task: What the labels are for.
        copy_files: Whether image files are copied into the project; otherwise they stay where they are.
        fractions: Shares of train, validation and test.
        seed: Seed of the splits.
        count: Number of items if it is known, for the progress.
    """

    source: Path
    name: str
    format: DatasetFormat
    options: Options
    task: Task
    copy_files: bool = True
    fractions: Fractions = (0.7, 0.15, 0.15)
    seed: int = 0
    count: int | None = None


def read_source(request: ImportRequest) -> Iterator[Sample | Rejected]:
    """Read what is to be imported, without labels where they do not matter."""
    chosen, task = request.format, request.task
    if task in chosen.tasks:
        yield from chosen.read(request.source, request.options, task)
        return
    # Labels can hardly be wrong for classification, and are left out.
    task = "classification" if "classification" in chosen.tasks else next(iter(chosen.tasks))
    for item in chosen.read(request.source, request.options, task):
        yield replace(item, label=None) if isinstance(item, Sample) else item


def plan_import(
    registry_formats: Iterable[DatasetFormat],
    source: Path,
    *,
    name: str = "",
    format: str = "",  # noqa: A002  the word of the command line
    options: Mapping[str, Any] | None = None,
    task: Task | None = None,
    copy_files: bool = True,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> tuple[ImportRequest, Preview]:
    """Turn what the user said into a complete request, the rest being suggested by looking at the source.

    Args:
        registry_formats: The formats to choose from.
        source: Folder or file.
        name: Name of the data set; ``""`` takes the source's.
        format: Name of the format; ``""`` detects it.
        options: Options of the format that the user has set; the rest is suggested.
        task: The task; `None` takes what the labels suggest.
        copy_files: Whether image files are copied.
        fractions: Shares of train, validation and test.
        seed: Seed of the splits.

    Returns:
        The request, ready for `import_dataset`, and the preview that it rests on.

    Raises:
        DataError: One thing is wrong.
        ProblemsError: Several things are wrong: all of them.
    """
    problems: list[Problem] = []
    errors: list[TLStudioError] = []

    def note(error: TLStudioError, where: str) -> None:
        errors.append(error)
        if isinstance(error, ProblemsError):
            problems.extend(error.problems)
        else:
            problems.append(Problem(error.field or where, error.what, error.remedy))

    shares: Fractions = (0.7, 0.15, 0.15)
    clean_name = ""
    try:
        shares = check_fractions(fractions)
    except DataError as error:
        note(error, "fractions")
    try:
        clean_name = valid_name(name) if name.strip() else safe_name(source.absolute().stem)
    except DataError as error:
        note(error, "name")
    if task is not None and task not in TASKS:
        note(DataError(f"There is no task {task!r}.", f"Choose one of: {', '.join(TASKS)}.", field="task"), "task")
    chosen: DatasetFormat | None = None
    preview: Preview | None = None
    filled: Options | None = None
    try:
        chosen, failed = choose_format(registry_formats, source, format, task, options or {})
        unset = chosen.for_pretraining() if task == PRETRAINING else {}
        filled, preview = suggest_options(chosen, source, {**unset, **(options or {})})
        preview = replace(preview, notes=(*preview.notes, *failed))
    except TLStudioError as error:
        note(error, str(source))
    if task is not None and task in TASKS and chosen is not None and task not in chosen.every_task:
        listed = ", ".join(chosen.every_task)
        what = f"{chosen.title} cannot be read for {TASKS[task].title.lower()}."
        note(DataError(what, f"Choose one of: {listed}.", field="task"), "task")
    if len(errors) == 1:
        raise errors[0]
    if problems or chosen is None or filled is None or preview is None:
        raise ProblemsError(f"The import has {len(problems)} mistakes.", problems)
    first: Task = next(iter(chosen.tasks))
    request = ImportRequest(
        source=source.absolute(),
        name=clean_name,
        format=chosen,
        options=filled,
        task=task or preview.task or first,
        copy_files=copy_files,
        fractions=shares,
        seed=seed,
        count=preview.count,
    )
    return request, preview


def choose_format(
    formats: Iterable[DatasetFormat],
    source: Path,
    name: str = "",
    task: Task | None = None,
    options: Collection[str] = (),
) -> tuple[DatasetFormat, Sequence[str]]:
    """Return the format of that name, or the one that fits a source best; and sentences on those that failed.

    Args:
        formats: The formats to choose from.
        source: Folder or file.
        name: Name of the format; ``""`` lets them look.
        task: A format that fits the source and is read for this task goes before all others.
        options: Options that the user has set: of these, a format that has them all goes before the others.

    Raises:
        DataError: There is no such source, no format of that name, or none that fits.
    """
    known = {item.name: item for item in formats}
    if not source.exists():
        near = difflib.get_close_matches(source.name, _siblings(source), n=1)
        raise DataError(
            f"There is no file or folder {source}.",
            f'Did you mean "{near[0]}"?' if near else "Check the path.",
            path=source,
        )
    if name:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise DataError(
                f"There is no data format {name!r}. Known formats: {', '.join(sorted(known))}.",
                f'Did you mean "{near[0]}"?' if near else "Choose one of them.",
                field="format",
            )
        return known[name], ()
    refuse_as_source(source)
    ranked, failed = detect_all(known.values(), source)
    if not ranked or ranked[0][0] <= 0:
        if source.is_dir() and not any(source.iterdir()):
            what = f"No data format fits {source}: the folder is empty."
            raise DataError(what, "Choose a folder or table with data in it.", path=source)
        kinds = ", ".join(dict.fromkeys(MODALITIES[item.modality].items for item in known.values())) or "nothing"
        raise DataError(
            " ".join([f"No data format fits {source}.", *failed]),
            f"What can be read: {kinds}. The Data page of the window's help shows an example of each format, "
            "`tlstudio options format` lists them.",
            path=source,
        )
    fitting = [item for score, item in ranked if score > 0]
    # A folder is read for learning without labels as what it is; a single text, as what goes on.
    anything = task == PRETRAINING and source.is_dir()
    able = [item for item in fitting if anything or task in item.tasks] or fitting
    return next((item for item in able if set(options) <= set(item.Options.model_fields)), able[0]), failed


def detect_all(formats: Iterable[DatasetFormat], source: Path) -> tuple[list[tuple[float, DatasetFormat]], list[str]]:
    """Let formats look at a source; one that fails is left out and hurts no other.

    Returns:
        Those that worked with their scores, best first, and a sentence on each that failed.
    """
    ranked, failed = [], []
    shared = Source(source)
    for item in formats:
        try:
            ranked.append((float(item.look(shared)), item))
        except Exception as error:  # noqa: BLE001  whatever a plugin raises is its own failure
            failed.append(
                f'The format "{item.title}" ({item.name}) was left out, because it failed to look at '
                f"{source.name}: {type(error).__name__}: {error}."
            )
    return sorted(ranked, key=lambda pair: (-pair[0], pair[1].name)), failed


def suggest_options(chosen: DatasetFormat, source: Path, options: Mapping[str, Any]) -> tuple[Options, Preview]:
    """Fill the options of a format by looking at the source.

    Args:
        chosen: The format.
        source: Folder or file.
        options: What the user has set.

    Raises:
        DataError: Nothing usable is there.
        ProblemsError: Options that do not exist, or values that are not allowed.
    """
    try:
        chosen.Options.model_validate(dict(options))
    except ValidationError as error:
        # A required option may be left to the suggestion: only what the user gave is judged here.
        own = [problem for problem in problems_of(error, chosen.Options) if problem.where in options]
        if own:
            count = "1 mistake" if len(own) == 1 else f"{len(own)} mistakes"
            raise ProblemsError(f"The options of the format {chosen.name} have {count}.", own) from error
    try:
        preview = chosen.preview(source, options)
    except OSError as error:  # a folder where the format reads a file, say
        raise DataError(
            f"{source} cannot be read as {chosen.title}: {error.strerror or error}.",
            "Choose another format, or check that it is there and may be read.",
            path=source,
        ) from error
    try:
        return chosen.Options.model_validate({**preview.options, **options}), preview
    except ValidationError as error:
        raise ProblemsError(
            f"The options of the format {chosen.name} are not complete.", problems_of(error, chosen.Options)
        ) from error


def _siblings(path: Path) -> list[str]:
    try:
        return [item.name for item in path.parent.iterdir()]
    except OSError:
        return []
