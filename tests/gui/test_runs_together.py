"""Several runs put together in the window: a soup, an ensemble, and why some do not fit."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QLabel, QMenu
from pytestqt.qtbot import QtBot

from tests.conftest import draw_folder
from tests.gui.conftest import click, wait_for_jobs
from tlstudio.engine.derivation import read_derivation
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.after_training import AfterTrainingDialog
from tlstudio.gui.widgets.run_comparison import RunComparison
from tlstudio.gui.widgets.soup_dialog import SoupDialog

LONG = 60_000


@pytest.fixture
def page(trained_state: AppState, qtbot: QtBot) -> RunsPanel:
    """The Runs page with both runs marked."""
    panel = RunsPanel(trained_state)
    qtbot.addWidget(panel)
    panel.resize(1198, 692)
    panel.show()
    wait_for_jobs(trained_state, qtbot)
    mark_all(panel, qtbot)
    return panel


def mark_all(panel: RunsPanel, qtbot: QtBot) -> None:
    panel.table.selectAll()
    wait_for_jobs(panel._state, qtbot)


def comparison_of(page: RunsPanel) -> RunComparison:
    assert page.comparison is not None
    return page.comparison


def test_marked_runs_are_averaged_with_what_each_of_them_is_worth(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    project = trained_state.project
    assert project is not None
    ids = page.table.selected
    click(page, "compare_soup", qtbot)
    dialog = page.window().findChild(SoupDialog)
    assert dialog is not None
    known = dialog.table.figures
    assert known.index(0, 1).data() != "—"
    assert known.index(2, 1).data() == "—", "the soup is not measured yet"
    dialog.way.setCurrentIndex(dialog.way.findData(False))
    click(dialog, "soup_measure", qtbot)
    wait_for_jobs(trained_state, qtbot)
    assert [known.index(row, 3).data() for row in range(3)] == ["yes", "yes", ""]
    shown = str(known.index(2, 2).data())
    with qtbot.waitSignal(dialog.made, timeout=LONG) as made:
        click(dialog, "soup_make", qtbot)
    wait_for_jobs(trained_state, qtbot)
    run = project.run(made.args[0])
    derivation = read_derivation(run)
    assert derivation is not None
    assert {parent.run for parent in derivation.parents} == set(ids)
    assert derivation.options == {"greedy": False}
    assert shown == f"{run.metrics()['test'][run.summary().monitor]:.3f}"
    assert page.table.selected == (run.id,)


def test_a_soup_that_is_cancelled_leaves_no_run_and_can_be_made_again(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    project = trained_state.project
    assert project is not None
    click(page, "compare_soup", qtbot)
    dialog = page.window().findChild(SoupDialog)
    assert dialog is not None
    click(dialog, "soup_make", qtbot)
    assert dialog.close_button.text() == "Cancel"
    click(dialog, "soup_close", qtbot)
    wait_for_jobs(trained_state, qtbot)
    assert len(project.runs()) == 2
    assert dialog.isVisible()
    assert dialog.close_button.text() == "Close"
    click(dialog, "soup_close", qtbot)
    assert not dialog.isVisible()


def test_a_run_that_was_made_in_spite_of_a_cancel_is_shown(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    click(page, "compare_soup", qtbot)
    dialog = page.window().findChild(SoupDialog)
    assert dialog is not None
    written = threading.Event()

    def write(_project: object, _registry: object, _context: object) -> str:
        written.wait()
        return "run"

    dialog.work("Making the run", write, lambda _: None)
    dialog.reject()
    with qtbot.waitSignal(trained_state.runs_changed):
        written.set()
    wait_for_jobs(trained_state, qtbot)


def test_what_is_measured_together_is_forgotten_with_its_project(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    predict = PredictPanel(trained_state)
    qtbot.addWidget(predict)
    predict.show()
    click(page, "compare_ensemble", qtbot)
    click(predict, "predict_measure", qtbot)
    assert trained_state.project is not None
    folder = trained_state.project.folder
    trained_state.set_project(None)
    with qtbot.assertNotEmitted(trained_state.jobs.failed):
        wait_for_jobs(trained_state, qtbot)
    trained_state.open_project(folder)
    wait_for_jobs(trained_state, qtbot)
    mark_all(page, qtbot)
    click(page, "compare_ensemble", qtbot)
    wait_for_jobs(trained_state, qtbot)
    assert not predict.model.worth.text()


def test_marked_runs_predict_together_on_the_predict_page(
    page: RunsPanel, trained_state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    predict = PredictPanel(trained_state)
    qtbot.addWidget(predict)
    predict.show()
    with qtbot.waitSignal(trained_state.navigate) as gone:
        click(page, "compare_ensemble", qtbot)
    assert gone.args == ["predict"]
    assert predict.model_box.currentText() == "2 runs together · shapes"
    assert not predict.export_card.isVisible()
    click(predict, "predict_measure", qtbot)
    wait_for_jobs(trained_state, qtbot)
    assert predict.model.worth.text().startswith("Macro F1, validation: together ")
    assert not predict.model.measure_button.isVisible()
    output = tmp_path / "out.csv"
    predict.many.source_given.emit(draw_folder(tmp_path / "new", 1, seed=7), output)
    qtbot.waitUntil(lambda: predict.many.pages.currentIndex() == 2, timeout=LONG)
    wait_for_jobs(trained_state, qtbot)
    with output.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_runs_that_do_not_fit_together_are_told_why(page: RunsPanel, trained_state: AppState, qtbot: QtBot) -> None:
    project = trained_state.project
    assert project is not None
    newest, oldest = (project.run(run.id) for run in project.runs())
    recipe = newest.recipe_path.read_text(encoding="utf-8")
    newest.recipe_path.write_text(recipe.replace("image_size = 32", "image_size = 64"), encoding="utf-8")
    page.refresh()
    mark_all(page, qtbot)
    comparison = comparison_of(page)
    soup, ensemble = comparison.buttons["soup"], comparison.buttons["ensemble"]
    assert not soup.isEnabled()
    assert "another backbone.image_size than run" in soup.toolTip()
    assert ensemble.isEnabled()
    why = comparison.findChild(QLabel, "compare_why")
    assert why is not None
    assert why.text().startswith("Not to be averaged: ")
    oldest.finish("cancelled", best_epoch=1, seconds=1.0)
    page.refresh()
    mark_all(page, qtbot)
    assert not ensemble.isEnabled()
    assert "001 Linear probe is cancelled" in ensemble.toolTip()


def test_the_menu_of_marked_runs_offers_what_the_buttons_do(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    at = page.table.visualRect(page.table.model().index(0, 0)).center()
    page.table.customContextMenuRequested.emit(at)
    menu = page.findChild(QMenu, "runs_menu")
    assert menu is not None
    names = [action.objectName() for action in menu.actions() if action.isEnabled() and not action.isSeparator()]
    assert names == ["runs_menu_compare_soup", "runs_menu_compare_ensemble", "runs_menu_delete"]
    menu.close()
    page.table.selectRow(1)
    page.table.customContextMenuRequested.emit(at)
    assert page.findChild(QMenu, "runs_menu", Qt.FindChildOption.FindChildrenRecursively) in (None, menu)
    wait_for_jobs(trained_state, qtbot)
    opened = [one for one in page.findChildren(QMenu, "runs_menu") if one.isVisible()]
    assert [len(one.actions()) for one in opened] == [8], "once the run is read"
    with qtbot.waitSignal(trained_state.predict_requested) as asked:
        opened[0].actions()[0].trigger()
    assert asked.args == [page.table.selected[0]]
    opened[0].close()
    wait_for_jobs(trained_state, qtbot)


def test_a_run_without_its_start_says_why_it_cannot_be_averaged_with_it(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    page.table.selectRow(0)
    wait_for_jobs(trained_state, qtbot)
    click(page, "run_after", qtbot)
    dialog = page.window().findChild(AfterTrainingDialog)
    assert dialog is not None
    items = dialog.way.model()
    assert isinstance(items, QStandardItemModel)
    assert [items.item(row).isEnabled() for row in range(2)] == [False, True]
    assert dialog.way.currentData() == "prune"
    why = dialog.findChild(QLabel, "after_no_start")
    assert why is not None
    assert why.isVisible()
    assert "has not kept the weights" in why.text()
    dialog.reject()
