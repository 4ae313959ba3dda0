"""Queued runs in the window: planned beside a run, started at a press, and gone on with when the window is closed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QAbstractButton, QDialog, QLabel
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_jobs
from tests.gui.trained import QUICK, TINY_VISION, tiny_recipe
from tlstudio.engine.run_queue import LOCK_NAME, OUTPUT_NAME, add_to_queue, is_worked_off
from tlstudio.gui import main_window, run_closing
from tlstudio.gui.app import build_window
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.dialogs import Question
from tlstudio.gui.widgets.status_bar import StatusBar
from tlstudio.plugins import PluginManager
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.store.run_record import RunSummary

LONG = 120_000
ONCE = {**QUICK, "epochs": 1}
ENDLESS = {**QUICK, "epochs": 100_000, "checkpoint_every": 0}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not fail a test."""
    monkeypatch.setattr(run_closing, "LEAVE_AFTER_MS", LONG)
    monkeypatch.setattr(main_window, "CLOSES_WITHIN", LONG / 1000)


@pytest.fixture
def queueing(window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot) -> Iterator[MainWindow]:
    """The window on the Train page with a recipe that trains in a second; at the end nobody works the queue off."""
    folder = shapes_project.folder
    state.set_project(shapes_project)
    window.go_to("train")
    page = page_of(window)
    page.draft.load({"dataset": {"name": "shapes", "revision": "r1"}, "backbone": TINY_VISION, "training": ONCE})
    qtbot.waitUntil(lambda: page.draft.result.can_start and not page.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)
    yield window
    with Project.open(folder, write=False) as project:
        qtbot.waitUntil(lambda: not is_worked_off(project), timeout=LONG)


def page_of(window: MainWindow) -> TrainPanel:
    page = window.panel("train")
    assert isinstance(page, TrainPanel)
    return page


def states(project: Project) -> list[str]:
    return [run.status for run in reversed(project.runs())]


def begin(window: MainWindow, qtbot: QtBot) -> TrainPanel:
    """Start a run in this window that would take for ever, and wait for its first epoch."""
    page, project = page_of(window), window.state.project
    assert project is not None
    page.start(tiny_recipe(project, window.state.registry, strategy={"name": "full"}, training=ENDLESS))
    qtbot.waitUntil(lambda: page.live.story.epoch is not None, timeout=LONG)
    return page


def test_the_runs_of_two_folds_are_started_at_a_press_followed_to_their_end_and_shown_together(
    queueing: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    page = page_of(queueing)
    page.draft.set_options("dataset", {"folds": 2})
    qtbot.waitUntil(lambda: not page.draft.pending, timeout=LONG)
    click(page, "train_queue", qtbot)
    assert state.queue.waiting == 2
    chip = queueing.findChild(QLabel, "topbar_queued")
    assert isinstance(chip, QLabel)
    assert chip.text() == "2 queued"
    assert page.right.currentWidget() is page.ready, "nothing has begun"
    queueing.go_to("runs")
    runs = queueing.panel("runs")
    assert isinstance(runs, RunsPanel)
    shown = runs.table.filter_model
    assert [shown.index(row, 1).data() for row in range(2)] == ["Queued", "Queued"]
    start = runs.findChild(QAbstractButton, "runs_queue_go")
    assert isinstance(start, QAbstractButton)
    assert start.accessibleName() == "Start 2 queued runs"
    click(runs, "runs_queue_go", qtbot)
    assert start.accessibleName() == "Stop the queue"
    bar = queueing.findChild(StatusBar, "statusbar")
    assert isinstance(bar, StatusBar)
    assert bar.text.startswith("The queue is on")
    qtbot.waitUntil(lambda: page.live.story.started is not None, timeout=LONG)
    assert page.right.currentWidget() is page.live
    qtbot.waitUntil(lambda: states(shapes_project) == ["done", "done"], timeout=LONG)
    qtbot.waitUntil(lambda: not state.queue.on and not page.active_run, timeout=LONG)
    assert not start.isVisible()
    assert not chip.isVisible()
    assert bar.text == "The queue is done; the results are on the Runs page."
    assert page.setup.foot.train_button.isVisibleTo(page)
    wait_for_jobs(state, qtbot)
    click(runs, "runs_folds", qtbot)
    wait_for_jobs(state, qtbot)
    assert len(runs.table.selected) == 2
    assert runs.comparison is not None
    assert runs.comparison.buttons["ensemble"].isEnabled()
    assert not runs.comparison.buttons["soup"].isEnabled()
    assert "another fold of the data" in runs.comparison.buttons["soup"].toolTip()
    title = runs.comparison.findChild(QLabel, "compare_title")
    assert isinstance(title, QLabel)
    assert title.text().startswith("2 runs · Macro F1 on the folds: 0.")
    first, second = (each.summary.id for each in runs._shown)
    runs.show_run(first)
    wait_for_jobs(state, qtbot)
    assert runs.folds_button.isVisible()
    runs.table.clearSelection()
    assert not runs.folds_button.isVisible(), "it belongs to the run that was chosen"
    recipe = shapes_project.run(second).recipe_path
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("seed = 0", "seed = 1"), encoding="utf-8")
    runs.table.select((first, second))
    wait_for_jobs(state, qtbot)
    assert title.text() == "2 runs", "they differ in more than their folds"


