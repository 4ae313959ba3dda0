"""One writer per project: an operating-system lock, and a note beside it that says who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from tlstudio.api import ProjectError
from tlstudio.api.files import read_text
from tlstudio.privacy import user_name
from tlstudio.store.files import reason, write_json_atomic

LOCK_NAME = ".lock"
HOLDER_NAME = ".lock.json"


class ProjectLock:
    """The right to write into a project.

    The kernel frees the lock when the process ends, however it ends, so a stale one cannot be left behind. The note
    beside it is only for the sentence that a second writer gets.

    Args:
        folder: The project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holder = folder / HOLDER_NAME
        # thread_local=False: it is taken in one thread and may be given back in another.
        self._lock = filelock.FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)

    def acquire(self, program: str) -> None:
        """Take the lock at once or not at all.

        Args:
            program: What to call the holder: ``"tlstudio train"``.

        Raises:
            ProjectError: Somebody else holds it (the sentence says who), or the folder cannot be written.
        """
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise ProjectError(
                f"The project {self._folder} is already open for writing in {describe_holder(self._holder)}.",
                "Close it there first.",
                path=self._folder,
            ) from None
        except (OSError, NotImplementedError) as error:
            why = reason(error) if isinstance(error, OSError) else "its file system cannot lock files"
            raise ProjectError(
                f"The project {self._folder} can only be read, not changed: {why}.",
                "Ask for write access, or copy the project into a folder of your own.",
                path=self._folder,
            ) from error
        try:
            write_json_atomic(
                self._holder,
                {
                    "program": program,
                    "user": user_name(),
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            )
        except ProjectError:
            self._lock.release()
            raise

    def release(self) -> None:
        """Give the lock back; harmless if it is not held."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._holder.unlink(missing_ok=True)
            self._lock.release()


def describe_holder(path: Path) -> str:
    """Say who holds a lock, from the note beside it: program, user, machine, process and since when."""
    try:
        holder: dict[str, Any] = json.loads(read_text(path))
        since = datetime.fromisoformat(holder["since"]).astimezone()
        return (
            f"{holder['program']} (user {holder['user']} on {holder['host']}, process {holder['pid']}, "
            f"since {since:%Y-%m-%d %H:%M})"
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another program"
