"""Telling whether the process that was writing is still there, although its number may have been given anew."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

_START_TOLERANCE = 2.0
"""Seconds by which two readings of one process's start may differ (clock corrections)."""


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process that can be told from a later one with the same number.

    Attributes:
        pid: Its number.
        started: When it started, in seconds since the epoch.
        host: The machine that it runs on.
    """

    pid: int
    started: float
    host: str

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

        return cls(pid, psutil.Process(pid).create_time(), socket.gethostname())

    @classmethod
    def from_json(cls, value: object) -> ProcessMark | None:
        """Read a mark back; `None` if it is none."""
        if not isinstance(value, dict):
            return None
        try:
            return cls(int(value["pid"]), float(value["started"]), str(value["host"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def to_json(self) -> dict[str, Any]:
        """The mark as plain JSON values."""
        return {"pid": self.pid, "started": self.started, "host": self.host}

    def is_gone(self) -> bool | None:
        """Whether the process has ended; `None` if it ran on another machine, which cannot be asked."""
        import psutil

        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return abs(process.create_time() - self.started) > _START_TOLERANCE
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False
