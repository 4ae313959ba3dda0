"""Work off the window's thread: jobs with progress, time left and cancel.

A job is a plain function that is given a `JobContext`. It runs in a `QThread`; its result, its failure and its
progress come back on the window's thread. Nothing is ever terminated: a cancelled job ends at its next look at
``context.cancelled()``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar, cast

from PySide6.QtCore import QCoreApplication, QObject, QThread, Signal, Slot

T = TypeVar("T")
JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
log = logging.getLogger(__name__)

REPORT_EVERY = 0.05
"""Seconds between two reports of progress that reach the window; more would only fill its event queue."""


class JobContext:
    """What a job's function is given: how to report, and whether to give up. Used from the job's thread."""

    def __init__(self, report: Callable[[int, int, str], None]) -> None:
        self._report = report
        self._cancelled = threading.Event()
        self._last = 0.0

    def progress(self, done: int, total: int = 0, text: str = "") -> None:
        """Report how far the job is.

        Args:
            done: Items done.
            total: Items in all; 0 where unknown.
            text: What is being done now; empty leaves the title.
        """
        now = time.monotonic()
        if now - self._last >= REPORT_EVERY or (total and done >= total):
            self._last = now
            self._report(done, total, text)

    def cancelled(self) -> bool:
        """Whether the job should stop and leave nothing behind."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the job to stop."""
        self._cancelled.set()


