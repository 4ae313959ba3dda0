"""What the window logs, and what becomes of a start that crashed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QAbstractButton, QApplication, QPlainTextEdit
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_jobs
from tlstudio.gui.errors import report_of
from tlstudio.gui.log_files import FILES, LOG_NAME, MAX_BYTES, Crash, LogFiles, StartMark, take_crash
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.dialogs import TextSheet
from tlstudio.gui.widgets.error_card import ErrorCard
from tlstudio.privacy import without_secrets
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project

CRASHING = """
import sys, threading, warnings
from pathlib import Path
from PySide6.QtCore import QObject, QThread, QTimer, Signal, qWarning
from tlstudio.gui.app import main

class Sender(QObject):
    sent = Signal()

class Thread(QThread):
    def run(self):
        raise ValueError("raised in QThread.run")

class Gone:
    def __del__(self):
        raise ValueError("raised while going away")

def raising(where):
    def do():
        raise ValueError(f"raised in {where}")
    return do

def on_shown(window):
    window.sender, window.thread_ = Sender(), Thread()
    window.sender.sent.connect(raising("a slot"))
    QTimer.singleShot(0, window.sender.sent.emit)
    QTimer.singleShot(10, window.thread_.start)
    QTimer.singleShot(20, lambda: threading.Thread(target=raising("a thread")).start())
    QTimer.singleShot(30, lambda: qWarning("said by Qt"))
    QTimer.singleShot(40, Gone)
    QTimer.singleShot(50, lambda: end(window))

def end(window):
    log = Path(sys.argv[1], "logs", "studio.log").read_text("utf-8")
    if not all(part in log for part in ("a slot", "a thread", "QThread.run", "going away", "said by Qt")):
        QTimer.singleShot(50, lambda: end(window))
    elif "crash" in sys.argv:
        crash()
    else:
        window.close()

def crash():
    import ctypes
    ctypes.string_at(0)

