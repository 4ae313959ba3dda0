"""Ctrl+C: the first asks to stop at the next step, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click


@contextmanager
def stop_gently(ask: Callable[[], None], *, what: str = "at the next step") -> Iterator[None]:
    """While the block runs, let Ctrl+C (and SIGTERM, as a batch system sends it) ask it to stop.

    Args:
        ask: Asks it; called from the signal handler.
        what: When it will stop, for the user.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        ask()
        click.echo(f"\nStopping {what}. Press Ctrl+C again to stop at once.", err=True)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
