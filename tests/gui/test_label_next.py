"""The Data page asks for the next labels, and makes a revision with them."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox
from pytestqt.qtbot import QtBot

from tests.conftest import SHAPES, draw_folder
from tests.gui.conftest import click, wait_for_jobs
from tests.gui.trained import tiny_recipe
from tlstudio.api import label_names
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.control import RunControl
from tlstudio.engine.execute import execute_run
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.label_next import LabelNext
from tlstudio.gui.widgets.several_labels import SeveralLabels
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def test_items_that_a_run_is_unsure_of_get_labels_and_become_a_revision(
    window: MainWindow, trained_state: AppState, qtbot: QtBot, tmp_path: Path, reviews_csv: Path
) -> None:
    texts, _ = plan_import(trained_state.registry.formats.values(), reviews_csv, name="reviews")
    assert trained_state.project is not None
    import_dataset(texts, trained_state.project.datasets_folder)
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
    assert not sheet.search_button.isEnabled(), "there is no other data set of images"
    sheet.take_folder(pool)
    sheet.by_box.setCurrentIndex(sheet.by_box.findData("margin"))
    sheet.count_box.setCurrentIndex(0)
    click(sheet, "label_next_look", qtbot)
    wait_for_jobs(trained_state, qtbot)
    assert len(sheet.labels) == 10
    assert not sheet.give_button.isEnabled()
    boxes = [box for box in sheet.labels if isinstance(box, QComboBox)]
    assert sum("(predicted)" in boxes[0].itemText(row) for row in range(boxes[0].count())) == 1
    boxes[0].setCurrentIndex(1)
    boxes[3].setCurrentIndex(2)
    assert [label for _, label in sheet.given] == [boxes[0].itemData(1), boxes[3].itemData(2)]
    click(sheet, "label_next_give", qtbot)
    qtbot.waitUntil(lambda: trained_state.revision == "r2", timeout=20_000)
    wait_for_jobs(trained_state, qtbot)
    project = trained_state.project
    assert project is not None
    before, after = project.dataset("shapes", "r1"), project.dataset("shapes")
    assert len(after.indices("train")) == len(before.indices("train")) + 2
    assert len(after) == len(before) + 2


def test_items_of_several_labels_get_several_at_once(
    state: AppState, project: Project, registry: Registry, qtbot: QtBot, tmp_path: Path
) -> None:
    images = draw_folder(tmp_path / "drawn", 8)
    rows = [
        f"{path.relative_to(tmp_path).as_posix()},{path.parent.name}{'|even' if number % 2 == 0 else ''}"
        for number, path in enumerate(sorted(images.glob("*/*.png")))
    ]
    (tmp_path / "marks.csv").write_text("\n".join(["image,label", *rows]), encoding="utf-8")
    request, _ = plan_import(registry.formats.values(), tmp_path / "marks.csv", name="shapes", task="multi_label")
    import_dataset(request, project.datasets_folder)
    recipe = tiny_recipe(project, registry)
    run = execute_run(recipe, project, registry, on_event=lambda _event: None, control=RunControl())
    assert run.status == "done"
    state.set_project(project)
    sheet_of = DataPanel(state)
    qtbot.addWidget(sheet_of)
    sheet_of.resize(1198, 692)
    sheet_of.show()
    state.select_dataset("shapes")
    wait_for_jobs(state, qtbot)
    click(sheet_of, "data_label_next", qtbot)
    sheet = sheet_of.findChild(LabelNext)
    assert isinstance(sheet, LabelNext)
    sheet.take_folder(draw_folder(tmp_path / "pool", 4, seed=9))
    click(sheet, "label_next_look", qtbot)
    wait_for_jobs(state, qtbot)
    boxes = [box for box in sheet.labels if isinstance(box, SeveralLabels)]
    assert len(boxes) == len(sheet.labels) == 12
    assert {boxes[0].labels, boxes[0].text()} == {None, "not labelled"}
    checked = Qt.CheckState.Checked
    names = [boxes[0].list.item(row).data(Qt.ItemDataRole.UserRole) for row in range(4)]
    assert set(names) == {*SHAPES, "even"}
    for row in (0, 2):
        boxes[0].list.item(row).setCheckState(checked)
    said = [boxes[0].labels]
    boxes[0].none.setCheckState(checked)
    said.append(boxes[0].labels)
    boxes[0].list.item(1).setCheckState(checked)
    said.append(boxes[0].labels)
    assert said == [(names[0], names[2]), (), (names[1],)], "none of them excludes the others, and they it"
    boxes[0].list.item(3).setCheckState(checked)
    boxes[1].none.setCheckState(checked)
    boxes[2].take_predicted()
    assert boxes[2].labels is not None
    given = {one.id: label for one, label in sheet.given}
    assert len(given) == 3
    click(sheet, "label_next_give", qtbot)
    qtbot.waitUntil(lambda: state.revision == "r2", timeout=20_000)
    wait_for_jobs(state, qtbot)
    after = project.dataset("shapes")
    told = {frozenset(label_names(after.label(row))) for row in range(24, len(after))}
    assert told == {frozenset(label_names(label)) for label in given.values()}
