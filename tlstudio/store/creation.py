"""Making the folder of a new project."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from tlstudio import __version__
from tlstudio.api import ProjectError
from tlstudio.store.files import reason, remedy, write_json_atomic
from tlstudio.store.format import DATASETS_NAME, MIN_READER, PROJECT_FORMAT, PROJECT_NAME, RUNS_NAME
from tlstudio.store.lock import HOLDER_NAME, LOCK_NAME, ProjectLock


def make_project(folder: Path, name: str, program: str) -> tuple[str, ProjectLock]:
    """Make a project in a new or empty folder, or leave nothing of it.

    Args:
        folder: Its folder, absolute; folders above it are made where they are missing.
        name: What to call it; the folder's name if empty.
        program: What to call this program in the sentence that a second writer gets.

    Returns:
        Its name, and the right to write into it, which is held.

    Raises:
        ProjectError: There is a project or something else, or the folder cannot be made.
    """
    try:
        if (folder / PROJECT_NAME).exists():
            raise _is_one_already(folder)
        if folder.exists() and (not folder.is_dir() or any(map(_is_foreign, folder.iterdir()))):
            raise ProjectError(
                f"{folder} exists already and is not an empty folder.",
                "Choose a new folder: a project has one of its own.",
                path=folder,
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_made(folder, error) from error
    lock = ProjectLock(folder)
    lock.acquire(program)
    try:
        if (folder / PROJECT_NAME).exists():
            raise _is_one_already(folder)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"name": name or folder.name, "created": created, "app_version": __version__}
        try:
            for part in (folder / DATASETS_NAME, folder / RUNS_NAME):
                part.mkdir(exist_ok=True)
            # Written last: with it, the folder is a project.
            write_json_atomic(folder / PROJECT_NAME, {"format": PROJECT_FORMAT, "min_reader": MIN_READER, **about})
        except BaseException:
            for part in (folder / DATASETS_NAME, folder / RUNS_NAME):
                with contextlib.suppress(OSError):
                    part.rmdir()
            raise
        return about["name"], lock
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise _cannot_be_made(folder, error) from error
        raise


def _is_one_already(folder: Path) -> ProjectError:
    return ProjectError(f"{folder} is a project already.", "Open it, or choose another folder.", path=folder)


def _cannot_be_made(folder: Path, error: OSError) -> ProjectError:
    return ProjectError(f"The project {folder} cannot be made: {reason(error)}.", remedy(error), path=folder)


def _is_foreign(path: Path) -> bool:
    """Whether a file is more than what is left where a project could not be made."""
    return path.name not in (LOCK_NAME, HOLDER_NAME)