class Job(QObject, Generic[T]):
    """One piece of work, seen from the window.

    Signals:
        changed(): Its progress or state has changed.
        ended(object): It is over, whatever happened; carries the job. Its callback has been called before.
    """

    changed = Signal()
    ended = Signal(object)

    def __init__(
        self,
        fn: Callable[[JobContext], T],
        title: str,
        on_done: Callable[[T], None],
        on_error: Callable[[Exception], None] | None,
        key: str,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.title = title
        self.key = key
        self.state: JobState = "waiting"
        self.done = 0
        self.total = 0
        self.text = ""
        self.started = 0.0
        self.fn = fn
        self.on_done = on_done
        self.on_error = on_error
        self.context = JobContext(self._post)
        self._reporter = _Reporter()
        self._reporter.progressed.connect(self._note_progress)

    def cancel(self) -> None:
        """Ask it to stop; it does so at its next step. One that is over is left as it is: Qt may have deleted it."""
        if not self.over:
            self.context.cancel()
            self.changed.emit()

    @property
    def cancelling(self) -> bool:
        """Whether it has been asked to stop."""
        return self.context.cancelled()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def seconds_left(self) -> float | None:
        """Estimate from its pace so far; `None` while it cannot be known."""
        seconds = time.monotonic() - self.started
        if self.state != "running" or not self.total or not self.done or seconds < 1:
            return None
        return seconds / self.done * max(0, self.total - self.done)

    def _post(self, done: int, total: int, text: str) -> None:
        self._reporter.progressed.emit((done, total, text))

    @Slot(object)
    def _note_progress(self, progress: object) -> None:
        self.done, self.total, text = cast(tuple[int, int, str], progress)
        self.text = text or self.text
        self.changed.emit()


class _Reporter(QObject):
    """Carries progress from the job's thread to the window's."""

    progressed = Signal(object)


class JobWorker(QObject):
    """Runs one job's function in the thread that it has been moved to.

    Signals:
        finished(object): ``(result, None)`` or ``(None, exception)``.
    """

    finished = Signal(object)

    def __init__(self, fn: Callable[[JobContext], Any], context: JobContext) -> None:
        super().__init__()
        self._fn = fn
        self._context = context

    @Slot()
    def run(self) -> None:
        """Call the function; whatever it raises is carried to the window."""
        try:
            outcome: tuple[Any, Exception | None] = (self._fn(self._context), None)
        except Exception as error:  # noqa: BLE001  every failure of a job is shown by the window
            outcome = (None, error)
        self.finished.emit(outcome)
        # From here and not by a queued signal: the window may be waiting for this very thread.
        QThread.currentThread().quit()


class _Running(QObject):
    """A job together with its thread; lives on the window's thread."""

    over = Signal(object)

    def __init__(self, job: Job[Any], parent: QObject) -> None:
        super().__init__(parent)
        self.job = job
        self.outcome: tuple[Any, Exception | None] | None = None
        self._told = False
        self.thread_ = QThread(self)
        self.thread_.setObjectName(f"job {job.title}"[:40])
        self.worker = JobWorker(job.fn, job.context)
        self.worker.moveToThread(self.thread_)
        self.worker.finished.connect(self._keep)
        self.thread_.started.connect(self.worker.run)
        self.thread_.finished.connect(self._finished)

    @Slot(object)
    def _keep(self, outcome: object) -> None:
        self.outcome = cast(tuple[Any, Exception | None], outcome)
        self._maybe_over()

    @Slot()
    def _finished(self) -> None:
        self._maybe_over()

    def _maybe_over(self) -> None:
        # The result and the end of the thread come by two ways; both must have arrived.
        if not self._told and self.outcome is not None and self.thread_.isFinished():
            self._told = True
            self.over.emit(self)


class JobRunner(QObject):
    """Starts jobs, a few at a time, and calls back on the window's thread.

    Signals:
        changed(): A job was added, went on or ended.
        failed(object): ``(title, exception)`` of a job that has no ``on_error``.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None, *, at_once: int = 3) -> None:
        super().__init__(parent)
        self._at_once = at_once
        self._waiting: deque[Job[Any]] = deque()
        self._running: list[_Running] = []
        self._closed = False

    @property
    def jobs(self) -> tuple[Job[Any], ...]:
        """All jobs that are running or waiting, oldest first."""
        return (*(each.job for each in self._running), *self._waiting)

    def start(
        self,
        fn: Callable[[JobContext], T],
        title: str,
        on_done: Callable[[T], None],
        on_error: Callable[[Exception], None] | None = None,
        *,
        key: str = "",
    ) -> Job[T]:
        """Run a function off the window's thread.

        Args:
            fn: The work. It gets a `JobContext`, must touch no widget, and may raise.
            title: What the user reads while it runs.
            on_done: Called with its result on the window's thread; not called if it failed or was cancelled.
            on_error: Called with what it raised; without it the window shows an error. Not called after a cancel.
            key: A job with the same key that is still there is cancelled and its result dropped: for work that is
                asked for anew with each keystroke.
        """
        if key:
            for job in self.jobs:
                if job.key == key:
                    job.cancel()
        job = Job(fn, title, on_done, on_error, key, self)
        job.changed.connect(self.changed)
        if self._closed:
            job.state = "cancelled"
            return job
        self._waiting.append(job)
        self._fill()
        self.changed.emit()
        return job

    def shut_down(self, timeout: float = 2.5) -> bool:
        """Cancel all jobs and wait for their threads; nothing is called back any more.

        Args:
            timeout: Seconds to wait in all.

        Returns:
            Whether every thread has ended.
        """
        self._closed = True
        self._waiting.clear()
        for each in self._running:
            each.job.cancel()
        deadline = time.monotonic() + timeout
        waits = [each.thread_.wait(max(1, int((deadline - time.monotonic()) * 1000))) for each in self._running]
        ended = all(waits)
        if ended:
            # Deliver what the threads had posted, so that no event outlives its receiver.
            QCoreApplication.sendPostedEvents()
        return ended

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._at_once:
            job = self._waiting.popleft()
            if job.cancelling:
                self._end(job, "cancelled")
                continue
            job.state = "running"
            job.started = time.monotonic()
            running = _Running(job, self)
            running.over.connect(self._over)
            self._running.append(running)
            running.thread_.start()

    @Slot(object)
    def _over(self, ended: object) -> None:
        running = cast(_Running, ended)
        self._running.remove(running)
        job, outcome = running.job, running.outcome
        running.deleteLater()
        result, error = outcome if outcome is not None else (None, None)
        try:
            if self._closed or (job.cancelling and (error is not None or job.key)):
                self._end(job, "cancelled")
            elif error is not None:
                self._fail(job, error)
            else:
                # A job that was cancelled too late has done its work: its result counts.
                job.state = "done"
                job.on_done(result)
                self._end(job, "done")
        finally:
            self._fill()
            self.changed.emit()

    def _fail(self, job: Job[Any], error: Exception) -> None:
        log.info("job %r failed", job.title, exc_info=error)
        job.state = "failed"
        if job.on_error is not None:
            job.on_error(error)
        else:
            self.failed.emit((job.title, error))
        self._end(job, "failed")

    def _end(self, job: Job[Any], state: JobState) -> None:
        job.state = state
        if not self._closed:
            job.ended.emit(job)
        job.deleteLater()
