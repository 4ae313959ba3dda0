"""A real window on real parts; what Qt complains of, or what is left behind, fails the test."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QSettings, Qt, QThread, QTimer, QtMsgType
from PySide6.QtWidgets import QAbstractButton, QApplication, QWidget
from pytestqt.logging import Record
from pytestqt.qtbot import QtBot

from tests.gui.trained import copied, make_trained
from tlstudio.gui.app import build_window, make_application
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.place_box import RUNS_IN
from tlstudio.plugins import PluginManager, Registry

HARMLESS = (
    # The platform that has no screen says so of size hints and of raising a window.
    "This plugin does not support",
)
GRAVE = (QtMsgType.QtWarningMsg, QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg)


@pytest.fixture(scope="session")
def manager() -> PluginManager:
    """The bundled plugins. What takes long to import is imported here once, so that no job of a test waits for it."""
    importlib.import_module("tlstudio.engine.advise")
    importlib.import_module("tlstudio.engine.execute")
    manager = PluginManager()
    manager.discover()
    return manager


@pytest.fixture(scope="session")
def frozen() -> Iterator[None]:
    """What outlives a test, libraries above all, may be left out where garbage is looked for after each."""
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, frozen: None
) -> Iterator[None]:
    """Fail if Qt warned, or if a thread, a timer or a window is left."""
    threads: list[QThread] = []
    timers: list[QTimer] = []
    start_thread, start_timer = QThread.start, QTimer.start

    def note_thread(self: QThread, *args: Any) -> None:
        threads.append(self)
        start_thread(self, *args)

    def note_timer(self: QTimer, *args: Any) -> None:
        timers.append(self)
        start_timer(self, *args)

    monkeypatch.setattr(QThread, "start", note_thread)
    monkeypatch.setattr(QTimer, "start", note_timer)
    before = set(qapp.topLevelWidgets())
    gc.disable()  # a part of a window would be destroyed on whichever thread happens to look for garbage
    log = request.getfixturevalue("qtlog")
    yield
    qapp.clipboard().clear()  # what Python has put there may not outlive it: Qt lets go of it only at the very end
    gc.collect()
    gc.freeze()  # looking through all libraries would take a third of a second after each test
    gc.enable()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    said = [record.message for record in log.records if _is_grave(record)]
    assert not said, f"Qt said: {said}"
    running = [thread.objectName() for thread in threads if shiboken6.isValid(thread) and thread.isRunning()]
    assert not running, f"threads are left: {running}"
    active = [timer for timer in timers if shiboken6.isValid(timer) and timer.isActive()]
    assert not active, f"timers are left: {[timer.parent() for timer in active]}"
    left = [widget for widget in qapp.topLevelWidgets() if widget not in before and widget.isVisible()]
    assert not left, f"windows are left: {left}"


def _is_grave(record: Record) -> bool:
    return record.type in GRAVE and not any(part in record.message for part in HARMLESS)


@pytest.fixture
def state(
    qapp: QApplication, tmp_path: Path, manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AppState]:
    """What the pages share, with settings of its own."""
    monkeypatch.setenv("TLSTUDIO_HOME", str(tmp_path / "home"))
    make_application([])
    settings = QSettings(str(tmp_path / "home" / "window.ini"), QSettings.Format.IniFormat)
    settings.setValue(RUNS_IN, "window")  # a process takes seconds to start; a test that wants one says so
    made = AppState(manager, settings)
    made.set_theme_choice("light")
    yield made
    assert made.close(), "a job is left"
    made.deleteLater()


@pytest.fixture
def window(state: AppState, qtbot: QtBot) -> Iterator[MainWindow]:
    """The window with all its pages, shown."""
    made = build_window(state)
    made.resize(1366, 768)
    made.show()
    qtbot.waitExposed(made)
    yield made
    made.close()
    qtbot.waitUntil(lambda: not made.isVisible())
    made.deleteLater()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """A project with two runs, trained once for all tests; they work on copies."""
    return make_trained(tmp_path_factory.mktemp("trained"), registry)


@pytest.fixture
def trained_state(state: AppState, trained: Path, tmp_path: Path) -> AppState:
    """What the pages share, with a copy of that project open."""
    state.open_project(copied(trained, tmp_path / "copy"))
    return state


def click(widget: QWidget, name: str, qtbot: QtBot) -> None:
    """Press the button of this object name, which must be enabled."""
    button = widget.findChild(QAbstractButton, name)
    assert isinstance(button, QAbstractButton), name
    assert button.isEnabled(), name
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for_jobs(state: AppState, qtbot: QtBot) -> None:
    """Wait until no job is running or waiting, also none that another has started."""
    qtbot.waitUntil(lambda: not state.jobs.jobs, timeout=20_000)


def wait_for_end(page: TrainPanel, qtbot: QtBot) -> None:
    """Wait until the run of the Train page has ended."""
    qtbot.waitUntil(lambda: not page.active_run and page.live.ended is not None, timeout=120_000)
