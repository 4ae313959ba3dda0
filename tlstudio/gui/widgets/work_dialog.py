"""A dialog whose work goes on off the window's thread: how far it is, and Cancel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QDialog, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from tlstudio.api import TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import Job, JobContext
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

Work = Callable[[Project, Registry, JobContext], Any]


class WorkDialog(QDialog):
    """A title, what a dialog has to show, how far its work is, and its buttons.

    Args:
        state: What the pages share.
        name: Object name, and what those of its parts begin with.
        title: Title of the window.
        heading: What stands above.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, name: str, title: str, heading: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWindowTitle(title)
        self.setAccessibleName(title)
        self.setModal(True)
        self._state = state
        self._job: Job[Any] | None = None
        self._waiting: tuple[QWidget, ...] = ()
        self._bar = QProgressBar()
        self._bar.setObjectName(f"{name}_progress")
        self._bar.setAccessibleName(self.tr("Progress"))
        self._bar.setTextVisible(False)
        self._what = text_label("", "second", f"{name}_progress_text", elide=True)
        self.close_button = push_button(self.tr("Close"), "quiet", f"{name}_close")
        self.close_button.clicked.connect(self._leave)
        self.body = QVBoxLayout()
        self.body.setSpacing(12)
        self._foot = QHBoxLayout()
        self._foot.setSpacing(8)
        self._foot.addWidget(self._bar, 1)
        self._foot.addWidget(self._what, 2)
        self._foot.addStretch(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(text_label(heading, "title", f"{name}_title"))
        layout.addLayout(self.body, 1)
        layout.addLayout(self._foot)
        self._show_progress()

    def add_buttons(self, *buttons: QPushButton, also: tuple[QWidget, ...] = ()) -> None:
        """Put buttons at the foot; they, and other widgets, wait while something is under way."""
        self._waiting = (*buttons, *also)
        for button in (self.close_button, *buttons):
            self._foot.addWidget(button)

    def work(self, title: str, work: Work, done: Callable[[Any], None]) -> None:
        """Run something off the window's thread.

        Args:
            title: What it is, for people.
            work: Is given the project, the components and its job's context.
            done: Called with what it returned, unless it was cancelled or has failed.
        """
        project, registry = self._state.project, self._state.registry
        if project is None or self._job is not None:
            return
        for widget in self._waiting:
            widget.setEnabled(False)
        self._job = job = self._state.jobs.start(
            lambda context: work(project, registry, context), title, done, self._state.show_error, key=self.objectName()
        )
        job.changed.connect(self._show_progress)
        job.ended.connect(self._settle)
        # One that was cancelled too late has made its run nonetheless; the dialog may be gone by then.
        job.ended.connect(partial(_show_what_was_made, self._state))
        self._show_progress()

    @Slot()
    def _show_progress(self) -> None:
        job = self._job
        leave = self.tr("Close") if job is None else self.tr("Cancel")
        self.close_button.setText(leave)
        self.close_button.setAccessibleName(leave)
        self._bar.setVisible(job is not None)
        self._what.setVisible(job is not None)
        if job is not None:
            self._bar.setRange(0, job.total)
            self._bar.setValue(job.done)
            self._what.setText(self.tr("Stopping…") if job.cancelling else job.text or job.title)

    @Slot(object)
    def _settle(self, _job: object) -> None:
        self._job = None
        for widget in self._waiting:
            widget.setEnabled(True)
        self._show_progress()

    @Slot()
    def _leave(self) -> None:
        """Give up what is under way, or close."""
        if self._job is None:
            self.reject()
        else:
            self._job.cancel()

    def done(self, result: int) -> None:  # Qt override
        """Give up what is under way when the dialog closes."""
        if self._job is not None:
            self._job.cancel()
        super().done(result)


def _show_what_was_made(state: AppState, job: Job[Any]) -> None:
    if job.state == "cancelled":
        state.runs_changed.emit()


def reporting(context: JobContext) -> Callable[[str, int, int], None]:
    """What the engine tells its progress to; it gives up there once that was asked for."""

    def report(what: str, done: int, total: int) -> None:
        if context.cancelled():
            raise TLStudioError("It was cancelled.")  # nobody hears of a job that was cancelled
        context.progress(done, total, what)

    return report