def test_while_a_run_goes_the_next_is_planned_and_begins_when_it_is_over(
    queueing: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    page = begin(queueing, qtbot)
    assert not page.setup.dataset_box.isEnabled()
    click(page, "train_show_plan", qtbot)
    assert page.right.currentWidget() is page.ready
    assert page.setup.dataset_box.isEnabled()
    assert not page.setup.foot.train_button.isVisible(), "it has to wait"
    page.draft.set_options("training", {**ONCE, "learning_rate": 0.01})
    qtbot.waitUntil(lambda: not page.draft.pending, timeout=LONG)
    click(page, "train_queue", qtbot)
    assert state.queue.on, "it begins by itself"
    assert states(shapes_project) == ["running", "queued"]
    click(page, "train_show_live", qtbot)
    assert page.right.currentWidget() is page.live
    click(page, "train_cancel", qtbot)
    qtbot.waitUntil(lambda: states(shapes_project) == ["cancelled", "done"], timeout=LONG)
    qtbot.waitUntil(lambda: not state.queue.on and not page.active_run, timeout=LONG)
    wait_for_jobs(state, qtbot)


def test_a_closed_window_leaves_the_queue_to_go_on_and_the_next_one_follows_it(
    queueing: MainWindow, state: AppState, shapes_project: Project, manager: PluginManager, tmp_path: Path, qtbot: QtBot
) -> None:
    begin(queueing, qtbot)
    state.queue.add(tiny_recipe(shapes_project, state.registry, training=ENDLESS, strategy={"name": "full"}))
    queueing.close()
    dialog = queueing.findChild(QDialog, "close_question")
    assert isinstance(dialog, QDialog)
    with qtbot.waitSignal(queueing.closed, timeout=LONG):
        click(dialog, "close_question_other", qtbot)
    with Project.open(shapes_project.folder, write=False) as seen:
        qtbot.waitUntil(lambda: is_worked_off(seen), timeout=LONG)  # its process may just be starting
        qtbot.waitUntil(lambda: seen.run(seen.runs()[0].id).begun > 0, timeout=LONG)
        assert states(seen) == ["cancelled", "running"]

    second = AppState(manager, QSettings(str(tmp_path / "second.ini"), QSettings.Format.IniFormat))
    other = build_window(second)
    other.show()
    second.open_project(shapes_project.folder)
    assert second.queue.on
    following = page_of(other)
    other.go_to("train")
    assert following.live.isVisible()
    qtbot.waitUntil(lambda: following.live.story.step is not None, timeout=LONG)
    wait_for_jobs(second, qtbot)
    following.driver.cancel()
    qtbot.waitUntil(lambda: not following.active_run and not second.queue.on, timeout=LONG)
    wait_for_jobs(second, qtbot)
    other.close()
    other.deleteLater()
    second.deleteLater()


def test_what_still_waits_is_told_when_the_project_is_opened_and_can_be_stopped_and_removed(
    state: AppState, shapes_project: Project, manager: PluginManager, tmp_path: Path, qtbot: QtBot
) -> None:
    for training in (ENDLESS, ONCE):
        recipe = tiny_recipe(shapes_project, state.registry, strategy={"name": "full"}, training=training)
        add_to_queue(recipe, shapes_project)
    shapes_project.close()
    window = build_window(state)
    window.show()
    state.open_project(shapes_project.folder)
    project = state.project
    assert project is not None
    assert window.notices.notice is not None
    assert window.notices.notice.text == "2 runs are queued."
    click(window, "notice_queued_0", qtbot)
    window.go_to("train")
    page = page_of(window)
    qtbot.waitUntil(lambda: page.live.story.step is not None, timeout=LONG)
    click(page, "train_queue_go", qtbot)  # stop
    qtbot.waitUntil(lambda: not state.queue.on, timeout=LONG)
    assert states(project) == ["running", "queued"]
    assert page.active_run, "the present run goes on"
    runs = window.panel("runs")
    assert isinstance(runs, RunsPanel)
    window.go_to("runs")
    waiting = project.runs()[0].id
    state.show_run.emit(waiting)
    wait_for_jobs(state, qtbot)
    click(runs, "run_delete", qtbot)
    question = window.findChild(Question, "delete_runs")
    assert isinstance(question, Question)
    click(question, "delete_runs_yes", qtbot)
    assert states(project) == ["running"]
    assert state.queue.waiting == 0
    with qtbot.waitSignal(state.runs_changed, timeout=LONG):
        page.driver.cancel()
    qtbot.waitUntil(lambda: not page.active_run, timeout=LONG)
    wait_for_jobs(state, qtbot)
    window.close()
    window.deleteLater()


def test_the_line_above_the_pages_counts_what_waits_now_and_stays_away_once_dismissed(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    recipe = tiny_recipe(shapes_project, state.registry)
    add_to_queue(recipe, shapes_project)
    state.set_project(shapes_project)
    for number in (2, 3):
        state.queue.add(recipe)
        assert window.notices.notice is not None
        assert window.notices.notice.text == f"{number} runs are queued."
    click(window, "notice_queued_dismiss", qtbot)
    state.queue.add(recipe)
    assert window.notices.notice is None
    wait_for_jobs(state, qtbot)


def test_what_a_command_works_off_beside_an_idle_window_is_seen_before_anything_is_started(
    queueing: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    page, folder = page_of(queueing), shapes_project.folder
    recipe = tiny_recipe(shapes_project, state.registry, strategy={"name": "full"}, training=ENDLESS)
    command = FileLock(folder / LOCK_NAME)
    with command:
        assert not state.queue.on, "nobody has looked yet"
        page.start(recipe)
        assert states(shapes_project) == ["queued"]
        assert not page.active_run
    qtbot.waitUntil(lambda: not state.queue.on, timeout=LONG)
    with command:
        state.queue.start()
        assert state.queue.on
        assert not (folder / OUTPUT_NAME).exists(), "no process was started"
    qtbot.waitUntil(lambda: not state.queue.on, timeout=LONG)
    wait_for_jobs(state, qtbot)


def queued(project: Project, state: AppState) -> Run:
    return add_to_queue(tiny_recipe(project, state.registry, strategy={"name": "full"}, training=ONCE), project)


@contextlib.contextmanager
def worked_off(project: Project, state: AppState, qtbot: QtBot) -> Iterator[ProcessMark]:
    """A process that could carry out a run, while somebody works the queue off and the window has seen that."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with FileLock(project.folder / LOCK_NAME):
            state.queue.look()
            yield ProcessMark.of(process.pid)
        process.kill()
        qtbot.waitUntil(lambda: not state.queue.on and not state.run_state.active, timeout=LONG)
        wait_for_jobs(state, qtbot)


def test_a_run_that_was_seen_between_its_turn_and_the_beginning_of_its_process_is_followed(
    queueing: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    page, run = page_of(queueing), queued(shapes_project, state)
    with worked_off(shapes_project, state, qtbot) as mark:
        with qtbot.waitSignal(state.runs_changed, timeout=LONG):
            run.claim(ProcessMark.here())  # as it is taken
        assert not page.active_run
        run.claim(mark, own_process=True)
        qtbot.waitUntil(lambda: page.active_run, timeout=LONG)


def test_while_the_queue_is_worked_off_no_other_run_is_gone_on_with(
    queueing: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    page, run = page_of(queueing), queued(shapes_project, state)
    run.finish("cancelled")
    waiting = queued(shapes_project, state)
    with worked_off(shapes_project, state, qtbot):
        page.resume(run.id)
        assert not page.active_run
        assert states(shapes_project) == ["cancelled", "queued"]
        bar = queueing.findChild(StatusBar, "statusbar")
        assert isinstance(bar, StatusBar)
        assert bar.text == "Another run is under way; go on with this one when it is done."
    shapes_project.delete_run(waiting.id)


def test_what_becomes_of_the_queue_is_looked_at_off_the_thread_of_the_window(
    queueing: MainWindow,
    state: AppState,
    shapes_project: Project,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    queueing.build_all()
    run, listing, listed = queued(shapes_project, state), Project.runs, []

    def noted(project: Project) -> list[RunSummary]:
        listed.append(threading.current_thread() is threading.main_thread())
        return listing(project)

    with worked_off(shapes_project, state, qtbot) as mark:
        wait_for_jobs(state, qtbot)
        with monkeypatch.context() as patch:
            patch.setattr(Project, "runs", noted)
            with qtbot.waitSignal(state.runs_changed, timeout=LONG):
                run.claim(mark, own_process=True)
            qtbot.waitUntil(lambda: page_of(queueing).active_run, timeout=LONG)
        assert listed
        assert not any(listed)
