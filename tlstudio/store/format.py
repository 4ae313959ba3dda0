"""The format of a project folder: which ones can be read, which written, and how an older one becomes a newer one.

``tlstudio.json`` says the format, and in ``min_reader`` the oldest format whose programs find their way in the folder:
a project whose format is newer only by additions can be read here, though not changed.

A project is brought up to date when it is opened for writing. What a migration will change is copied first, into a
folder that is named ``backup-format-<k>`` in the end. Until then a hidden name says that the migration is under way:
where it has failed or was killed, everything is put back, now or when the project is opened next.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlstudio import __version__
from tlstudio.api import ProjectError
from tlstudio.api.files import read_text
from tlstudio.store.files import reason, remedy, sync_file, sync_folder, write_json_atomic
from tlstudio.store.index import INDEX_NAME

PROJECT_FORMAT = 2
MIN_READER = 1
"""The oldest format whose programs can read what this version writes."""
PROJECT_NAME = "tlstudio.json"
BACKUP_PREFIX = "backup-format-"
_UNDER_WAY = ".migrating-format-"
_STAGED = ".backup-staged"
_UNDONE = ".backup-undone"
_CONTENTS = "backup.json"
_ALWAYS_KEPT = (PROJECT_NAME, INDEX_NAME, f"{INDEX_NAME}-wal")


class NewerProjectError(ProjectError):
    """A newer version has made the project; this one can read it, but not change it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The way from one format to the next.

    Attributes:
        begins: The format that it begins with.
        apply: Changes the project folder; ``format`` is written after it.
        changes: Names of the files and folders of the project that it changes or makes, besides ``tlstudio.json`` and
            the index, which are always kept.
    """

    begins: int
    apply: Callable[[Path], None]
    changes: tuple[str, ...] = ()


def _say_who_can_read(folder: Path) -> None:
    """Format 2 says in ``min_reader`` which programs can read the project."""
    write_json_atomic(folder / PROJECT_NAME, {**read_facts(folder), "min_reader": MIN_READER})


MIGRATIONS: tuple[Migration, ...] = (Migration(1, _say_who_can_read),)


def read_facts(folder: Path, *, write: bool = False) -> dict[str, Any]:
    """Check that a folder is a project that this version can use, and return what ``tlstudio.json`` says.

    Args:
        folder: The project's folder.
        write: Whether it is to be changed.

    Raises:
        NewerProjectError: It was to be changed, and can only be read.
        ProjectError: It is no project, or damaged, or of a format that this version cannot read.
    """
    path = folder / PROJECT_NAME
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        what = "is not a TL Studio project: it holds no tlstudio.json" if folder.is_dir() else "does not exist"
        raise ProjectError(
            f"{folder} {what}.", "Choose the project's own folder, or make a project with: tlstudio new.", path=folder
        ) from None
    except OSError as error:
        raise ProjectError(f"The project {folder} cannot be read: {reason(error)}.", path=folder) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, "it is not UTF-8 text") from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(values, dict) or type(values.get("format")) is not int or values["format"] < 1:
        raise _damaged(path, "it says no project format")
    if values["format"] > PROJECT_FORMAT:
        _check_newer(folder, values, write)
    return values


def _check_newer(folder: Path, values: dict[str, Any], write: bool) -> None:
    made = (
        f"The project {folder} was made by TL Studio {values.get('app_version', 'of a later version')} "
        f"(project format {values['format']}); this is TL Studio {__version__}, which knows formats up to "
        f"{PROJECT_FORMAT}."
    )
    min_reader = values.get("min_reader")
    if type(min_reader) is not int or min_reader > PROJECT_FORMAT:
        raise ProjectError(made, "Update TL Studio to open it.", path=folder)
    if write:
        raise NewerProjectError(
            f"{made} It can be read here, but not changed.",
            "Open it for reading only, or update TL Studio to change it.",
            path=folder,
        )


def bring_up_to_date(folder: Path, migrations: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Bring a project to the format of this version; the caller holds its lock.

    Args:
        folder: The project's folder.
        migrations: The ways, the oldest first.

    Returns:
        Sentences on what was done.

    Raises:
        ProjectError: It failed; the project is as it was.
    """
    notes = _finish_or_undo(folder)
    for migration in migrations:
        if read_facts(folder)["format"] == migration.begins:
            backup = _migrate(folder, migration)
            notes.append(
                f"The project was brought from format {migration.begins} to {migration.begins + 1}; "
                f"what was there before is kept in {backup.name}."
            )
    return notes


