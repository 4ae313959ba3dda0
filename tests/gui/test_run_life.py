"""A run outlives its page, its window and its process: it is gone on with, left, followed again, and ended in time."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QDialog
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_jobs
from tests.gui.trained import QUICK, tiny_recipe
from tlstudio.engine.events import Paused, Resumed
from tlstudio.gui import main_window, run_closing
from tlstudio.gui.app import build_window
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.run_work import LONG_SECONDS, Place, takes_process
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.place_box import RUNS_IN, PlaceBox
from tlstudio.gui.widgets.status_bar import StatusBar
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project
from tlstudio.store.run import Run

LONG = 60_000
ENDLESS = {**QUICK, "epochs": 100_000, "checkpoint_every": 0}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not fail a test; how long a window takes is tried by the self-test."""
    monkeypatch.setattr(run_closing, "LEAVE_AFTER_MS", LONG)
    monkeypatch.setattr(main_window, "CLOSES_WITHIN", LONG / 1000)


@pytest.mark.parametrize(
    ("place", "seconds", "expected"),
    [
        ("automatic", None, False),
        ("automatic", LONG_SECONDS, False),
        ("automatic", LONG_SECONDS + 1, True),
        ("window", 1e6, False),
        ("process", None, True),
    ],
)
def test_long_runs_get_a_process_unless_the_user_says_otherwise(
    place: Place, seconds: float | None, expected: bool
) -> None:
    assert takes_process(place, seconds) is expected


