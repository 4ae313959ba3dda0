"""The window: names for every control, nothing clipped, shortcuts, what is remembered, closing."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, QSize, Qt, qWarning
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QSlider,
    QStackedWidget,
    QTabBar,
    QWidget,
)
from pytestqt.qtbot import QtBot

from tests.gui.conftest import wait_for_jobs
from tests.gui.test_project_page import click
from tests.gui.trained import QUICK, tiny_recipe
from tlstudio.api import DataError, Problem, ProblemsError
from tlstudio.gui.app import build_window
from tlstudio.gui.errors import UncaughtErrors, log_qt_message, report_of
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.pages import PAGES
from tlstudio.gui.state import AppState, RunState
from tlstudio.gui.widgets.dialogs import ErrorDialog
from tlstudio.gui.widgets.status_bar import StatusBar
from tlstudio.store.project import Project

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QSlider,
    QTabBar,
)


def own_controls(root: QWidget) -> list[QWidget]:
    """Controls that the studio has made; not those that Qt puts inside a combo box or a table."""
    found: list[QWidget] = []
    for widget in root.findChildren(QWidget):
        parents = []
        parent = widget.parentWidget()
        while parent is not None and parent is not root:
            parents.append(parent)
            parent = parent.parentWidget()
        inside = any(isinstance(each, (QComboBox, QAbstractSpinBox, QAbstractItemView, QLineEdit)) for each in parents)
        ours = not inside and not widget.objectName().startswith("qt_") and "PySide6" not in type(widget).__name__
        in_plot = any(type(each).__name__ in ("PlotWidget", "GraphicsLayoutWidget") for each in parents)
        if isinstance(widget, CONTROLS) and ours and not in_plot:
            found.append(widget)
    return found


def test_every_control_of_every_page_has_an_object_name_and_an_accessible_name(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    wait_for_jobs(state, qtbot)
    nameless = [
        f"{type(widget).__name__} {widget.objectName()!r} among {parent_name(widget)!r}"
        for widget in own_controls(window)
        if not widget.objectName() or not (widget.accessibleName() or text_of(widget) or is_put_away(widget))
    ]
    assert nameless == []


def test_no_text_is_clipped_on_any_page_at_1366_by_768(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    clipped = []
    for page in PAGES:
        window.go_to(page.name)
        wait_for_jobs(state, qtbot)
        clipped += [
            f"{page.name}: {widget.objectName()}: {widget.text()!r} {widget.size()}"
            for widget in window.panel(page.name).findChildren(QWidget)
            if isinstance(widget, (QLabel, QAbstractButton)) and widget.isVisible() and is_clipped(widget)
        ]
    assert clipped == []


def parent_name(widget: QWidget) -> str:
    parent = widget.parentWidget()
    return parent.objectName() if parent is not None else ""


def is_clipped(widget: QLabel | QAbstractButton) -> bool:
    """Whether it has less room than its text needs; a label that elides never is."""
    if not widget.text():
        return False
    if isinstance(widget, QLabel) and widget.wordWrap():
        return widget.height() < widget.heightForWidth(widget.width()) - 1
    if widget.height() < widget.minimumSizeHint().height() - 1:
        return True
    elides = widget.sizePolicy().horizontalPolicy() == QSizePolicy.Policy.Ignored
    return not elides and widget.width() < text_width(widget)


def text_of(widget: QWidget) -> str:
    return widget.text() if isinstance(widget, (QLabel, QAbstractButton, QLineEdit)) else ""


def is_put_away(widget: QWidget) -> bool:
    """Whether it, or the part of the page that it is in, is hidden until there is something to say."""
    current: QWidget | None = widget
    while current is not None and not isinstance(current.parentWidget(), QStackedWidget):
        if current.isHidden():
            return True
        current = current.parentWidget()
    return False


def text_width(widget: QLabel | QAbstractButton) -> int:
    lines = widget.text().replace("&", "").splitlines()
    return max(widget.fontMetrics().horizontalAdvance(line) for line in lines) - 1


def test_pages_are_reached_by_ctrl_and_a_number(window: MainWindow, qtbot: QtBot) -> None:
    keys = (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_4, Qt.Key.Key_5, Qt.Key.Key_6)
    window.activateWindow()
    for key, page in zip(keys, PAGES, strict=True):
        qtbot.keyClick(window, key, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda name=page.name: window.page == name)  # type: ignore[misc]


def test_help_opens_with_f1_and_tells_the_shortcuts(window: MainWindow, qtbot: QtBot) -> None:
    window.activateWindow()
    qtbot.keyClick(window, Qt.Key.Key_F1)
    dialog = window.findChild(QDialog, "help_dialog")
    assert isinstance(dialog, QDialog)
    texts = {label.text() for label in dialog.findChildren(QLabel)}
    assert {"Ctrl+N", "Ctrl+1", "F1"} <= texts
    assert {"images: Object detection", "texts: Question answering", "coco_boxes", "linear_probe"} <= texts
    available = QGuiApplication.primaryScreen().availableSize()
    assert dialog.sizeHint().height() <= available.height()
    dialog.close()


def test_geometry_page_and_project_are_remembered(
    state: AppState, qtbot: QtBot, tmp_path: Path, manager: object
) -> None:
    state.create_project(tmp_path / "one", "One")
    first = build_window(state)
    first.show()
    first.resize(QSize(960, 700))
    first.go_to("runs")
    wait_for_jobs(state, qtbot)
    first.close()
    qtbot.waitUntil(lambda: not first.isVisible())
    path = state.settings.fileName()

    again = AppState(state.manager, QSettings(path, QSettings.Format.IniFormat))
    assert again.recent_projects() == [tmp_path / "one"]
    assert again.settings.value("project/last") == str(tmp_path / "one")
    again.open_project(Path(str(again.settings.value("project/last"))))
    second = build_window(again)
    second.show()
    assert second.page == "runs"
    assert second.size() == QSize(960, 700)
    wait_for_jobs(again, qtbot)
    second.close()
    qtbot.waitUntil(lambda: not second.isVisible())
    for each in (first, second, again):
        each.deleteLater()


def test_closing_during_a_run_asks_and_then_keeps_its_checkpoint(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    wait_for_jobs(state, qtbot)
    training = {**QUICK, "epochs": 10_000, "checkpoint_every": 0}
    recipe = tiny_recipe(shapes_project, state.registry, training=training, strategy={"name": "full", "options": {}})
    state.request_training([recipe])
    checkpoints = shapes_project.runs_folder.glob
    qtbot.waitUntil(lambda: any(checkpoints("*/checkpoints/last/*")), timeout=60_000)

    window.close()
    assert window.isVisible()
    click(window, "close_question_no", qtbot)
    assert window.isVisible()
    assert state.run_state.active

    start = time.monotonic()
    window.close()
    qtbot.waitUntil(lambda: window.findChild(QAbstractButton, "close_question_yes") is not None)
    click(window, "close_question_yes", qtbot)
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=10_000)
    assert time.monotonic() - start < 5
    assert state.project is None
    assert any(checkpoints("*/checkpoints/last/*"))
    with Project.open(shapes_project.folder) as again:
        assert [run.status for run in again.runs()] == ["cancelled"]


def test_a_job_shows_its_progress_and_can_be_cancelled(window: MainWindow, state: AppState, qtbot: QtBot) -> None:
    import threading

    def work(context: object) -> None:
        from tlstudio.gui.workers import JobContext

        assert isinstance(context, JobContext)
        context.progress(1, 4, "Counting sheep")
        while not context.cancelled():
            threading.Event().wait(0.01)

    job = state.jobs.start(work, "Sheep", lambda _result: None)
    cancel = window.findChild(QAbstractButton, "statusbar_cancel")
    assert isinstance(cancel, QAbstractButton)
    qtbot.waitUntil(cancel.isVisible)
    task = window.findChild(QLabel, "statusbar_task")
    assert isinstance(task, QLabel)
    assert task.text() == "Counting sheep"
    qtbot.mouseClick(cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not state.jobs.jobs)
    qtbot.waitUntil(lambda: not cancel.isVisible())
    assert job.cancelling


def test_the_state_of_a_run_is_in_the_top_bar(window: MainWindow, state: AppState) -> None:
    chip = window.findChild(QLabel, "topbar_run")
    assert isinstance(chip, QLabel)
    assert not chip.isVisible()
    state.set_run_state(RunState("training", "Training 63 %", 0.63, 48.0))
    assert chip.isVisible()
    assert chip.text() == "Training 63 %"
    left = window.findChild(QLabel, "statusbar_time_left")
    assert isinstance(left, QLabel)
    assert left.text() == "0:48 left"
    state.set_run_state(RunState())
    assert not chip.isVisible()


def test_a_message_with_details_has_a_link_to_them(window: MainWindow, state: AppState, qtbot: QtBot) -> None:
    state.message.emit("Two items were left out.", "a.png\nb.png")
    bar = window.findChild(StatusBar, "statusbar")
    assert isinstance(bar, StatusBar)
    assert bar.text == "Two items were left out."
    link = window.findChild(QAbstractButton, "statusbar_details")
    assert isinstance(link, QAbstractButton)
    qtbot.mouseClick(link, Qt.MouseButton.LeftButton)
    dialog = window.findChild(QDialog, "details_dialog")
    assert isinstance(dialog, QDialog)
    box = dialog.findChild(QPlainTextEdit)
    assert isinstance(box, QPlainTextEdit)
    assert box.toPlainText() == "a.png\nb.png"
    dialog.close()


def test_a_message_goes_with_its_project_and_after_a_while(
    window: MainWindow, state: AppState, project: Project, qtbot: QtBot
) -> None:
    bar = window.findChild(StatusBar, "statusbar")
    assert isinstance(bar, StatusBar)
    state.message.emit("The run was cancelled.", "")
    state.set_project(project)
    assert bar.text == ""
    bar._fade.setInterval(1)
    state.message.emit("Saved a.toml.", "/tmp/a.toml")
    qtbot.waitUntil(lambda: bar.text == "")
    link = window.findChild(QAbstractButton, "statusbar_details")
    assert isinstance(link, QAbstractButton)
    assert not link.isVisible()
    wait_for_jobs(state, qtbot)


def test_an_error_of_the_user_is_a_sentence_and_a_bug_has_a_report(
    window: MainWindow, state: AppState, qtbot: QtBot
) -> None:
    state.show_error(DataError("reviews.csv has no column 'label'.", "Choose another column."))
    dialog = window.findChild(ErrorDialog, "error_dialog")
    assert isinstance(dialog, ErrorDialog)
    assert dialog.sentence.text() == "reviews.csv has no column 'label'."
    assert dialog.findChild(QPlainTextEdit) is None
    dialog.close()
    qtbot.waitUntil(lambda: window.findChild(ErrorDialog, "error_dialog") is None)

    state.show_error(ZeroDivisionError("division by zero"))
    dialog = window.findChild(ErrorDialog, "error_dialog")
    assert isinstance(dialog, ErrorDialog)
    copy = dialog.findChild(QAbstractButton, "error_dialog_copy")
    assert isinstance(copy, QAbstractButton)
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert "ZeroDivisionError" in QGuiApplication.clipboard().text()
    dialog.close()


def test_all_problems_of_a_form_are_told_at_once(window: MainWindow, state: AppState) -> None:
    problems = [Problem("training.epochs", "0 is not allowed."), Problem("backbone.name", "There is no such backbone.")]
    state.show_error(ProblemsError("The recipe has 2 mistakes.", problems))
    dialog = window.findChild(ErrorDialog, "error_dialog")
    assert isinstance(dialog, ErrorDialog)
    remedy = dialog.findChild(QLabel, "error_dialog_remedy")
    assert isinstance(remedy, QLabel)
    assert "training.epochs" in remedy.text()
    assert "backbone.name" in remedy.text()
    dialog.close()


def test_the_report_of_a_bug_has_versions_and_traceback() -> None:
    try:
        raise KeyError("gone")
    except KeyError as error:
        report = report_of(error, doing="opening a project")
    assert "TL Studio" in report
    assert "While: opening a project" in report
    assert "KeyError: 'gone'" in report


def test_an_error_that_nobody_caught_is_shown(qtbot: QtBot, caplog: pytest.LogCaptureFixture) -> None:
    import sys

    errors = UncaughtErrors()
    try:
        with qtbot.waitSignal(errors.caught) as caught, caplog.at_level(logging.ERROR):
            sys.excepthook(ValueError, ValueError("lost"), None)
    finally:
        errors.restore()
    assert caught.args is not None
    assert str(caught.args[0]) == "lost"
    errors.deleteLater()


def test_messages_of_qt_go_to_python_s_logging(caplog: pytest.LogCaptureFixture) -> None:
    from PySide6.QtCore import qInstallMessageHandler

    before = qInstallMessageHandler(log_qt_message)
    try:
        with caplog.at_level(logging.WARNING, "tlstudio.qt"):
            qWarning("something is odd")
    finally:
        qInstallMessageHandler(before)
    assert "something is odd" in caplog.text
