"""What the window says by itself: a run that was interrupted or has ended, some that wait, a start that crashed."""

from __future__ import annotations

import os
from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication

from tlstudio.engine.events import RunEnded
from tlstudio.gui.log_files import Crash
from tlstudio.gui.run_reading import can_go_on
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.notice_bar import Action, Notice

INTERRUPTED = "interrupted"
QUEUED = "queued"
_TOLD = "project/interrupted_told"
_MOST_TOLD = 50


def interrupted_notice(state: AppState) -> Notice | None:
    """Lead to the newest run whose process ended without a word; `None` if there is none that was not told before."""
    project, settings = state.project, state.settings
    if project is None:
        return None
    told = str(settings.value(_TOLD, "")).split()
    found = next((run for run in project.runs() if run.status == "interrupted" and run.id not in told), None)
    if found is None or not can_go_on(project.run(found.id), found.status):
        return None

    def gone() -> None:
        settings.setValue(_TOLD, " ".join([*told, found.id][-_MOST_TOLD:]))

    def go_on() -> None:
        state.navigate.emit("train")  # the page hears the request only once it is there
        state.resume_requested.emit(found.id)

    def see() -> None:
        state.navigate.emit("runs")
        state.show_run.emit(found.id)

    text = _tr("{0} was interrupted. It can go on from its last checkpoint, as if nothing had happened.")
    actions = (Action(_tr("Go on"), go_on, closes=True), Action(_tr("See it"), see, closes=True))
    return Notice(INTERRUPTED, text.format(run_title(found.id, state.registry)), actions, gone)


def queued_notice(state: AppState) -> Notice | None:
    """Offer to go on with the queue; `None` if no run waits, or somebody works the queue off already."""
    queue, project = state.queue, state.project
    if project is None or not project.writable or queue.on or not queue.waiting:
        return None
    text = _tr("1 run is queued.") if queue.waiting == 1 else _tr("{0} runs are queued.").format(queue.waiting)
    actions = (
        Action(_tr("Start"), queue.start, closes=True),
        Action(_tr("See the runs"), lambda: state.navigate.emit("runs"), closes=True),
    )
    return Notice(QUEUED, text, actions)


def crash_notice(crash: Crash, show: Callable[[str, str], None]) -> Notice:
    """Offer the report of a start that did not come to its end.

    Args:
        crash: That start.
        show: Shows a text under a title.
    """
    report = crash.report(os.environ)
    actions = (
        Action(_tr("See report"), lambda: show(_tr("Report of the crash"), report)),
        Action(_tr("Copy"), lambda: QGuiApplication.clipboard().setText(report)),
        Action(_tr("Open folder"), lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(crash.log)))),
    )
    text = _tr("TL Studio ended unexpectedly the last time. Your projects are whole, and nothing was sent anywhere.")
    return Notice("crash", text, actions)


def told_end(ended: RunEnded) -> tuple[str, str]:
    """What the status bar says of a run that has ended, and the details of it."""
    match ended.status:
        case "failed":
            return _tr("The run has failed."), f"{ended.error}\n\n{ended.traceback}".strip()
        case "cancelled":
            return _tr("The run was cancelled."), ""
    return _tr("The run is done; its result is on the Runs page."), ""


def _tr(text: str) -> str:
    return QCoreApplication.translate("Notices", text)