def test_the_page_says_that_a_run_gets_a_process(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    window.go_to("train")
    page = page_of(window)
    qtbot.waitUntil(lambda: not page.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert not any("process of its own" in note for note in page.ready.problems)
    page.setup.place.box.setCurrentIndex(page.setup.place.box.findData("process"))
    page.setup.place.box.activated.emit(page.setup.place.box.currentIndex())
    assert any("process of its own" in note for note in page.ready.problems)


def page_of(window: MainWindow) -> TrainPanel:
    page = window.panel("train")
    assert isinstance(page, TrainPanel)
    return page


def run_of(state: AppState) -> Run:
    assert state.project is not None
    return state.project.run(state.project.runs()[0].id)


def begin(window: MainWindow, place: Place, qtbot: QtBot) -> TrainPanel:
    """Start a run that would take for ever, and wait for its first epoch."""
    state, page = window.state, page_of(window)
    assert state.project is not None
    window.go_to("train")
    qtbot.waitUntil(lambda: not page.draft.pending, timeout=LONG)
    page.setup.place.box.setCurrentIndex(page.setup.place.box.findData(place))
    page.start(tiny_recipe(state.project, state.registry, strategy={"name": "full"}, training=ENDLESS))
    qtbot.waitUntil(lambda: page.live.story.epoch is not None, timeout=LONG)
    return page


def points_of(runs: RunsPanel) -> int:
    return len(runs.view.curves.loss_plot.curve("train").x) if runs.view is not None else 0


def wait_for_step(page: TrainPanel, number: int, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: page.live.story.step is not None and page.live.story.step.step >= number, timeout=LONG)


def test_where_runs_go_is_remembered(state: AppState, qtbot: QtBot) -> None:
    state.settings.remove(RUNS_IN)
    place = PlaceBox(state)
    qtbot.addWidget(place)
    assert place.place == "automatic"
    place.box.setCurrentIndex(place.box.findData("process"))
    place.box.activated.emit(place.box.currentIndex())
    again = PlaceBox(state)
    qtbot.addWidget(again)
    assert again.place == "process"


def test_a_cancelled_run_goes_on_from_its_end_card_and_from_the_runs_page(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    page = begin(window, "window", qtbot)
    for number in range(2):
        with qtbot.waitSignal(state.runs_changed, timeout=LONG):
            page.driver.cancel()
        reached = page.live.story.step
        assert reached is not None
        if number == 0:
            click(page, "train_go_on", qtbot)
        else:
            window.go_to("runs")
            wait_for_jobs(state, qtbot)
            click(window, "run_go_on", qtbot)
            assert window.page == "train"
        wait_for_step(page, reached.step + 1, qtbot)
        assert page.live.loss_plot.curve("train").x[0] <= 1.0, "the curves of the past are there"
        assert page.live.story.run == run_of(state).id
    with qtbot.waitSignal(state.runs_changed, timeout=LONG):
        page.driver.cancel()
    assert len(shapes_project.runs()) == 1
    wait_for_jobs(state, qtbot)


def test_a_run_is_on_the_runs_page_as_soon_as_it_has_begun(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    state.message.emit("Saved a.toml.", "")
    page = begin(window, "window", qtbot)
    bar = window.findChild(StatusBar, "statusbar")
    assert isinstance(bar, StatusBar)
    assert bar.text == "", "what was said before the start is old"
    runs = window.panel("runs")
    assert isinstance(runs, RunsPanel)
    assert [run.status for run in runs.table.runs_model.runs] == ["running"]
    runs._again.setInterval(1)
    window.go_to("runs")
    qtbot.waitUntil(lambda: points_of(runs) > 0, timeout=LONG)
    seen = points_of(runs)
    qtbot.waitUntil(lambda: points_of(runs) > seen, timeout=LONG)
    window.go_to("train")
    with qtbot.waitSignal(state.runs_changed, timeout=LONG):
        page.driver.cancel()
    wait_for_jobs(state, qtbot)


def test_a_run_without_a_checkpoint_is_not_offered_to_go_on(trained_state: AppState, qtbot: QtBot) -> None:
    panel = RunsPanel(trained_state)
    qtbot.addWidget(panel)
    panel.show()
    wait_for_jobs(trained_state, qtbot)
    view = panel.view
    assert view is not None
    assert not view.kept.isVisible(), "a run that is done has nothing to go on with"
    run = run_of(trained_state)
    run.finish("failed", error="The disk is full.")
    run.last_checkpoint.rename(run.folder / "gone")
    panel.refresh()
    wait_for_jobs(trained_state, qtbot)
    assert view.details is not None
    assert not view.details.can_go_on
    assert not view.buttons["go_on"].isVisible()


def test_a_run_that_waits_for_room_says_for_what_and_can_only_be_ended(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    page = begin(window, "window", qtbot)
    assert page.driver.session is not None
    page.toggle_pause()
    qtbot.waitUntil(lambda: page.live.phase == "paused", timeout=LONG)
    buffer = page.driver.session.worker.buffer
    buffer.append(Paused("The checkpoint needs 12 MB, and the disk has 3 MB left. Make room."))
    qtbot.waitUntil(page.live.waiting_card.isVisible)
    assert "needs 12 MB" in page.live._waiting_text.text()
    assert not page.setup.foot.pause_button.isEnabled()
    assert page.setup.foot.stop_button.isEnabled()
    assert page.setup.foot.cancel_button.isEnabled()
    assert state.run_state.text.startswith("Waiting")
    buffer.append(Resumed())
    qtbot.waitUntil(lambda: not page.live.waiting_card.isVisible())
    assert page.setup.foot.pause_button.isEnabled()
    with qtbot.waitSignal(state.runs_changed, timeout=LONG):
        click(page, "train_cancel", qtbot)
    wait_for_jobs(state, qtbot)


def close_with(window: MainWindow, answer: str, qtbot: QtBot) -> None:
    """Close a window in which a run is under way, and wait until it is closed."""
    window.close()
    dialog = window.findChild(QDialog, "close_question")
    assert isinstance(dialog, QDialog)
    with qtbot.waitSignal(window.closed, timeout=LONG):
        click(dialog, f"close_question_{answer}", qtbot)
    assert window.all_ended


def test_a_window_leaves_a_process_alone_and_the_next_one_follows_it_and_ends_it(
    window: MainWindow, state: AppState, shapes_project: Project, manager: PluginManager, tmp_path: Path, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    page = begin(window, "process", qtbot)
    run = run_of(state)
    mark = run.own_process
    assert mark is not None
    click(page, "train_pause", qtbot)
    qtbot.waitUntil(lambda: page.live.phase == "paused", timeout=LONG)
    close_with(window, "yes", qtbot)
    assert mark.is_gone() is False
    assert run.status == "running"

    second = AppState(manager, QSettings(str(tmp_path / "second.ini"), QSettings.Format.IniFormat))
    other = build_window(second)
    other.show()
    second.open_project(shapes_project.folder)
    assert second.run_state.active
    following = page_of(other)
    qtbot.waitUntil(lambda: following.live.phase == "paused", timeout=LONG)
    assert following.live.story.epoch is not None, "what it said before is heard again"
    assert following.setup.foot.pause_button.accessibleName() == "Continue"
    before = following.live.story.step
    assert before is not None
    click(following, "train_pause", qtbot)
    wait_for_step(following, before.step + 1, qtbot)
    wait_for_jobs(second, qtbot)
    assert following.live._revision is not None
    close_with(other, "other", qtbot)
    assert run.status == "cancelled"
    assert run.last_checkpoint.is_dir()
    assert mark.is_gone()
    other.deleteLater()
    second.deleteLater()


def test_a_process_that_is_stuck_does_not_keep_the_window_from_closing(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    begin(window, "process", qtbot)
    run = run_of(state)
    mark = run.own_process
    assert mark is not None
    psutil.Process(mark.pid).suspend()
    close_with(window, "other", qtbot)
    assert mark.is_gone()
    assert run.status == "cancelled"
