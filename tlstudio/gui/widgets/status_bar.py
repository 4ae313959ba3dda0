"""The bar at the bottom: the last message, and what is under way with time left and cancel."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.figures import duration_text
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import Job

HEIGHT = 28
SHOW_AFTER = 0.4
"""Seconds after which a job is worth showing."""
SHOW_FOR = 60.0
"""Seconds for which a message stays: one of long ago would be taken for one of now."""


class StatusBar(QFrame):
    """Message and 'Details' at the left; the oldest job (or the run, on other pages) at the right.

    Signals:
        details_wanted(str, str): 'Details' of this message was clicked.
    """

    details_wanted = Signal(str, str)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("statusbar")
        self.setProperty("role", "statusbar")
        self.setFixedHeight(HEIGHT + 1)
        self._state = state
        self._details = ""
        self._message = text_label("", "small", "statusbar_message", elide=True)
        self._message.setAccessibleName(self.tr("Last message"))
        self._details_button = push_button(self.tr("Details"), "link", "statusbar_details")
        self._task = text_label("", "small", "statusbar_task")
        self._bar = QProgressBar()
        self._bar.setObjectName("statusbar_progress")
        self._bar.setAccessibleName(self.tr("Progress"))
        self._bar.setFixedWidth(160)
        self._bar.setTextVisible(False)
        self._left = text_label("", "small", "statusbar_time_left")
        self._cancel = push_button(self.tr("Cancel"), "link", "statusbar_cancel")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(20, 0, 16, 0)
        layout.setSpacing(8)
        layout.addWidget(self._message, 1)
        for widget in (self._details_button, self._task, self._bar, self._left, self._cancel):
            layout.addWidget(widget)
            widget.hide()
        self._shown: Job[Any] | None = None
        self._clock = QTimer(self)
        self._clock.setInterval(250)
        self._clock.timeout.connect(self.refresh)
        self._details_button.clicked.connect(self._want_details)
        self._cancel.clicked.connect(self._cancel_job)
        self._fade = QTimer(self)
        self._fade.setSingleShot(True)
        self._fade.setInterval(round(SHOW_FOR * 1000))
        self._fade.timeout.connect(self.clear)
        state.project_changed.connect(self.clear)
        state.message.connect(self.show_message)
        state.jobs.changed.connect(self.refresh)
        state.run_state_changed.connect(self.refresh)

    @property
    def text(self) -> str:
        """The message that is shown."""
        return self._message.text()

    @Slot(str, str)
    def show_message(self, text: str, details: str = "") -> None:
        """Show a sentence; with details behind it there is a link to them."""
        self._details = details
        self._message.setText(text)
        self._details_button.setVisible(bool(details))
        if text:
            self._fade.start()
        else:
            self._fade.stop()

    @Slot()
    def clear(self) -> None:
        """Take the message away: it is old, or speaks of another project."""
        self.show_message("")

    @Slot()
    def refresh(self) -> None:
        """Show the oldest job that has been running for a while, else the run."""
        import time

        jobs = [job for job in self._state.jobs.jobs if job.state == "running"]
        due = [job for job in jobs if time.monotonic() - job.started >= SHOW_AFTER]
        self._shown = due[0] if due else None
        run = self._state.run_state
        if self._shown is not None:
            job = self._shown
            text = self.tr("Cancelling…") if job.cancelling else job.text or job.title
            self._show_task(text, job.done / job.total if job.total else None, job.seconds_left)
            self._cancel.setVisible(True)
            self._cancel.setEnabled(not job.cancelling)
        elif run.active:
            self._show_task(run.text, run.fraction, run.seconds_left)
            self._cancel.setVisible(False)
        else:
            for widget in (self._task, self._bar, self._left, self._cancel):
                widget.hide()
        if jobs and not self._clock.isActive():
            self._clock.start()
        elif not jobs:
            self._clock.stop()

    def _show_task(self, text: str, fraction: float | None, seconds_left: float | None) -> None:
        self._task.setText(text)
        self._bar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self._bar.setValue(round(fraction * 1000))
        self._left.setText("" if seconds_left is None else self.tr("{0} left").format(duration_text(seconds_left)))
        self._task.show()
        self._bar.show()
        self._left.setVisible(seconds_left is not None)

    @Slot()
    def _cancel_job(self) -> None:
        if self._shown is not None:
            self._shown.cancel()

    @Slot()
    def _want_details(self) -> None:
        self.details_wanted.emit(self.text, self._details)
