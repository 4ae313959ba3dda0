"""The Data page asks for the next labels, and makes a revision with them."""

from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from tests.conftest import draw_folder
from tests.gui.conftest import click, wait_for_jobs
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.label_next import LabelNext


def test_items_that_a_run_is_unsure_of_get_labels_and_become_a_revision(
    window: MainWindow, trained_state: AppState, qtbot: QtBot, tmp_path: Path
) -> None:
    pool = draw_folder(tmp_path / "pool", 15)
    window.go_to("data")
    trained_state.select_dataset("shapes")
    wait_for_jobs(trained_state, qtbot)
    page = window.panel("data")
    assert isinstance(page, DataPanel)
    click(page, "data_label_next", qtbot)
    sheet = page.findChild(LabelNext)
    assert isinstance(sheet, LabelNext)
    assert sheet.run_box.count() == 2
    assert not sheet.search_button.isEnabled(), "there is no other data set"
    sheet.take_folder(pool)
    sheet.by_box.setCurrentIndex(sheet.by_box.findData("margin"))
    sheet.count_box.setCurrentIndex(0)
    click(sheet, "label_next_look", qtbot)
    wait_for_jobs(trained_state, qtbot)
    assert len(sheet.labels) == 10
    assert not sheet.give_button.isEnabled()
    assert sum("(predicted)" in sheet.labels[0].itemText(row) for row in range(sheet.labels[0].count())) == 1
    sheet.labels[0].setCurrentIndex(1)
    sheet.labels[3].setCurrentIndex(2)
    assert [label for _, label in sheet.given] == [sheet.labels[0].itemData(1), sheet.labels[3].itemData(2)]
    click(sheet, "label_next_give", qtbot)
    qtbot.waitUntil(lambda: trained_state.revision == "r2", timeout=20_000)
    wait_for_jobs(trained_state, qtbot)
    project = trained_state.project
    assert project is not None
    before, after = project.dataset("shapes", "r1"), project.dataset("shapes")
    assert len(after.indices("train")) == len(before.indices("train")) + 2
    assert len(after) == len(before) + 2
