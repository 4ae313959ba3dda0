"""Telling whether the process that was writing is still there, although its number may have been given anew."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Any

_START_TOLERANCE = 2.0
"""Seconds by which two readings of one process's start may differ (rounding, small clock corrections)."""


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process that can be told from a later one with the same number.

    Attributes:
        pid: Its number.
        started: When it started, in seconds since the epoch.
        host: The machine that it runs on.
        since_boot: When it started, in seconds since the system did; `None` in a mark of an older version.
    """

    pid: int
    started: float
    host: str
    since_boot: float | None = field(default=None, compare=False)

    @classmethod
    def here(cls) -> ProcessMark:
        """The mark of this process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """The mark of a process of this machine that is there.

        Raises:
            psutil.NoSuchProcess: It is not.
        """
        import psutil

        boot = psutil.boot_time()
        started = psutil.Process(pid).create_time()
        return cls(pid, started, socket.gethostname(), started - boot)

    @classmethod
    def from_json(cls, value: object) -> ProcessMark | None:
        """Read a mark back; `None` if it is none."""
        if not isinstance(value, dict):
            return None
        try:
            since_boot = value.get("since_boot")
            return cls(
                int(value["pid"]),
                float(value["started"]),
                str(value["host"]),
                None if since_boot is None else float(since_boot),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def to_json(self) -> dict[str, Any]:
        """The mark as plain JSON values."""
        return {"pid": self.pid, "started": self.started, "host": self.host, "since_boot": self.since_boot}

    def is_gone(self) -> bool | None:
        """Whether the process has ended; `None` if it ran on another machine, which cannot be asked."""
        import psutil

        if self.host != socket.gethostname():
            return None
        try:
            boot = psutil.boot_time()
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            # When a clock is set, Linux says that all processes have started earlier or later; other systems do not,
            # but say so of themselves.
            readings = [(process.create_time(), self.started)]
            if self.since_boot is not None:
                readings.append((process.create_time() - boot, self.since_boot))
            return not any(abs(now - then) <= _START_TOLERANCE for now, then in readings)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False
