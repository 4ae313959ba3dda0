"""The file in which a run keeps what it says: one JSON object a line, whole lines only."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from io import BufferedReader, FileIO
from pathlib import Path

from tlstudio.store.files import open_own


class EventFile:
    """An events file. One thread may write while others read; all that goes wrong is an `OSError`.

    Args:
        path: The file; it is opened by the first event.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: FileIO | None = None

    def append(self, line: bytes) -> None:
        """Add one line; it is in the file as a whole when this returns, and not at all where this raises."""
        with self._lock:
            try:
                if self._file is None:
                    self._file = _open_for_appending(self._path)
                size = self._file.seek(0, os.SEEK_END)
                try:
                    rest = memoryview(line)
                    while rest:  # a disk that fills up takes a part first
                        rest = rest[self._file.write(rest) :]
                except OSError:
                    self._file.truncate(size)
                    raise
            except OSError:
                self._close()  # where half a line could not be taken back, it is when the file is opened again
                raise

    def sync(self) -> int:
        """Have the system put the events on the disk; returns their size in bytes."""
        with self._lock:
            if self._file is None:
                return self._path.stat().st_size if self._path.exists() else 0
            os.fsync(self._file.fileno())
            return self._file.tell()

    def cut(self, size: int) -> None:
        """Forget the events behind a size in bytes."""
        self.close()
        if self._path.exists():
            with open_own(self._path, "rb+") as file:
                file.truncate(min(size, file.seek(0, os.SEEK_END)))

    def lines(self) -> Iterator[str]:
        """Yield the lines, oldest first; one that a crash has torn is left out."""
        try:
            file = open_own(self._path)
        except FileNotFoundError:
            return
        with BufferedReader(file) as lines:
            for line in lines:
                if line.startswith(b"{") and line.endswith(b"}\n"):
                    with contextlib.suppress(UnicodeDecodeError):
                        yield line[:-1].decode()

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _open_for_appending(path: Path) -> FileIO:
    """Open an events file after its last whole line: what a crash has torn would spoil the line after it, too."""
    file = open_own(path, "ab+")
    size = file.seek(0, os.SEEK_END)
    keep = size
    while keep > 0:
        start = max(0, keep - 65536)
        file.seek(start)
        newline = file.read(keep - start).rfind(b"\n")
        if newline >= 0:
            keep = start + newline + 1
            break
        keep = start
    if keep < size:
        file.truncate(keep)
    file.seek(0, os.SEEK_END)
    return file