main(Path(sys.argv[1]), on_shown)
"""


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogFiles]:
    made = LogFiles(tmp_path / "home")
    yield made
    made.close()


def test_the_log_goes_into_the_open_project_and_else_into_the_user_s_folder(logs: LogFiles, tmp_path: Path) -> None:
    log = logging.getLogger("tlstudio.test")
    log.error("without a project")
    logs.write_to(tmp_path / "project")
    log.error("with one")
    logs.write_to(None)
    log.error("without again")
    home, project = ((tmp_path / name / "logs" / LOG_NAME).read_text("utf-8") for name in ("home", "project"))
    assert "with one" in project
    assert "without" not in project
    assert "without a project" in home
    assert "without again" in home


def test_the_log_takes_no_more_than_five_files_of_a_megabyte(logs: LogFiles, tmp_path: Path) -> None:
    log = logging.getLogger("tlstudio.test")
    for _ in range(8 * MAX_BYTES // 100_000):
        log.error("x" * 100_000)
    files = list((tmp_path / "home" / "logs").iterdir())
    assert len(files) == FILES
    assert all(file.stat().st_size <= MAX_BYTES for file in files)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    logs = LogFiles(tmp_path / "home")
    assert logs.folder is None
    logs.close()


def run_window(home: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TLSTUDIO_HOME": str(home), "MY_API_TOKEN": "hush-hush-hush"}
    command = [sys.executable, "-c", CRASHING, str(project), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False, timeout=120)


def test_everything_that_goes_wrong_ends_in_the_log_and_a_crash_is_offered_once(
    project: Project, tmp_path: Path
) -> None:
    project.close()
    home = tmp_path / "home"
    ended = run_window(home, project.folder, "crash")
    assert ended.returncode != 0
    log = (project.folder / "logs" / LOG_NAME).read_text("utf-8")
    for said in ("a slot", "QThread.run", "a thread"):
        assert f"ValueError: raised in {said}" in log
    assert "ValueError: raised while going away" in log
    assert "tlstudio.qt: said by Qt" in log

    crash = take_crash(home)
    assert crash is not None
    assert crash.log == project.folder / "logs"
    assert "in crash" in crash.where
    report = crash.report({"MY_API_TOKEN": "ValueError"})
    assert "in crash" in report
    assert "said by Qt" in report
    assert "ValueError" not in report, "the value of a secret variable is left out"
    assert take_crash(home) is None

    assert run_window(home, project.folder).returncode == 0
    assert take_crash(home) is None, "a clean end leaves no mark"


def test_a_start_that_is_going_on_is_no_crash(tmp_path: Path) -> None:
    mark = StartMark(tmp_path)
    try:
        assert take_crash(tmp_path) is None
    finally:
        mark.remove()
    assert list((tmp_path / "starts").iterdir()) == []


def test_the_report_says_not_who_the_user_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    text = "/home/ada/birds by ada, not adamant; token hush-hush"
    assert without_secrets(text, {"A_TOKEN": "hush-hush", "PATH": "/bin"}) == (
        "~/birds by <user>, not adamant; token <secret>"
    )


def test_the_window_offers_the_report_of_a_crash_until_it_is_dismissed(
    window: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / LOG_NAME).write_text("the last line", encoding="utf-8")
    window.offer_report(Crash(0.0, tmp_path / "logs", "Fatal Python error: Segmentation fault"))
    assert window.notices.isVisible()
    click(window, "notice_crash_1", qtbot)
    assert "Segmentation fault" in QApplication.clipboard().text()
    assert "the last line" in QApplication.clipboard().text()
    click(window, "notice_crash_0", qtbot)
    sheet = window.findChild(TextSheet)
    assert isinstance(sheet, TextSheet)
    box = sheet.findChild(QPlainTextEdit)
    assert isinstance(box, QPlainTextEdit)
    assert "Segmentation fault" in box.toPlainText()
    sheet.close()
    click(window, "notice_crash_dismiss", qtbot)
    assert not window.notices.isVisible()


def with_an_interrupted_run(trained: Path, folder: Path) -> tuple[Path, Path]:
    """Copy a project with a run whose process is gone; returns its folder, and what the run says of itself."""
    from tests.gui.trained import copied

    folder = copied(trained, folder)
    record = next(folder.glob("runs/*-full")) / "run.json"
    said = json.loads(record.read_text("utf-8"))
    gone = {"pid": 2**22 + 1, "started": 0.0, "host": said["process"]["host"]}
    record.write_text(json.dumps({**said, "status": "running", "process": gone}), encoding="utf-8")
    return folder, record


def test_an_interrupted_run_is_told_once_when_its_project_is_opened(
    window: MainWindow, state: AppState, trained: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    folder, _ = with_an_interrupted_run(trained, tmp_path / "copy")
    state.open_project(folder)
    wait_for_jobs(state, qtbot)
    assert window.notices.isVisible()
    assert "was interrupted" in window.notices.accessibleName()
    state.runs_changed.emit()
    assert window.notices.isVisible()
    click(window, "notice_interrupted_1", qtbot)
    assert window.page == "runs"
    assert not window.notices.isVisible()
    wait_for_jobs(state, qtbot)
    button = window.findChild(QAbstractButton, "run_go_on")
    assert isinstance(button, QAbstractButton)
    assert button.isVisible()
    state.close_project()
    state.open_project(folder)
    wait_for_jobs(state, qtbot)
    assert not window.notices.isVisible()


def test_an_interrupted_run_that_goes_on_is_told_no_more(
    window: MainWindow, state: AppState, trained: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    folder, record = with_an_interrupted_run(trained, tmp_path / "copy")
    state.open_project(folder)
    wait_for_jobs(state, qtbot)
    assert window.notices.isVisible()
    goes_on = json.loads(record.read_text("utf-8")) | {"process": ProcessMark.of(os.getppid()).to_json()}
    record.write_text(json.dumps(goes_on), encoding="utf-8")
    state.runs_changed.emit()
    assert not window.notices.isVisible()
    wait_for_jobs(state, qtbot)


def test_details_and_reports_in_the_window_tell_no_secret(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-to-be-told")
    window._show_details("The run has failed.", "the hub refuses not-to-be-told")
    sheet = window.findChild(TextSheet)
    assert isinstance(sheet, TextSheet)
    click(sheet, "details_dialog_copy", qtbot)
    box = sheet.findChild(QPlainTextEdit)
    assert isinstance(box, QPlainTextEdit)
    card = ErrorCard("some_error", window.state, "Failed")
    qtbot.addWidget(card)
    card.show_error("The run has failed.", "ValueError: the hub refuses not-to-be-told")
    report = report_of(ValueError("the hub refuses not-to-be-told"))
    for text in (box.toPlainText(), QApplication.clipboard().text(), card._traceback, report):
        assert "the hub refuses <secret>" in text
    sheet.close()