def _migrate(folder: Path, migration: Migration) -> Path:
    try:
        under_way = _back_up(folder, migration)
        try:
            migration.apply(folder)
            write_json_atomic(folder / PROJECT_NAME, {**read_facts(folder), "format": migration.begins + 1})
        except BaseException:
            with contextlib.suppress(OSError):  # a disk that is gone: it is put back when the project is opened next
                _put_back(folder, under_way)
            raise
        return _keep(folder, under_way)
    except (OSError, ProjectError) as error:
        why, what_to_do = str(error), ""
        if isinstance(error, OSError):
            why, what_to_do = f"{reason(error)}.", remedy(error)
        raise ProjectError(
            f"The project {folder} could not be brought from format {migration.begins} to "
            f"{migration.begins + 1}: {why} It stays in its old format, and nothing of it is lost.",
            what_to_do,
            path=folder,
        ) from error


def _back_up(folder: Path, migration: Migration) -> Path:
    """Copy what will be changed; from the moment it has its name, a killed migration is put back."""
    staged = folder / _STAGED
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir()
        names = [*_ALWAYS_KEPT, *migration.changes]
        kept = [name for name in names if (folder / name).exists()]
        for name in kept:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, staged / name)
            else:
                shutil.copy2(folder / name, staged / name)
        write_json_atomic(staged / _CONTENTS, {"kept": kept, "missing": [name for name in names if name not in kept]})
        for path in staged.rglob("*"):
            if path.is_dir():
                sync_folder(path)
            else:
                sync_file(path)
        under_way = staged.rename(folder / f"{_UNDER_WAY}{migration.begins}")
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return under_way


def _finish_or_undo(folder: Path) -> list[str]:
    """Deal with a migration that was killed: keep its backup if it was through, else put everything back."""
    notes = []
    for name in (_STAGED, _UNDONE):
        shutil.rmtree(folder / name, ignore_errors=True)
    for under_way in sorted(folder.glob(f"{_UNDER_WAY}*")):
        begins = under_way.name.removeprefix(_UNDER_WAY)
        try:
            with contextlib.suppress(ProjectError):  # damaged in the middle: put back
                if read_facts(folder)["format"] > int(begins):
                    _keep(folder, under_way)
                    continue
            _put_back(folder, under_way)
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise ProjectError(
                f"The project {folder} was being brought to a newer format when the program ended, "
                f"and cannot be put back: {why}.",
                f"What was there before is in {under_way}.",
                path=under_way,
            ) from error
        notes.append(f"An update of the project from format {begins} was interrupted; it was put back and done again.")
    return notes


def _put_back(folder: Path, under_way: Path) -> None:
    """Move everything back: that needs no room on the disk, and can be done again from wherever it was killed."""
    contents = json.loads((under_way / _CONTENTS).read_text(encoding="utf-8"))
    for name in contents["missing"]:
        _remove(folder / name)
    for name in contents["kept"]:
        if (under_way / name).exists():  # else it is back already
            if (under_way / name).is_dir():
                _remove(folder / name)
            (under_way / name).replace(folder / name)
    sync_folder(folder)
    shutil.rmtree(under_way.rename(folder / _UNDONE), ignore_errors=True)


def _keep(folder: Path, under_way: Path) -> Path:
    name = f"{BACKUP_PREFIX}{under_way.name.removeprefix(_UNDER_WAY)}"
    taken = sum(1 for _ in folder.glob(f"{name}*"))
    backup = under_way.rename(folder / (f"{name}-{taken + 1}" if taken else name))
    sync_folder(folder)
    return backup


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _damaged(path: Path, why: str) -> ProjectError:
    return ProjectError(
        f"{path} is damaged: {why}.",
        "Your data sets and runs are not affected. "
        f'Bring the file back from a copy, or write {{"format": {PROJECT_FORMAT}}} into it.',
        path=path,
    )
