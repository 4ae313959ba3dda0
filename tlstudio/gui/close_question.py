"""What the window asks before it closes while a run is under way."""

from __future__ import annotations

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
    queued = queue.on and queue.waiting > 0

    def end_all() -> None:
        queue.stop()
        shut_down()

    if outlives:
        text = _tr(
            "It can go on without this window, and is shown again when the project is opened the next time. Or "
            "it can stop after its present step: its last checkpoint is kept, and you can go on from there."
        )
        if queued:
            text += "\n\n" + _tr("If it goes on, the queued runs follow; if it stops, they stay queued.")
        Question(
            "close_question",
            _tr("A run is under way in a process of its own"),
            text,
            yes=_tr("&Leave it running"),
            no=_tr("&Do not close"),
            on_yes=lambda: shut_down(leave=True),
            other=(_tr("&Stop and keep"), end_all),
            parent=window,
        ).open()
        return
    text = _tr(
        "It can stop after its present step. What it has learned so far is kept, and you can go on with "
        "it from the Runs page."
    )
    if queued:
        text += "\n\n" + _tr("The queued runs can begin then, without this window, or stay queued.")
    Question(
        "close_question",
        _tr("A run is under way"),
        text,
        yes=_tr("&Stop, keep and close"),
        no=_tr("&Go on training"),
        on_yes=end_all,
        other=(_tr("Stop it, &leave the queue"), shut_down) if queued else None,
        parent=window,
    ).open()


def _tr(text: str) -> str:
    return QCoreApplication.translate("CloseQuestion", text)
