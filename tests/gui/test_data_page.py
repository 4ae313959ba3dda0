"""The Data page: drop, preview, correct, import; then look, filter, find problems."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLabel, QTableView, QWidget
from pytestqt.qtbot import QtBot

from tests.gui.conftest import wait_for_jobs
from tests.gui.test_project_page import click, drop, label_text
from tlstudio.data.revision import Revision
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.state import AppState
from tlstudio.store.project import Project


@pytest.fixture
def panel(window: MainWindow, state: AppState, project: Project, qtbot: QtBot) -> DataPanel:
    """The Data page of an empty project."""
    state.set_project(project)
    window.go_to("data")
    wait_for_jobs(state, qtbot)
    made = window.panel("data")
    assert isinstance(made, DataPanel)
    return made


@pytest.fixture
def shapes(panel: DataPanel, state: AppState, shapes_project: Project, qtbot: QtBot) -> DataPanel:
    """The Data page with the data set ``shapes``."""
    state.datasets_changed.emit("shapes")
    wait_for_jobs(state, qtbot)
    qtbot.waitUntil(lambda: len(panel.browser.rows) == 48)
    return panel


def test_without_a_project_or_data_the_page_says_what_to_do(
    window: MainWindow, state: AppState, project: Project, qtbot: QtBot
) -> None:
    window.go_to("data")
    assert window.findChild(QLabel, "data_no_project_title").isVisible()  # type: ignore[union-attr]
    click(window, "data_no_project_action", qtbot)
    assert window.page == "project"
    state.set_project(project)
    window.go_to("data")
    assert window.findChild(QLabel, "data_empty_title").isVisible()  # type: ignore[union-attr]
    wait_for_jobs(state, qtbot)


def test_a_dropped_folder_is_previewed_and_imported(
    panel: DataPanel, state: AppState, shapes_folder: Path, qtbot: QtBot
) -> None:
    assert drop(panel, shapes_folder)
    wait_for_jobs(state, qtbot)
    view = panel.import_view
    assert view.isVisible()
    assert view.form.format_box.currentData() == "image_folder"
    assert view.form.name_edit.text() == "shapes"
    labels = view.form._editors["labels"]
    assert isinstance(labels, QComboBox)
    assert (labels.currentText(), labels.currentData()) == ("Name of the subfolder", "folders")
    assert view.gallery.count == 20
    assert view.table.rowCount() == 20
    assert view.import_button.isEnabled()
    qtbot.mouseClick(view.import_button, Qt.MouseButton.LeftButton)
    wait_for_jobs(state, qtbot)
    assert (state.dataset, state.revision) == ("shapes", "r1")
    assert panel.browser.isVisible()
    qtbot.waitUntil(lambda: panel.browser.gallery.count == 48)
    assert label_text(panel, "data_count") == "48 items"


def test_a_table_is_imported_with_corrected_columns_and_task(
    panel: DataPanel, state: AppState, reviews_csv: Path, qtbot: QtBot
) -> None:
    panel.import_source(reviews_csv)
    wait_for_jobs(state, qtbot)
    form = panel.import_view.form
    labels = form._editors["label_column"]
    labels.setCurrentIndex(labels.findData("score"))  # type: ignore[union-attr]
    labels.activated.emit(labels.currentIndex())  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: form.task_box.currentData() == "regression", timeout=10_000)
    qtbot.waitUntil(panel.import_view.import_button.isEnabled)
    form.name_edit.setText("")
    form.name_edit.setText("评分")  # keys of a test cannot type this
    form.name_edit.textEdited.emit("评分")
    qtbot.waitUntil(lambda: panel.import_view.plan is not None and panel.import_view.plan.wish.name == "评分")
    wait_for_jobs(state, qtbot)
    click(panel, "import_start", qtbot)
    wait_for_jobs(state, qtbot)
    assert state.project is not None
    revision = state.project.dataset("评分")
    assert revision.task == "regression"
    assert len(revision) == 60


def test_what_is_noticed_of_a_series_is_said_before_it_is_imported(
    panel: DataPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    rows = [f"2024-01-01 {n // 60:02}:{n % 60:02},{'' if n == 40 else n % 7},{n % 5}" for n in range(120)]
    (tmp_path / "load.csv").write_text("\n".join(["time,load,heat", *rows]), encoding="utf-8")
    panel.import_source(tmp_path / "load.csv")
    wait_for_jobs(state, qtbot)
    notes = label_text(panel, "import_notes")
    assert 'The next 2 values of "load" are forecast from 8 past ones of "load", "heat"' in notes
    assert 'Missing: "load" in row 42.' in notes


def test_what_is_wrong_stands_beside_the_button_and_marks_the_field(
    panel: DataPanel, state: AppState, shapes_folder: Path, qtbot: QtBot
) -> None:
    panel.import_source(shapes_folder)
    wait_for_jobs(state, qtbot)
    view = panel.import_view
    view.form.shares[0].setValue(90)
    qtbot.waitUntil(lambda: bool(view.problems.text()) and view.problems.isVisible(), timeout=10_000)
    assert "add up to" in view.problems.text()
    assert not view.import_button.isEnabled()
    assert view.form.shares[0].property("invalid")
    view.form.shares[0].setValue(70)
    qtbot.waitUntil(view.import_button.isEnabled, timeout=10_000)
    assert not view.problems.isVisible()
    wait_for_jobs(state, qtbot)


def test_an_empty_folder_gets_a_sentence(panel: DataPanel, state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "nothing").mkdir()
    panel.import_source(tmp_path / "nothing")
    wait_for_jobs(state, qtbot)
    assert panel.import_view.problems.isVisible()
    assert "nothing" in panel.import_view.problems.text()
    click(panel, "import_cancel", qtbot)
    assert not panel.import_view.isVisible()


def test_importing_what_has_not_changed_is_said(
    panel: DataPanel, state: AppState, shapes_folder: Path, qtbot: QtBot
) -> None:
    said: list[str] = []
    state.message.connect(lambda text, details: said.append(text))
    for _ in range(2):
        panel.import_source(shapes_folder)
        wait_for_jobs(state, qtbot)
        click(panel, "import_start", qtbot)
        wait_for_jobs(state, qtbot)
    assert said == ["Imported shapes as revision 1.", "Nothing has changed in shapes: revision 1 stays the latest."]


def test_items_that_cannot_be_used_are_listed_after_the_import(
    panel: DataPanel, state: AppState, shapes_folder: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    source = tmp_path / "mixed"
    shutil.copytree(shapes_folder, source)
    (source / "circle" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    (source / "circle" / "empty.png").write_bytes(b"")
    panel.import_source(source)
    wait_for_jobs(state, qtbot)
    click(panel, "import_start", qtbot)
    wait_for_jobs(state, qtbot)
    table = panel.findChild(QTableView, "import_report_table")
    assert isinstance(table, QTableView)
    assert table.isVisible()
    model = table.model()
    assert model.rowCount() == 2
    assert label_text(panel, "import_report_title") == "48 imported, 2 left out"
    click(panel, "import_report_close", qtbot)
    assert panel.browser.isVisible()


def test_a_cancelled_import_leaves_nothing(
    panel: DataPanel, state: AppState, project: Project, shapes_folder: Path, qtbot: QtBot
) -> None:
    panel.import_source(shapes_folder)
    wait_for_jobs(state, qtbot)
    click(panel, "import_start", qtbot)
    assert panel.import_view.busy
    click(panel, "import_cancel", qtbot)
    wait_for_jobs(state, qtbot)
    assert not panel.import_view.busy
    assert project.datasets() == []
    assert list(project.datasets_folder.iterdir()) == []


def test_items_are_filtered_by_class_split_and_text(shapes: DataPanel, state: AppState, qtbot: QtBot) -> None:
    browser = shapes.browser
    browser.show_class("圆环")
    wait_for_jobs(state, qtbot)
    assert len(browser.rows) == 16
    browser.filters.split_box.setCurrentIndex(browser.filters.split_box.findData("test"))
    wait_for_jobs(state, qtbot)
    revision = browser.revision
    assert isinstance(revision, Revision)
    assert len(browser.rows) == revision.class_counts()["test"]["圆环"]
    browser.clear_filter()
    qtbot.keyClicks(browser.filters.search, "CIRCLE_03")
    qtbot.waitUntil(lambda: len(browser.rows) == 1, timeout=10_000)
    browser.filters.search.setText("no such thing")
    qtbot.waitUntil(lambda: len(browser.rows) == 0, timeout=10_000)
    click(browser, "data_nothing_action", qtbot)
    qtbot.waitUntil(lambda: len(browser.rows) == 48, timeout=10_000)


def test_a_click_on_a_bar_of_the_histogram_shows_the_class(shapes: DataPanel, state: AppState, qtbot: QtBot) -> None:
    histogram = shapes.browser.overview.histogram
    qtbot.waitUntil(lambda: len(histogram.bars) == 3)
    assert {bar.name: bar.total for bar in histogram.bars} == {"circle": 16, "square": 16, "圆环": 16}
    with qtbot.waitSignal(histogram.class_chosen) as chosen:
        qtbot.mouseClick(histogram, Qt.MouseButton.LeftButton, pos=histogram.rect().topLeft() + _down(36))
    wait_for_jobs(state, qtbot)
    assert chosen.args is not None
    assert shapes.browser.filters.class_box.currentData() == chosen.args[0]
    assert len(shapes.browser.rows) == 16


def _down(pixels: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  a QPoint
    from PySide6.QtCore import QPoint

    return QPoint(20, pixels)


def test_one_item_is_shown_large_and_stepped_through(shapes: DataPanel, state: AppState, qtbot: QtBot) -> None:
    browser = shapes.browser
    revision = browser.revision
    assert isinstance(revision, Revision)
    browser.gallery.set_current(0)
    assert browser.details.isVisible()
    first = revision.sample(int(browser.rows[0]))
    assert label_text(browser, "item_label") == first.label
    assert label_text(browser, "item_path") == str(first.image)
    click(browser, "item_next", qtbot)
    assert browser.gallery.current == 1
    click(browser, "item_close", qtbot)
    assert not browser.details.isVisible()
    wait_for_jobs(state, qtbot)


def test_the_table_sorts_and_shows_the_same_items(shapes: DataPanel, state: AppState, qtbot: QtBot) -> None:
    browser = shapes.browser
    browser.tabs.setCurrentIndex(1)
    assert browser.table.isVisible()
    model = browser.table.model()
    before = browser.table.rows
    browser.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert browser.table.rows is before, "the window does not wait for it"
    wait_for_jobs(state, qtbot)
    labels = [model.index(row, 1).data() for row in range(model.rowCount())]
    assert labels == sorted(labels, reverse=True)
    browser.table.set_current(3)
    assert label_text(browser, "item_label") == labels[3]
    wait_for_jobs(state, qtbot)


def test_problems_are_found_and_their_items_shown(
    panel: DataPanel, state: AppState, shapes_folder: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    source = tmp_path / "doubles"
    shutil.copytree(shapes_folder, source)
    original = next((source / "circle").iterdir())
    shutil.copy(original, source / "square" / "the_same.png")
    panel.import_source(source)
    wait_for_jobs(state, qtbot)
    click(panel, "import_start", qtbot)
    wait_for_jobs(state, qtbot)
    overview = panel.browser.overview
    links = [
        button
        for button in overview.findChildren(QAbstractButton)
        if button.objectName().startswith("data_finding") and button.objectName().endswith("_show")
    ]
    assert links
    titles = [label_text(overview, link.objectName().replace("_show", "_title")) for link in links]
    link = next(link for link, title in zip(links, titles, strict=True) if "label" in title.lower())
    link.click()
    wait_for_jobs(state, qtbot)
    assert len(panel.browser.rows) == 2
    assert panel.findChild(QWidget, "data_chosen").isVisible()  # type: ignore[union-attr]
    click(panel, "data_show_all", qtbot)
    wait_for_jobs(state, qtbot)
    assert len(panel.browser.rows) == 49


def test_another_page_can_ask_for_items(
    shapes: DataPanel, window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    revision = shapes_project.dataset("shapes")
    ids = [revision.sample(index).id for index in (5, 2, 9)]
    window.go_to("runs")
    state.show_items.emit(revision, ids, "circle taken for square")
    wait_for_jobs(state, qtbot)
    assert window.page == "data"
    assert [revision.sample(int(row)).id for row in shapes.browser.rows] == ids
    assert label_text(shapes, "data_chosen_text") == "circle taken for square"


def test_texts_are_shown_with_their_beginning(
    panel: DataPanel, state: AppState, reviews_project: Project, qtbot: QtBot
) -> None:
    state.datasets_changed.emit("reviews")
    wait_for_jobs(state, qtbot)
    qtbot.waitUntil(lambda: len(panel.browser.rows) == 60)
    panel.browser.gallery.set_current(0)
    shown = panel.browser.details.view.text
    assert shown is not None
    assert "No. 0" in shown.toPlainText()
    panel.browser.tabs.setCurrentIndex(1)
    assert panel.browser.table.model().index(0, 0).data().startswith("No. 0")


def test_a_damaged_revision_is_explained_on_the_page(
    panel: DataPanel, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    table = shapes_project.datasets_folder / "shapes" / "r1" / "samples.parquet"
    table.write_bytes(table.read_bytes()[:-4])
    state.datasets_changed.emit("shapes")
    wait_for_jobs(state, qtbot)
    assert "is not the one that was imported" in label_text(panel, "data_trouble_sentence")


def test_what_is_like_an_item_is_shown_where_there_is_a_run(
    trained_state: AppState, window: MainWindow, qtbot: QtBot
) -> None:
    window.go_to("data")
    panel = window.panel("data")
    assert isinstance(panel, DataPanel)
    wait_for_jobs(trained_state, qtbot)
    browser = panel.browser
    browser.gallery.set_current(3)
    wait_for_jobs(trained_state, qtbot)
    revision = browser.revision
    assert revision is not None
    click(panel, "item_similar", qtbot)
    qtbot.waitUntil(lambda: len(browser.rows) == 13, timeout=60_000)
    wait_for_jobs(trained_state, qtbot)
    assert revision.sample(int(browser.rows[0])).id == revision.sample(3).id, "itself, then the nearest"
    browser.show_ids((revision.sample(5).id,), "One")
    wait_for_jobs(trained_state, qtbot)
    assert browser.details.view.case is not None
    assert browser.details.view.case.sample.id == revision.sample(5).id
