"""A hidden folder in which an import grows, and which becomes a revision in one step or vanishes."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlstudio.api import DataError

STAGING_PREFIX = ".importing-"
"""Beginning of the names of unfinished imports in the folder of data sets."""

_STALE_SECONDS = 24 * 3600  # an import that was killed (power cut) left it; none lasts that long untouched


@contextmanager
def staging_folder(datasets_folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the data sets; whatever is left of it in the end is removed.

    Errors of writing become sentences, a full disk above all.

    Args:
        datasets_folder: The folder of all data sets; made if it is missing, in a folder that is there.

    Raises:
        DataError: The disk is full, or the folder cannot be written.
    """
    staging: Path | None = None
    try:
        datasets_folder.mkdir(exist_ok=True)  # not the folders above it: a project on a disk that is gone stays gone
        _remove_stale(datasets_folder)
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=datasets_folder))
        yield staging
    except OSError as error:
        raise _writing_failed(error, datasets_folder) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def publish(staging: Path, dataset_folder: Path, revision: str) -> Path | None:
    """Move a finished import to its place in one step.

    Returns:
        The revision's folder, or `None` if another import has taken that number meanwhile.
    """
    target = dataset_folder / revision
    is_new = not dataset_folder.exists()
    dataset_folder.mkdir(exist_ok=True)
    # mkdtemp made it for the owner alone; a project may be shared as its own folder is.
    staging.chmod(0o777 & ~_umask(dataset_folder))
    try:
        if target.exists():  # on POSIX, rename would replace an empty folder
            return None
        staging.rename(target)
    except OSError as error:
        if is_new and not any(dataset_folder.iterdir()):
            dataset_folder.rmdir()
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY} or isinstance(error, FileExistsError):
            return None
        raise
    return target


def check_space(folder: Path, needed: int) -> None:
    """Make sure that a disk has room.

    Args:
        folder: Any folder on it; it or a parent exists.
        needed: Bytes that will be written; a reserve of 5 % and 16 MiB is added.

    Raises:
        DataError: There is less.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return  # a file system that does not tell: writing will
    wanted = int(needed * 1.05) + 16 * 2**20
    if free < wanted:
        raise DataError(
            f"The import needs about {_size(wanted)} on the disk of {folder}, and {_size(free)} are free.",
            "Free some space, choose a project on another disk, or import images without copying them.",
            path=folder,
        )


def _writing_failed(error: OSError, folder: Path) -> DataError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DataError(
            f"The disk of {folder} is full (or your quota is used up): the import was undone, nothing was lost.",
            "Free some space, or import images without copying them.",
            path=folder,
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return DataError(
            f"The folder {folder} cannot be written: {error.strerror}. Nothing was imported.",
            "Give yourself write access to it, or use a project elsewhere.",
            path=folder,
        )
    return DataError(
        f"The import could not write to {folder}: {error.strerror or error}. Nothing was imported.",
        "Check the disk, then import again.",
        path=folder,
    )


def _remove_stale(datasets_folder: Path) -> None:
    for left_over in datasets_folder.glob(f"{STAGING_PREFIX}*"):
        try:
            if time.time() - left_over.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left_over, ignore_errors=True)
        except FileNotFoundError:
            continue  # another import has just finished it


def _umask(folder: Path) -> int:
    """Permissions that a folder made by `Path.mkdir` lacks; reading os.umask would change it for all threads."""
    return 0o777 & ~folder.stat().st_mode if os.name == "posix" else 0


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
