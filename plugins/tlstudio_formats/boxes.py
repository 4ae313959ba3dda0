"""What the formats for boxes in images have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import DataError, Label, Preview, Rejected, Sample, Split, label_text, option
from tlstudio.api.images import IMAGE_SUFFIXES, image_size
from tlstudio_formats.values import SPLIT_WORDS
from tlstudio_formats.walking import relative, walk

__all__ = [
    "BoxOptions",
    "boxes_preview",
    "checked_size",
    "images_in",
    "inside",
    "is_file",
    "is_image",
    "number",
    "split_in",
]

_SHOWN = 20
_LOOKED_AT = 200


class BoxOptions(api.Options):
    """How data sets of boxes are read."""

    splits: Literal["files", "ignore"] = option(
        "files",
        title="Splits",
        help="files: train, val and test are kept as names of files and folders tell them. ignore: splits are new.",
    )


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def images_in(folder: Path) -> Iterator[Sample | Rejected]:
    """Yield all images below a folder without labels, sorted by path."""
    for item in walk(folder, folder):
        if isinstance(item, Rejected):
            yield item
        elif is_image(item):
            name = relative(item, folder)
            yield Sample(id=name, image=item, source=name)


def number(value: object) -> float | None:
    """Return what a file gives as a number, maybe an infinite one; `None` if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def checked_size(path: Path, told: tuple[object, object] = (None, None)) -> tuple[int, int] | DataError:
    """Return width and height of an upright image, or why boxes cannot be placed in it.

    Cameras store an image on its side, with a note (EXIF) that turns it upright where it is shown; boxes count in the
    upright image. Where the annotations tell a size, it tells whether they were drawn in it.

    Args:
        path: The image.
        told: Width and height by the annotations; what is no number above 0 is not known.
    """
    try:
        size = image_size(path)
    except DataError as error:
        return error
    width, height = map(number, told)
    if not width or not height or min(width, height) <= 0 or (width, height) == size:
        return size
    shown = f"{width:g} x {height:g} px"
    if (height, width) == size:
        return DataError(
            f"Its boxes were drawn in the image on its side ({shown}); upright it is {size[0]} x {size[1]} px.",
            "Turn the pixels themselves with an image program, or draw the boxes in the upright image.",
        )
    return DataError(
        f"Its boxes are for an image of {shown}, and the file has {size[0]} x {size[1]} px.",
        "Use the image that the boxes were drawn in.",
    )


def inside(base: Path, name: object) -> Path | None:
    """Return the path of a file that annotations name; `None` where it leads out of the folder, or is no path.

    Args:
        base: The folder.
        name: A path below it, with slashes of either kind.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return None
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or PureWindowsPath(name).drive or ".." in plain.parts:
        return None
    return base / plain


def is_file(path: Path | None) -> bool:
    """Whether there is such a file; a name that no disk can have is none."""
    try:
        return path is not None and path.is_file()
    except (OSError, ValueError):
        return False


def split_in(names: Iterable[str]) -> Split | None:
    """Return the split that the last of several names tells which tells one: ``"train2017"``, ``"instances_val"``."""
    found: Split | None = None
    for name in names:
        for word in re.split(r"[\W\d_]+", name.casefold()):
            found = SPLIT_WORDS.get(word, found)
    return found


def boxes_preview(
    items: Iterable[Sample | Rejected], options: Mapping[str, Any], *, count: int | None, notes: Sequence[str]
) -> Preview:
    """Show the first images with what is in them."""
    rows, problems = [], []
    for item in islice(items, _LOOKED_AT):
        if isinstance(item, Rejected):
            problems.append(item)
        else:
            rows.append({"file": item.id, "boxes": _boxes_text(item.label), "split": item.split or ""})
        if len(rows) == _SHOWN:
            break
    told = list(notes)
    if problems:
        first = problems[0]
        told.append(f"{len(problems)} of the first cannot be used: {first.source}: {first.reason}")
    return Preview(("file", "boxes", "split"), tuple(rows), options, task="detection", count=count, notes=tuple(told))


def _boxes_text(label: Label) -> str:
    return label_text(label) if label else "none"
