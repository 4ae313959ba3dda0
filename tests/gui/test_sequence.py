"""Data sets that are learned one after another from the Train page: chosen, checked, learned, gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QAbstractButton
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_end, wait_for_jobs
from tests.gui.test_train_panel import wait_for_check
from tests.gui.trained import TINY_VISION
from tlstudio.engine.events import EpochEnded
from tlstudio.engine.run_queue import LOCK_NAME
from tlstudio.engine.sequences import is_to_go_on, read_sequence
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.recipe_draft import RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.run_view import SEQUENCE_TAB
from tlstudio.gui.widgets.sequence_dialog import SequenceDialog
from tlstudio.gui.widgets.sequence_start import SequenceStart
from tlstudio.store.project import Project

TINY = {"epochs": 1, "batch_size": 8, "threads": 1, "device": "cpu"}


@pytest.fixture
def page(window: MainWindow, state: AppState, two_projects: Project, qtbot: QtBot) -> TrainPanel:
    """The Train page of a window, with two data sets that fit, and a tiny recipe."""
    state.set_project(two_projects)
    window.go_to("train")
    panel = window.panel("train")
    assert isinstance(panel, TrainPanel)
    values = {"backbone": TINY_VISION, "strategy": {"name": "full"}, "training": TINY}
    panel.draft.load({"dataset": {"name": "shapes", "revision": "r1"}, **values})
    wait_for_check(panel, state, qtbot)
    return panel


def opened(page: TrainPanel, state: AppState, qtbot: QtBot) -> SequenceDialog:
    click(page, "train_sequence", qtbot)
    dialog = page.window().findChildren(SequenceDialog)[-1]
    looked(dialog, state, qtbot)
    return dialog


def looked(dialog: SequenceDialog, state: AppState, qtbot: QtBot) -> None:
    """Wait until what is shown has been checked."""
    wait_for_jobs(state, qtbot)
    qtbot.waitUntil(lambda: not dialog.checking, timeout=20_000)
    wait_for_jobs(state, qtbot)


def names(dialog: SequenceDialog) -> list[str]:
    return [revision.dataset for revision in dialog.order.chosen]


def start_of(dialog: SequenceDialog) -> QAbstractButton:
    button = dialog.findChild(QAbstractButton, "sequence_start")
    assert isinstance(button, QAbstractButton)
    return button


def test_the_order_is_set_by_mouse_and_keyboard_and_all_that_is_wrong_is_told_at_once(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    dialog = opened(page, state, qtbot)
    assert names(dialog) == ["shapes", "others"], "the present one first, and the only other one"
    assert start_of(dialog).isEnabled()
    assert not dialog.problems
    assert all(w.accessibleName() for w in (dialog.order.list, dialog.protection))
    assert dialog.order.list.currentRow() == 0
    qtbot.keyClick(dialog.order.list, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    assert names(dialog) == ["others", "shapes"]
    assert not start_of(dialog).isEnabled(), "it is not checked yet"
    click(dialog, "sequence_up", qtbot)
    assert names(dialog) == ["shapes", "others"]
    assert [dialog.order.list.item(row).text()[:9] for row in (0, 1)] == ["1.  shape", "2.  other"]
    first = QModelIndex()
    assert dialog.order.list.model().moveRow(first, 0, first, 2), "as dragging does"
    assert names(dialog) == ["others", "shapes"]
    assert dialog.order.list.item(0).text().startswith("1.  others")
    assert dialog.order.list.model().moveRow(first, 0, first, 2)
    dialog.order.list.setCurrentRow(0)
    qtbot.keyClick(dialog.order.list, Qt.Key.Key_Delete)
    assert names(dialog) == ["others"]
    looked(dialog, state, qtbot)
    few = dialog.problems[0]
    assert few.startswith("Data sets: A sequence needs two data sets or more.")
    for action in dialog.order.menu.actions():
        action.trigger()
    form = dialog.form
    assert form is not None
    assert set(form.rows) == {"kept", "ratio", "strength"}, "which data are gone through again, the order says"
    form.rows["strength"].set_value(400)
    form.changed.emit()
    looked(dialog, state, qtbot)
    twice, strength = list(dialog.problems)
    assert twice.startswith("others: it is named twice")
    assert strength.startswith("Replay of earlier data · Lambda: 400")
    assert not start_of(dialog).isEnabled()
    dialog.protection.setCurrentIndex(dialog.protection.findData("nothing"))
    assert dialog.form is None
    assert dialog.order.list.currentRow() == 2
    click(dialog, "sequence_remove", qtbot)
    looked(dialog, state, qtbot)
    assert names(dialog) == ["others", "shapes"]
    assert start_of(dialog).isEnabled()
    click(dialog, "sequence_cancel", qtbot)
    assert state.project is not None
    assert state.project.runs() == []


def test_a_sequence_is_learned_cancelled_gone_on_with_and_ends_with_what_was_forgotten(
    page: TrainPanel, window: MainWindow, state: AppState, qtbot: QtBot
) -> None:
    project = state.project
    assert project is not None
    dialog = opened(page, state, qtbot)
    form = dialog.form
    assert form is not None
    form.rows["kept"].set_value(6)
    form.changed.emit()
    looked(dialog, state, qtbot)
    click(dialog, "sequence_start", qtbot)
    session = page.driver.session
    assert session is not None
    epochs: list[object] = []

    def cancel_the_second(event: object) -> None:
        epochs.extend([event] if isinstance(event, EpochEnded) else [])
        if len(epochs) == 2:
            session.control.cancel()

    session.worker.happened.connect(cancel_the_second, Qt.ConnectionType.DirectConnection)
    wait_for_end(page, qtbot)
    wait_for_jobs(state, qtbot)
    last, first = (project.run(row.id) for row in project.runs())
    assert (first.status, last.status) == ("done", "cancelled")
    assert is_to_go_on(last)
    assert page.live.story.run == last.id, "the second run is shown"
    assert "Data set 2 of 2: others." in page.live.log.toPlainText()
    assert window.page == "train"
    wait_for_check(page, state, qtbot)
    dialog = opened(page, state, qtbot)
    assert not dialog.unfinished.isHidden()
    click(dialog, "sequence_go_on", qtbot)
    wait_for_end(page, qtbot)
    wait_for_jobs(state, qtbot)
    assert [row.id for row in project.runs()] == [last.id, first.id]
    result = read_sequence(last)
    assert result is not None
    assert last.read_recipe()["methods"]["replay"] == {"datasets": "shapes@r1", "kept": 6}
    assert window.page == "runs"
    runs = window.panel("runs")
    assert isinstance(runs, RunsPanel)
    qtbot.waitUntil(lambda: runs.view is not None and runs.view.details is not None)
    wait_for_jobs(state, qtbot)
    assert runs.view is not None
    assert runs.view.tabs.currentIndex() == SEQUENCE_TAB
    assert runs.view.sequence.sentence.startswith("In the end Accuracy is")


def test_damaged_data_are_not_offered_and_where_the_present_ones_are_it_is_told(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    assert state.project is not None
    folders = state.project.datasets_folder
    damage(folders / "others" / "r1" / "samples.parquet")
    dialog = opened(page, state, qtbot)
    assert names(dialog) == ["shapes"]
    assert dialog.order.menu.actions()[-1].text().startswith("Not offered: 1 ")
    click(dialog, "sequence_cancel", qtbot)
    damage(folders / "shapes" / "r1" / "samples.parquet")
    dialog = opened(page, state, qtbot)
    (problem,) = dialog.problems
    assert "is not the one that was imported" in problem
    assert not start_of(dialog).isEnabled()
    click(dialog, "sequence_cancel", qtbot)


def damage(table: Path) -> None:
    table.write_bytes(table.read_bytes()[:-4])


def test_a_sequence_does_not_start_while_another_run_is_before_it(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    project = state.project
    assert project is not None
    dialog = opened(page, state, qtbot)
    with (
        FileLock(project.folder / LOCK_NAME),  # a command has begun to work the queue off
        qtbot.waitSignal(state.message, check_params_cb=lambda text, _: text.startswith("Another run is under way")),
    ):
        click(dialog, "sequence_start", qtbot)
    qtbot.waitUntil(lambda: not state.queue.on, timeout=20_000)
    wait_for_jobs(state, qtbot)
    assert project.runs() == []


def test_with_one_data_set_alone_nothing_can_be_learned_one_after_another(
    state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    start = SequenceStart(state, RecipeDraft(state), lambda _: "")
    qtbot.addWidget(start)
    assert start.isHidden()
