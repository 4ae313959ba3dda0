"""Files of others: a pipe is waited for without end, a giant fills the memory, a link leads anywhere."""

from __future__ import annotations

import contextlib
import errno
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from tlstudio.api.errors import DataError

MOST_BYTES = 2**27
"""Largest file of settings, labels or the like that is read as a whole."""

MOST_PRINTED = 2**20
"""Bytes that are read of what a process has printed."""


def is_link(path: Path) -> bool:
    """Whether something leads elsewhere: a symbolic link, or a junction of Windows."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if sys.platform == "win32" and status.st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT:
        return True
    return stat.S_ISLNK(status.st_mode)


def check_plain_file(path: Path) -> int:
    """Make sure that something is a plain file, be it through links; returns its size in bytes.

    Raises:
        OSError: It is missing, or a folder, pipe, socket or device.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or device, not a file", str(path))
    return status.st_size


@contextlib.contextmanager
def opening(path: Path, kind: str, *, smaller: str) -> Iterator[None]:
    """Say in a sentence why a file of the user's cannot be opened; what is wrong inside of it is not looked at.

    Args:
        path: The file.
        kind: What it should be: ``"image"``.
        smaller: What to do where the memory is not enough for it.

    Raises:
        DataError: It is missing, empty, a folder, may not be read, or is too large for the memory.
    """
    try:
        if check_plain_file(path) == 0:
            raise DataError(f"{path.name} is empty (0 bytes).", "Export or copy it again.", path=path)
        yield
    except FileNotFoundError:
        raise DataError(
            f"{path} is no longer there.", "Bring it back or import the data set again.", path=path
        ) from None
    except IsADirectoryError:
        what = f"{path.name} is a folder, not a file."
        raise DataError(what, f"Choose the {kind}s inside it.", path=path) from None
    except PermissionError:
        raise DataError(f"{path.name} may not be read.", "Give yourself read access to it.", path=path) from None
    except MemoryError:
        raise DataError(f"There is not enough memory to open {path.name}.", smaller, path=path) from None


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """Read a text file as a whole.

    Raises:
        OSError: It is missing, no plain file, larger than `MOST_BYTES`, or may not be read.
        UnicodeDecodeError: It is no text in that encoding.
    """
    if (size := check_plain_file(path)) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has {size / 2**20:.0f} MiB, far more than such a file needs", str(path))
    return path.read_text(encoding=encoding)


def text_of(path: Path) -> str:
    """What a process has left in a file, with signs for what is no text; empty where it has left nothing.

    Of much, it is the end: what a process prints may be of any size.
    """
    try:
        size = check_plain_file(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(max(0, size - MOST_PRINTED))
            return file.read()
    except OSError:
        return ""
