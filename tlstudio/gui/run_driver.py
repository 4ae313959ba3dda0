"""The run that is under way in this window: begun, heard, told to wait or to end."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from tlstudio.gui.run_closing import RunCloser
from tlstudio.gui.run_work import RunWork
from tlstudio.gui.training_worker import TrainingSession
from tlstudio.store.project import Project

DRAIN_EVERY_MS = 100
"""How often the events of a run are taken out of their buffer."""


class RunDriver(QObject):
    """Drives one run at a time.

    Args:
        parent: Owner.

    Attributes:
        session: The run with its thread; `None`: none is under way.

    Signals:
        happened(object): A list of the events that have come, which may be empty.
        ending(): It has been asked to end.
        ended(object): Its thread is over; a list of its last events.
    """

    happened = Signal(object)
    ending = Signal()
    ended = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.session: TrainingSession | None = None
        self._closer = RunCloser(self)
        self._drain = QTimer(self)
        self._drain.setInterval(DRAIN_EVERY_MS)
        self._drain.timeout.connect(self._take_events)
        self._closer.gave_up.connect(self._drain.stop)

    @property
    def active(self) -> bool:
        """Whether a run is under way."""
        return self.session is not None

    @property
    def outlives_window(self) -> bool:
        """Whether the run that is under way can go on without the window."""
        return self.session is not None and self.session.work.in_process

    @property
    def closing(self) -> bool:
        """Whether the window is closing."""
        return self._closer.closing

    def begin(self, work: RunWork) -> None:
        """Begin with a run, or follow one."""
        self.session = TrainingSession(work, self)
        self.session.ended.connect(self._on_thread_ended)
        self.session.start()
        self._drain.start()

    def toggle_pause(self) -> bool:
        """Pause the run, or go on; returns whether it is paused now."""
        if self.session is None:
            return False
        control = self.session.control
        paused = not control.paused
        control.pause() if paused else control.resume()
        return paused

    @Slot()
    def stop(self) -> None:
        """End the run after this step and keep its best epoch."""
        if self.session is not None:
            self.session.control.stop()
            self.ending.emit()

    @Slot()
    def cancel(self) -> None:
        """End the run after this step without an evaluation; its best epoch so far is kept."""
        if self.session is not None:
            self.session.control.cancel()
            self.ending.emit()

    def shutdown(self, callback: Callable[[], None], project: Project | None, *, begun: bool, leave: bool) -> None:
        """End the run at its next step and keep its last checkpoint, or leave it to its process.

        Args:
            callback: Called when the thread is over, or when it takes too long for somebody who closes a window:
                then `active` still says so. At once if there is no run.
            project: The project.
            begun: Whether the run has begun to learn.
            leave: Let a run that is in a process of its own go on.
        """
        session = self.session
        if session is None:
            callback()
        elif leave and session.work.in_process:
            self._closer.leave(session, callback)
        else:
            self._closer.end(session, callback, project, begun=begun)
            self.ending.emit()

    @Slot()
    def _take_events(self) -> None:
        if self.session is not None:
            self.happened.emit(self.session.drain())

    @Slot()
    def _on_thread_ended(self) -> None:
        session = self.session
        if session is None:
            return
        self._drain.stop()
        # The run must be over for everyone before they are told: a waiting recipe may start from within.
        self.session = None
        session.deleteLater()
        self.ended.emit(session.drain())
        self._closer.over()
