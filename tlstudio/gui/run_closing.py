"""What becomes of a run when its window closes: ended with what it has, or left to its process, in any case in time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from tlstudio.api import TLStudioError
from tlstudio.gui.training_worker import TrainingSession
from tlstudio.store.project import Project

LEAVE_AFTER_MS = 3000
"""How long the thread of a run may take to end when the window closes, before it is left behind."""
END_AFTER_MS = 2000
"""How long the process of a run may take to end when the window closes, before it is ended."""
UNBEGUN_MS = 500
"""The same for a run that has not begun to learn: there is nothing yet that could be kept."""


class RunCloser(QObject):
    """Waits for a run that shall end, but no longer than somebody who closes a window does.

    Args:
        parent: Owner.

    Signals:
        gave_up(): The thread is left behind.
    """

    gave_up = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._session: TrainingSession | None = None
        self._callback: Callable[[], None] | None = None
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.timeout.connect(self._lose_patience)

    @property
    def closing(self) -> bool:
        """Whether the window is closing."""
        return self._callback is not None

    def leave(self, session: TrainingSession, callback: Callable[[], None]) -> None:
        """Let a run go on in its process without the window."""
        self._session, self._callback = session, callback
        session.control.let_go()
        self._patience.start(LEAVE_AFTER_MS)

    def end(
        self, session: TrainingSession, callback: Callable[[], None], project: Project | None, *, begun: bool
    ) -> None:
        """End a run at its next step and keep its last checkpoint.

        Args:
            session: The run with its thread.
            callback: Called when the thread is over, or when it takes too long.
            project: The project.
            begun: Whether it has begun to learn.
        """
        self._session, self._callback = session, callback
        # Not `stop`: that would still evaluate, which may take longer than a person who closes the window waits.
        session.control.cancel()
        if session.work.in_process and session.work.run_id and project is not None:
            # Its process is asked directly, too: who follows it may still be loading the libraries.
            with contextlib.suppress(TLStudioError):  # it has ended meanwhile, or the disk is full
                project.run(session.work.run_id).ask("cancel")
        usual = END_AFTER_MS if session.work.in_process else LEAVE_AFTER_MS
        self._patience.start(usual if begun else UNBEGUN_MS)

    def over(self) -> None:
        """The thread is over: call back, if the window is closing."""
        self._session = None
        self._call_back()

    @Slot()
    def _lose_patience(self) -> None:
        """The window is to close now: have a process ended that does not end, and leave a thread behind."""
        session = self._session
        if session is None:
            return
        if session.work.in_process and not session.control.has_let_go:
            session.control.let_go()
            self._patience.start(LEAVE_AFTER_MS - END_AFTER_MS)
            return
        self.gave_up.emit()
        self._call_back()

    def _call_back(self) -> None:
        self._patience.stop()
        if self._callback is not None:
            callback, self._callback = self._callback, None
            callback()
