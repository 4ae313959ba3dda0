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
from tlstudio.api.files import is_link, read_text
from tlstudio.store.files import reason, remedy, sync_file, sync_folder, write_json_atomic
from tlstudio.store.index import INDEX_NAME

PROJECT_FORMAT = 2
MIN_READER = 1
"""The oldest format whose programs can read what this version writes."""
PROJECT_NAME = "tlstudio.json"
DATASETS_NAME = "datasets"
RUNS_NAME = "runs"
_WRITTEN = (DATASETS_NAME, RUNS_NAME, "cache", "logs")
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

    @property
    def names(self) -> tuple[str, ...]:
        """All that is copied before, and put back where it fails."""
        return (*_ALWAYS_KEPT, *self.changes)


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
    for part in _WRITTEN:
        if write and is_link(folder / part):
            raise ProjectError(
                f"The project {folder} can be read, but not changed: its folder {part} is a link, and what it leads "
                "to is not the project's.",
                "Put the folder itself in the place of the link.",
                path=folder / part,
            )
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
    notes = _finish_or_undo(folder, migrations)
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
                _put_back(folder, under_way, migration)
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
        kept = [name for name in migration.names if (folder / name).exists()]
        for name in kept:  # a link is kept as a link: what it leads to is not the project's
            if (folder / name).is_dir() and not is_link(folder / name):
                shutil.copytree(folder / name, staged / name, symlinks=True)
            else:
                shutil.copy2(folder / name, staged / name, follow_symlinks=False)
        missing = [name for name in migration.names if name not in kept]
        write_json_atomic(staged / _CONTENTS, {"kept": kept, "missing": missing})
        for path in staged.rglob("*"):
            if is_link(path):
                continue
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


def _finish_or_undo(folder: Path, migrations: Sequence[Migration]) -> list[str]:
    """Deal with a migration that was killed: keep its backup if it was through, else put everything back."""
    notes = []
    known = {f"{_UNDER_WAY}{migration.begins}": migration for migration in migrations}
    for name in (_STAGED, _UNDONE):
        shutil.rmtree(folder / name, ignore_errors=True)
    for under_way in sorted(folder.glob(f"{_UNDER_WAY}*")):
        try:
            if is_link(under_way) or under_way.name not in known:
                raise ValueError("it is no update that this version makes")
            migration = known[under_way.name]
            with contextlib.suppress(ProjectError):  # damaged in the middle: put back
                if read_facts(folder)["format"] > migration.begins:
                    _keep(folder, under_way)
                    continue
            _put_back(folder, under_way, migration)
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise ProjectError(
                f"The project {folder} was being brought to another format when the program ended, "
                f"and cannot be put back: {why}.",
                f"What was there before is in {under_way}; without that, the project opens as it is.",
                path=under_way,
            ) from error
        notes.append(
            f"An update of the project from format {migration.begins} was interrupted; it was put back and done again."
        )
    return notes


def _put_back(folder: Path, under_way: Path, migration: Migration) -> None:
    """Move everything back: that needs no room on the disk, and can be done again from wherever it was killed."""
    missing, kept = _read_contents(under_way, migration)
    for name in missing:
        _remove(folder / name)
    for name in kept:
        if (under_way / name).exists():  # else it is back already
            if (under_way / name).is_dir():
                _remove(folder / name)
            (under_way / name).replace(folder / name)
    sync_folder(folder)
    shutil.rmtree(under_way.rename(folder / _UNDONE), ignore_errors=True)


def _read_contents(under_way: Path, migration: Migration) -> tuple[list[str], list[str]]:
    """What a backup says was missing and what it keeps: it came with the project, so no other name is believed.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or names what the migration does not change.
    """
    try:
        contents = json.loads(read_text(under_way / _CONTENTS))
        missing, kept = contents["missing"], contents["kept"]
        foreign = [name for name in (*missing, *kept) if name not in migration.names]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{_CONTENTS} is damaged ({error!r})") from error
    if foreign:
        raise ValueError(f"{_CONTENTS} names {foreign[0]!r}, which no update changes")
    return missing, kept


def _keep(folder: Path, under_way: Path) -> Path:
    name = f"{BACKUP_PREFIX}{under_way.name.removeprefix(_UNDER_WAY)}"
    taken = sum(1 for _ in folder.glob(f"{name}*"))
    backup = under_way.rename(folder / (f"{name}-{taken + 1}" if taken else name))
    sync_folder(folder)
    return backup


def _remove(path: Path) -> None:
    if path.is_dir() and not is_link(path):
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
