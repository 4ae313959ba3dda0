"""What the window asks before it closes while a run is under way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QWidget

from tlstudio.gui.run_queue import RunQueue
from tlstudio.gui.widgets.dialogs import Question


class ShutDown(Protocol):
    """Closes the window."""

    def __call__(self, *, leave: bool = False) -> None:
        """End the run, or leave it to its process."""


def ask_to_close(window: QWidget, queue: RunQueue, shut_down: ShutDown, *, outlives: bool) -> None:
    """Ask what shall become of the run, and of those that wait behind it.

    Args:
        window: The window.
        queue: What waits.
        shut_down: Closes it.
        outlives: Whether the run can go on without the window.
    """
    follows = queue.on and queue.waiting > 0

    def end_all() -> None:
        queue.stop()
        shut_down()

    other: tuple[str, Callable[[], None]] | None = None
    on_yes: Callable[[], None] = end_all
    if outlives:
        title = _tr("A run is under way in a process of its own")
        text = _tr(
            "It can go on without this window, and is shown again when the project is opened the next time. Or "
            "it can stop after its present step: its last checkpoint is kept, and you can go on from there."
        )
        yes, on_yes, no = _tr("&Leave it running"), partial(shut_down, leave=True), _tr("&Do not close")
        other = (_tr("&Stop and keep"), end_all)
        if follows:
            text += "\n\n" + _tr("If it goes on, the queued runs follow; if it stops, they stay queued.")
            yes, other = _tr("&Leave it and the queue running"), (_tr("&Stop it, keep all for later"), end_all)
    else:
        title = _tr("A run is under way")
        text = _tr(
            "It can stop after its present step. What it has learned so far is kept, and you can go on with "
            "it from the Runs page."
        )
        yes, no = _tr("&Stop, keep and close"), _tr("&Go on training")
        if follows:
            text += "\n\n" + _tr(
                "The queued runs either begin then by themselves, without this window, or stay queued until you "
                "start them."
            )
            yes, other = _tr("&Stop it, keep all for later"), (_tr("Stop it and &begin the queued runs"), shut_down)
    if queue.waiting and not queue.on:
        text += "\n\n" + _tr("What is queued stays queued.")
    Question("close_question", title, text, yes=yes, no=no, on_yes=on_yes, other=other, parent=window).open()


def _tr(text: str) -> str:
    return QCoreApplication.translate("CloseQuestion", text)
