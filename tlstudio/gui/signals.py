"""A log-out or a `kill` closes the window as it should be closed, instead of ending it in the middle of something."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from types import FrameType

from PySide6.QtCore import QObject, QSocketNotifier, Slot

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class SignalWatch(QObject):
    """Calls back on the window's thread when the system asks this process to end.

    Python sees a signal only when it runs next, and Qt may wait for long: a socket that the signal writes to wakes it.

    Args:
        on_signal: Called for each signal.
        parent: Owner.
    """

    def __init__(self, on_signal: Callable[[], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._on_signal = on_signal
        self._here, self._there = socket.socketpair()
        for end in (self._here, self._there):
            end.setblocking(False)
        self._notifier = QSocketNotifier(self._here.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._wake)
        self._before = {number: signal.signal(number, _heard) for number in SIGNALS}
        self._wakeup_before = signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)

    def restore(self) -> None:
        """Put back what was there before."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._notifier.setEnabled(False)
        self._here.close()
        self._there.close()

    @Slot()
    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._here.recv(64)
        self._on_signal()


def _heard(_number: int, _frame: FrameType | None) -> None:
    """The socket has been written to; all else happens on the window's thread."""
