"""A run in a thread of the window, which does it or follows its process: a buffer of events and the reins."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from typing import Any

from PySide6.QtCore import QObject, QThread, Signal, Slot

from tlstudio.api import TLStudioError
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import RunEnded, RunEvent
from tlstudio.gui.run_work import RunWork
from tlstudio.privacy import without_secrets

log = logging.getLogger(__name__)


class TrainingWorker(QObject):
    """Does one run in the thread that it has been moved to.

    Args:
        work: What to do.
        control: The reins; called directly from the window's thread.

    Signals:
        happened(object): A `RunEvent`, as it comes. (`QObject.event` is taken.)
        finished(object): The `Run`, or `None` if there is none.
    """

    happened = Signal(object)
    finished = Signal(object)

    def __init__(self, work: RunWork, control: RunControl) -> None:
        super().__init__()
        self._work = work
        self._control = control
        self._ended = False
        self.buffer: deque[RunEvent] = deque()

    @Slot()
    def run(self) -> None:
        """Run to the end; there is exactly one `RunEnded`, whatever happens, unless the run was let go."""
        run: Any = None
        try:
            run = self._work.do(self._take, self._control)
        except TLStudioError as error:
            self._take(RunEnded("", "failed", error=str(error)))
        except Exception as error:
            log.exception("the run has failed")
            sentence = without_secrets(f"The studio itself has failed: {type(error).__name__}: {error}")
            trace = without_secrets(traceback.format_exc())
            self._take(RunEnded("", "failed", error=sentence, traceback=trace))
        if not self._ended and not self._control.has_let_go:
            self._take(RunEnded("", "failed", error="The run ended without a word."))
        self.finished.emit(run)
        # From here and not by a queued signal: the window may be waiting for this very thread.
        QThread.currentThread().quit()

    def _take(self, event: RunEvent) -> None:
        # A deque is appended to in one thread and drained in another without a lock; the signal is for listeners
        # that want every event at once, and costs nothing while there are none.
        self._ended = self._ended or isinstance(event, RunEnded)
        self.buffer.append(event)
        self.happened.emit(event)


class TrainingSession(QObject):
    """One run with its thread; lives on the window's thread.

    Args:
        work: What to do.
        parent: Owner.

    Attributes:
        work: What is done.
        control: Its reins.

    Signals:
        ended(): The thread is over; all events are in the buffer.
    """

    ended = Signal()

    def __init__(self, work: RunWork, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.work = work
        self.control = RunControl()
        self.worker = TrainingWorker(work, self.control)
        self._thread = QThread(self)
        self._thread.setObjectName("training")
        self.worker.moveToThread(self._thread)
        self._thread.started.connect(self.worker.run)
        self._thread.finished.connect(self.ended)

    def start(self) -> None:
        """Begin."""
        # The window's own thread stays ahead where there are no more cores than training threads.
        self._thread.start(QThread.Priority.LowPriority)

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.isRunning()

    def drain(self) -> list[RunEvent]:
        """Take out all events that have come since the last call."""
        buffer = self.worker.buffer
        events = []
        while buffer:
            events.append(buffer.popleft())
        return events

    def wait(self, seconds: float) -> bool:
        """Wait for the thread to end; returns whether it has."""
        return self._thread.wait(round(seconds * 1000))
