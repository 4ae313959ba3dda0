"""Walking folders without hanging, leaving or tripping over what systems leave in them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tlstudio.api import Rejected, Split
from tlstudio_formats.values import SPLIT_WORDS

_LOOPS = frozenset({errno.ELOOP, errno.ENAMETOOLONG})
_IGNORED = frozenset({"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir"})

Wanted = Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a folder is laid out.

    Attributes:
        root: The folder that holds the class or split folders (a single folder around them is stepped into).
        splits: Split folders by name, in order; empty where there are none.
    """

    root: Path
    splits: dict[str, Split]


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden or belongs to the system."""
    return name.startswith(".") or name.casefold() in _IGNORED


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what is in a folder and not ignored, by name.

    Raises:
        OSError: It may not be read.
    """
    with os.scandir(folder) as found:
        return sorted((entry for entry in found if not is_ignored(entry.name)), key=lambda entry: entry.name)


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, by name; links to folders are none; [] where it may not be read."""
    try:
        return [Path(entry.path) for entry in entries(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def walk(folder: Path, root: Path, *, deep: bool = True) -> Iterator[Path | Rejected]:
    """Yield all plain files below a folder, sorted, each once.

    Links to plain files count as files. Links to folders are not followed, so that nothing outside the folder is
    taken in and no loop can hang; each is told, as are broken links and folders that may not be read.

    Args:
        folder: Where to begin.
        root: What sources are named relative to.
        deep: Whether folders below it are walked too.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            found = entries(here)
        except OSError as error:
            yield Rejected(
                relative(here, root), f"The folder cannot be read: {error.strerror}.", "Check its access rights."
            )
            continue
        below = []
        for entry in found:
            path = Path(entry.path)
            if entry.is_symlink():
                why = _why_not_followed(path, root)
                if why is not None:
                    yield why
                    continue
                yield path
            elif entry.is_dir(follow_symlinks=False):
                if deep:
                    below.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield path
            else:
                yield Rejected(relative(path, root), "It is a pipe, socket or device, not a file.", "Remove it.")
        waiting.extend(reversed(below))


def link_notes(folder: Path) -> Iterator[Rejected]:
    """Tell the links directly in a folder that are not followed."""
    try:
        found = entries(folder)
    except OSError:
        return
    for entry in found:
        if entry.is_symlink():
            why = _why_not_followed(Path(entry.path), folder)
            if why is not None:
                yield why


def _why_not_followed(path: Path, root: Path) -> Rejected | None:
    source = relative(path, root)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        kind = "leads in a circle" if error.errno in _LOOPS else "leads nowhere"
        return Rejected(source, f"It is a link that {kind}.", "Mend or remove it.")
    if stat.S_ISDIR(mode):
        return Rejected(
            source,
            "It is a link to a folder, and such links are not followed.",
            "Move or copy the folder there if it is to be imported.",
        )
    if not stat.S_ISREG(mode):
        return Rejected(source, "It is a link to something that is not a file.", "Remove it.")
    return None


def contains(folder: Path, wanted: Wanted, limit: int = 5000) -> bool:
    """Whether some wanted file lies below a folder, among the first files of it."""
    for number, item in enumerate(walk(folder, folder)):
        if isinstance(item, Path) and wanted(item):
            return True
        if number >= limit:
            return False
    return False


def find_layout(source: Path, wanted: Wanted, *, use_splits: bool = True) -> Layout:
    """Find the folder whose subfolders are classes, or splits with classes below them.

    Args:
        source: What the user chose.
        wanted: Says which files count.
        use_splits: Whether folders named like splits are splits.
    """
    root = source
    for _ in range(8):
        below = [folder for folder in subfolders(root) if contains(folder, wanted)]
        if len(below) != 1 or _has_files(root, wanted):
            break
        deeper = [folder for folder in subfolders(below[0]) if contains(folder, wanted)]
        # A single folder is one class, unless it holds nothing but two folders or more (or again one such).
        if not deeper or _has_files(below[0], wanted):
            break
        root = below[0]
    else:
        root = source
    if not use_splits:
        return Layout(root, {})
    return Layout(root, _split_folders(root, wanted))


def _split_folders(root: Path, wanted: Wanted) -> dict[str, Split]:
    found: dict[str, Split] = {}
    for folder in subfolders(root):
        split = SPLIT_WORDS.get(folder.name.casefold())
        if split is not None:
            found[folder.name] = split
        elif contains(folder, wanted):
            return {}  # a class beside them: then "test" is a class too
    if "train" not in found.values() or not any(
        contains(below, wanted)
        for name, split in found.items()
        if split == "train"
        for below in subfolders(root / name)
    ):
        return {}
    return found


def _has_files(folder: Path, wanted: Wanted) -> bool:
    try:
        return any(entry.is_file() and wanted(Path(entry.path)) for entry in entries(folder))
    except OSError:
        return False


def relative(path: Path, root: Path) -> str:
    """Return a path below a folder with forward slashes."""
    return path.relative_to(root).as_posix() if path != root else path.name
