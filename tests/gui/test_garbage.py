"""Parts of the window that nothing holds any more are destroyed on the window's thread, whoever makes garbage."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QVBoxLayout
from pytestqt.qtbot import QtBot

from tlstudio.gui.garbage import GarbageCollection
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.state import AppState


class Forgotten(QDialog):
    """Holds itself by a slot, as a dialog does whose button is connected to a lambda."""

    def __init__(self, destroyed_on: list[threading.Thread]) -> None:
        super().__init__()
        label = QLabel("Nobody knows of me.")
        QVBoxLayout(self).addWidget(label)
        self.close_it = lambda: self.close()
        label.destroyed.connect(
            lambda: destroyed_on.append(threading.current_thread()), Qt.ConnectionType.DirectConnection
        )


@pytest.fixture
def python_collects() -> Iterator[None]:
    """Python looks for garbage by itself, as it does when the program starts."""
    gc.enable()
    yield
    gc.disable()


def make_garbage(count: int) -> None:
    """Make cycles that nothing holds."""
    for _ in range(count):
        cycle: list[object] = []
        cycle.append(cycle)


def test_a_forgotten_dialog_is_destroyed_on_the_thread_of_the_window_while_a_job_makes_garbage(
    qapp: QApplication, qtbot: QtBot, python_collects: None
) -> None:
    collection = GarbageCollection()
    collection.start()
    destroyed_on: list[threading.Thread] = []
    Forgotten(destroyed_on)
    job = threading.Thread(target=make_garbage, args=(50_000,), name="job")
    job.start()
    job.join()
    assert destroyed_on == [], "it was destroyed before the window looked"
    qtbot.waitUntil(lambda: bool(destroyed_on), timeout=10_000)
    assert destroyed_on == [threading.main_thread()]
    collection.stop()


def test_cycles_are_collected_while_the_search_of_python_is_off(
    qapp: QApplication, qtbot: QtBot, python_collects: None
) -> None:
    collection = GarbageCollection()
    collection.start()
    make_garbage(50_000)
    assert gc.get_count()[0] > 50_000
    qtbot.waitUntil(lambda: gc.get_count()[0] < 50_000, timeout=10_000)
    collection.stop()


def test_what_is_old_is_looked_through_once_it_has_grown_by_a_quarter(
    qapp: QApplication, qtbot: QtBot, python_collects: None
) -> None:
    gc.collect()
    gc.freeze()
    searches: list[int] = []

    def note(phase: str, told: dict[str, int]) -> None:
        if phase == "stop" and not gc.isenabled():
            searches.append(told["generation"])

    collection = GarbageCollection()
    collection.start()
    gc.callbacks.append(note)
    kept: list[list[object]] = []
    try:
        while 2 not in searches and len(searches) < 500:
            kept.extend([] for _ in range(1_000))
            collection._timer.timeout.emit()
    finally:
        gc.callbacks.remove(note)
        collection.stop()
    assert searches.count(2) == 1
    assert searches.count(0) > searches.count(1) > 1


def test_the_window_takes_over_and_gives_back_when_it_closes(state: AppState, python_collects: None) -> None:
    window = MainWindow(state)
    assert not gc.isenabled()
    window.close_now()
    assert gc.isenabled()
    window.deleteLater()
