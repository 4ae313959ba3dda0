"""Writing small files so that a reader, or the next start after a crash, sees the old or the new one, never half."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import threading
import time
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

from tlstudio.api import ProjectError
from tlstudio.api.files import is_link

_WINDOWS_RETRIES = 50
_STALE_SECONDS = 3600  # a file that is being written is there for a moment; one as old was left by a crash


def open_own(path: Path, mode: str = "rb") -> FileIO:
    """Open a file that the studio keeps for itself, which may be one that somebody sent: without following links.

    Args:
        path: The file, in a folder that was not reached through a link of the project either.
        mode: As that of `open`, always binary: ``"rb"``, ``"wb"``, ``"ab+"``; there is no buffer.

    Raises:
        OSError: It is a link, a pipe, a folder or a device, or cannot be opened.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, "it is a link, a folder or a pipe, not a plain file", str(path))
    return FileIO(path, mode, opener=_open_no_link)


def refuse_links(folder: Path) -> None:
    """Make sure that what lies in a folder of the studio's leads to no other folder, before files are written there.

    Raises:
        OSError: Something is a link to a folder, or the folder cannot be read.
    """
    for path in folder.iterdir():
        if is_link(path) and path.is_dir():  # `open_own` looks at the files
            raise OSError(errno.EINVAL, f"{path.name} in it is a link, and could lead anywhere", str(path))


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def write_atomic(path: Path, text: str) -> None:
    """Replace a file as a whole: temporary file beside it, flush, fsync, `os.replace`, fsync of the folder.

    Args:
        path: The file.
        text: Its new content; written as UTF-8; line ends stay as they are.

    Raises:
        ProjectError: The disk is full, the folder is read-only or the like; the old file is untouched.
    """
    data = text.encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with BufferedWriter(open_own(temporary, "wb")) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ProjectError(f"{path} could not be written: {reason(error)}.", remedy(error), path=path) from error


def remove_stale_files(folder: Path) -> None:
    """Remove what `write_atomic` has left in a folder where its process was killed."""
    for left_over in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left_over.stat().st_mtime > _STALE_SECONDS:
                left_over.unlink()


def write_json_atomic(path: Path, value: Any) -> None:  # noqa: ANN401  any JSON value
    """Write a JSON file as a whole (see `write_atomic`)."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def sync_file(path: Path) -> None:
    """Have the system put a file's content on the disk, so that a power cut cannot take it back."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut, where the system can be asked for it."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot sync a folder: the rename itself has happened
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _replace(source: Path, target: Path) -> None:
    """`os.replace`; on Windows it fails while another thread or a virus scanner reads the target, so it is retried."""
    for _ in range(_WINDOWS_RETRIES if sys.platform == "win32" else 0):
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(0.02)
        else:
            return
    source.replace(target)


def reason(error: OSError) -> str:
    """Say in plain words why the system refused, as the end of a sentence without its full stop."""
    known = {
        errno.EACCES: "you may not write there",
        errno.EPERM: "you may not write there",
        errno.EROFS: "the file system is read-only",
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "your disk quota is used up",
        errno.EIO: "the disk does not answer",
        errno.ENAMETOOLONG: "the path is longer than the system allows",
        errno.ENOENT: "the folder does not exist",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
    }
    text = known.get(error.errno or 0, error.strerror or str(error))
    return text[:1].lower() + text[1:]


def remedy(error: OSError) -> str:
    """Say what to do about it."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "Free some space, then try again."
        case errno.ENOENT | errno.EIO | errno.ENODEV | errno.ENXIO | errno.ESTALE:
            return "If it is on a disk that was unplugged, bring that back and try again."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "Ask for write access, or use a folder of your own."
        case errno.ENAMETOOLONG:
            return "Use a folder with a shorter path."
        case _:
            return ""
