"""Looking over a process's shoulder: what it runs, where it writes, whom it calls, how much memory it takes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RUNS = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "os.fork", "os.forkpty", "subprocess.Popen"}
)
_CALLS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"})
_CHANGES = frozenset(
    {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown"}
)
_FOLLOWS = frozenset({"os.truncate", "os.chmod", "os.chown"})
"""Of these, those that go through a link; the others change the link itself."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_UNPICKLES = "pickle.find_class"
_ALLOWED_DEVICES = frozenset({os.devnull})


class Watch:
    """Notes what a process does that it must not; from `begin` on, and for good: such hooks cannot be taken off.

    Args:
        writable: Folders in which it may write.
        hostile: Folder of which no code may run.
    """

    def __init__(self, writable: tuple[Path, ...], hostile: Path) -> None:
        self._writable = tuple(os.path.realpath(folder) + os.sep for folder in writable)
        self._hostile = os.path.realpath(hostile) + os.sep
        self._busy = False
        self.seen: list[str] = []

    def begin(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self._judge(event, arguments)
        except Exception as error:  # noqa: BLE001  a hook that raises would change what it watches
            self.seen.append(f"The watch itself failed at {event}: {error!r}")
        finally:
            self._busy = False

    def _judge(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and flags & _WRITING:
                self._wrote(event, path, follows=not flags & _NO_LINK)
        elif event in _CHANGES:
            self._wrote(event, _absolute(arguments[0], arguments[-1]), follows=event in _FOLLOWS)
            if event in ("os.rename", "os.link"):
                self._wrote(event, _absolute(arguments[1], arguments[-1]), follows=False)
        elif event in _RUNS or event == _UNPICKLES:
            self._note(event, arguments)
        elif event in _CALLS:
            self._note(event, arguments[-1:])
        elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(self._hostile):
            self._note("code", arguments)

    def _wrote(self, event: str, path: Any, *, follows: bool) -> None:  # noqa: ANN401  or the number of an open file
        if not isinstance(path, str | bytes | os.PathLike):
            return
        where = os.fsdecode(path)
        folder, name = os.path.split(where)
        where = os.path.realpath(where) if follows else os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
        if where not in _ALLOWED_DEVICES and not (where + os.sep).startswith(self._writable):
            self._note(event, (where,))

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        frames = traceback.extract_stack(limit=8)[:-4]
        by = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        self.seen.append(f"{event}{tuple(str(item)[:120] for item in arguments)} by {by}")


def _absolute(path: Any, folder: Any) -> Any:  # noqa: ANN401  what the system was given
    """Join a path with the open folder that it is relative to, if there is one and the system tells its name."""
    if not isinstance(folder, int) or folder < 0 or not isinstance(path, str | bytes):
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))  # noqa: PTH115, PTH118  any name
    except OSError:
        return None


def peak_memory() -> int:
    """Most bytes of main memory that this process has ever taken."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def limit_memory(more: int) -> None:
    """Let this process take so many bytes of address space more and no further, where the system knows such limits."""
    if sys.platform != "linux":
        return
    import resource

    import psutil

    limit = psutil.Process().memory_info().vms + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Kind and size of all that is in a folder, and where links lead; links are not followed."""
    found: dict[str, tuple[int, int, str]] = {}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(here, name)  # noqa: PTH118  names that are no text
            stat = os.lstat(path)
            leads = os.readlink(path) if os.path.islink(path) else ""  # noqa: PTH114, PTH115  as above
            found[path] = (stat.st_mode, stat.st_size if os.path.isfile(path) else 0, leads)  # noqa: PTH113  as above
    return found


def silent(call: Callable[[], None]) -> str:
    """Call something; returns the traceback of what it raised, ``""`` if nothing."""
    try:
        call()
    except BaseException:  # noqa: BLE001  SystemExit above all is one of the faults that are looked for
        return traceback.format_exc()
    return ""
