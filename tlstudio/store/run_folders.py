"""Folders of runs as a whole: each is there with all that belongs into it, or not at all."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tlstudio.api.files import is_link
from tlstudio.store.run_record import write_new_run

_HALF_MADE = (".new-", ".deleted-", ".importing-")
"""Beginnings of the names of folders that only a crash leaves behind: runs, and imports."""


def make_run_folder(
    runs: Path,
    recipe_toml: str,
    values: Mapping[str, Any],
    status: str,
    how: str,
    fill: Callable[[Path, str], None] | None = None,
) -> Path:
    """Make the folder of a run; its name is the run's id.

    Args:
        runs: The folder that it is put into.
        recipe_toml: The recipe.
        values: See `write_new_run`.
        status: See `write_new_run`.
        how: How it comes about, which becomes a part of the id.
        fill: Puts all else into the folder, given the run's id.

    Raises:
        OSError: It cannot be written.
    """
    staged = runs / f".new-{uuid.uuid4().hex}"
    now = datetime.now(UTC)
    try:
        runs.mkdir(exist_ok=True)
        staged.mkdir()
        write_new_run(staged, recipe_toml, values, now.isoformat(timespec="microseconds"), status)
        folder = runs / _next_id(runs, now.astimezone(), how)
        if fill is not None:
            fill(staged, folder.name)
        staged.rename(folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return folder


def delete_folder(folder: Path) -> None:
    """Delete a folder for good; what cannot be removed now is when the project is opened next.

    Raises:
        OSError: It cannot be deleted, and is there as before.
    """
    # Renamed first: a crash in the middle leaves a hidden rest, not half a run.
    condemned = folder.with_name(f".deleted-{uuid.uuid4().hex}")
    folder.rename(condemned)
    shutil.rmtree(condemned, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove from a folder what a crash has left half made or half deleted."""
    for name in folders_in(folder):
        if name.startswith(_HALF_MADE):
            shutil.rmtree(folder / name, ignore_errors=True)


def folders_in(folder: Path) -> set[str]:
    """Names of the folders in a folder; not of links, which lead to what is not the project's."""
    with contextlib.suppress(OSError):
        return {entry.name for entry in folder.iterdir() if entry.is_dir() and not is_link(entry)}
    return set()


def _next_id(runs: Path, now: datetime, how: str) -> str:
    day = f"{now:%Y-%m-%d}"
    taken = (re.match(rf"{day}-(\d+)-", path.name) for path in runs.iterdir())
    number = max((int(match[1]) for match in taken if match), default=0) + 1
    safe = re.sub(r"[^\w.-]+", "_", how)[:60]
    return f"{day}-{number:03d}-{safe}"
