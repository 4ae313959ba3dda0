"""How a running loop is told to pause, stop or give up. Called directly from any thread; never kills."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

Request = Literal["go_on", "stop", "cancel"]


class Interrupted(Exception):  # noqa: N818  not an error: the user asked for it
    """Stop or cancel was asked for in the middle of something that leaves nothing behind."""


class RunControl:
    """The reins of one run: the loop looks at it after each step.

    Args:
        own_process: Whether the run has a process of its own.
    """

    def __init__(self, *, own_process: bool = False) -> None:
        self.own_process = own_process
        self._request: Request = "go_on"
        self._running = threading.Event()
        self._running.set()
        self._cancelled = threading.Event()
        self._let_go = threading.Event()
        self._waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds spent in pauses so far."""
        return self._waited

    @property
    def request(self) -> Request:
        """What has been asked: ``"go_on"``, ``"stop"`` (keep the best) or ``"cancel"``."""
        return self._request

    @property
    def paused(self) -> bool:
        """Whether the loop should wait; never once it is to end."""
        return self._request == "go_on" and not self._running.is_set()

    def pause(self) -> None:
        """Ask the loop to wait before its next step."""
        self._running.clear()

    def resume(self) -> None:
        """Let the loop go on."""
        self._running.set()

    def check_cancelled(self) -> None:
        """Raise `Interrupted` if cancel has been asked for: called between the batches of an evaluation."""
        if self._request == "cancel":
            raise Interrupted

    def stop(self) -> None:
        """Ask the loop to end after this step, keep the best checkpoint and evaluate it."""
        if self._request != "cancel":
            self._request = "stop"
        self._running.set()

    def cancel(self) -> None:
        """Ask the loop to end after this step without evaluating."""
        self._request = "cancel"
        self._running.set()
        self._cancelled.set()

    def let_go(self) -> None:
        """Follow the run no longer, but let it go on; only a run in a process of its own can.

        One that has been cancelled is ended at once instead.
        """
        self._let_go.set()

    @property
    def has_let_go(self) -> bool:
        """Whether `let_go` was called."""
        return self._let_go.is_set()

    def wait(self, seconds: float) -> None:
        """Block for that long, or until cancel is asked for."""
        start = time.monotonic()
        self._cancelled.wait(seconds)
        self._waited += time.monotonic() - start

    def wait_while_paused(self, on_pause: Callable[[], None], on_resume: Callable[[], None]) -> float:
        """Block while paused; returns the seconds spent waiting."""
        if not self.paused:
            return 0.0
        on_pause()
        start = time.monotonic()
        self._running.wait()
        on_resume()
        waited = time.monotonic() - start
        self._waited += waited
        return waited
