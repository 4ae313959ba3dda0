"""What an import would do: made off the window's thread whenever the user changes something."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import TASKS, Preview, Problem, ProblemsError, Sample, Task, TLStudioError
from tlstudio.api.images import IMAGE_SUFFIXES
from tlstudio.api.sounds import SOUND_SUFFIXES
from tlstudio.gui.workers import JobContext
from tlstudio.plugins import Registry

if TYPE_CHECKING:
    from tlstudio.data.importing import ImportRequest

MEDIA_SUFFIXES = IMAGE_SUFFIXES | SOUND_SUFFIXES
SHOWN_SAMPLES = 20
_FOLDERS = ("image_folder", "audio_folder", "sound_folder", "folder")  # options that say where a table's files lie
COUNTED_FILES = 200_000
"""So many files are added up for the size; a larger folder is said to have more."""


@dataclass(frozen=True)
class Wish:
    """What the user has said so far; empty fields are suggested.

    Attributes:
        source: Folder or file.
        name: Name of the data set.
        format: Name of the format.
        options: Options of the format that were set by hand.
        task: The task.
        copy_files: Whether image files are copied into the project.
        percent: Shares of train, validation and test in percent.
    """

    source: Path
    name: str = ""
    format: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None
    copy_files: bool = True
    percent: tuple[int, int, int] = (70, 15, 15)


@dataclass(frozen=True)
class Plan:
    """What came of a wish.

    Attributes:
        wish: The wish.
        formats: Names of formats that fit, best first.
        request: Ready to be imported; `None` if there are problems.
        preview: What was found; `None` if nothing usable is there.
        samples: The first samples, of those kinds that are told by how they look.
        problems: Everything that is in the way.
    """

    wish: Wish
    formats: tuple[str, ...]
    request: ImportRequest | None
    preview: Preview | None
    samples: tuple[Sample, ...] = ()
    problems: tuple[Problem, ...] = ()


def make_plan(wish: Wish, registry: Registry) -> Plan:
    """Look at the source and complete the wish; problems are told, not raised."""
    from tlstudio.data.importing import plan_import

    formats = tuple(item.name for _, item in registry.detect_format(wish.source))
    try:
        request, preview = plan_import(
            registry.formats.values(),
            wish.source,
            name=wish.name,
            format=wish.format,
            options=wish.options,
            task=wish.task,
            copy_files=wish.copy_files,
            fractions=[share / 100 for share in wish.percent],
        )
    except ProblemsError as error:
        return Plan(wish, formats, None, _preview_alone(wish, formats, registry), problems=error.problems)
    except TLStudioError as error:
        problem = Problem(error.field, error.what, error.remedy)
        return Plan(wish, formats, None, _preview_alone(wish, formats, registry), problems=(problem,))
    return Plan(wish, formats, request, preview, _first_samples(request, preview))


def source_size(source: Path, context: JobContext) -> tuple[int, bool]:
    """Add up the images and sounds of a source.

    Returns:
        Bytes, and whether all files were counted.
    """
    if source.is_file():
        return source.stat().st_size, True
    total = files = 0
    for folder, _, names in os.walk(source):
        for name in names:
            if Path(name).suffix.lower() in MEDIA_SUFFIXES:
                files += 1
                try:
                    total += (Path(folder) / name).stat().st_size
                except OSError:
                    continue
        if files > COUNTED_FILES or context.cancelled():
            return total, False
    return total, True


def _preview_alone(wish: Wish, formats: tuple[str, ...], registry: Registry) -> Preview | None:
    """Return at least what is there, so that the user sees what the problems are about."""
    name = wish.format or (formats[0] if formats else "")
    if name not in registry.formats:
        return None
    try:
        return registry.formats[name].preview(wish.source)
    except TLStudioError:
        return None


def _first_samples(request: ImportRequest, preview: Preview) -> tuple[Sample, ...]:
    """The first samples: read, where a label lies in an image or the sample is a row; else the files of the preview."""
    modality, kind = request.format.modality, TASKS[request.task].label
    if modality == "text":
        return ()
    if modality == "table" or kind in ("mask", "boxes"):
        from tlstudio.data.planning import read_source

        items = read_source(request)
        try:
            return tuple(item for item in islice(items, SHOWN_SAMPLES) if isinstance(item, Sample))
        except TLStudioError:
            return ()  # the import will tell it
    if modality == "audio":
        return tuple(Sample(str(path), audio=path) for path in _files_of(preview, request.source, SOUND_SUFFIXES))
    return tuple(Sample(str(path), image=path) for path in _files_of(preview, request.source, IMAGE_SUFFIXES))


def _files_of(preview: Preview, source: Path, suffixes: frozenset[str]) -> tuple[Path, ...]:
    """Find the files that the first rows name."""
    base = source if source.is_dir() else source.parent
    folder = next((preview.options[name] for name in _FOLDERS if preview.options.get(name)), "")
    bases = [base, *([base / str(folder), Path(str(folder))] if folder else [])]
    found: list[Path] = []
    for row in preview.rows:
        for value in row.values():
            if Path(value).suffix.lower() not in suffixes:
                continue
            path = next((each / value for each in bases if (each / value).is_file()), None)
            if path is not None:
                found.append(path)
                break
    return tuple(found)
