"""The Project page: first launch, recent projects, a project at a glance."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from tests.gui.conftest import wait_for_jobs
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.project import ProjectPanel
from tlstudio.gui.panels.project_overview import DatasetFacts, Overview, ProjectOverview
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Clickable
from tlstudio.gui.widgets.dialogs import ErrorDialog
from tlstudio.gui.widgets.project_dialogs import NameDialog, NewProjectDialog
from tlstudio.gui.widgets.run_table import shown_metric
from tlstudio.store.project import Project
from tlstudio.store.run_record import RunSummary


def click(window: QWidget, name: str, qtbot: QtBot) -> None:
    buttons = [each for each in window.findChildren(QAbstractButton, name) if each.isVisible()]
    assert buttons, name
    button = buttons[-1]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def label_text(window: QWidget, name: str) -> str:
    label = window.findChild(QLabel, name)
    assert isinstance(label, QLabel), name
    return label.text()


def visible_rows(window: QWidget, count: int, qtbot: QtBot) -> list[Clickable]:
    """Return the rows of recent projects as soon as there are so many."""

    def rows() -> list[Clickable]:
        return [row for row in window.findChildren(Clickable, "welcome_recent_row") if row.isVisible()]

    qtbot.waitUntil(lambda: len(rows()) == count)
    return rows()


def drop(target: QWidget, path: Path) -> bool:
    """Drag a file or folder onto a widget and let it go; returns whether it was taken."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    actions, button, keys = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(10, 10), actions, data, button, keys)
    enter.ignore()
    QApplication.sendEvent(target, enter)
    if not enter.isAccepted():
        return False
    QApplication.sendEvent(target, QDropEvent(QPointF(10, 10), actions, data, button, keys))
    return True


def test_a_project_is_made_from_the_first_page(
    window: MainWindow, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    card = window.findChild(Clickable, "welcome_new")
    assert isinstance(card, Clickable)
    qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
    dialog = window.findChild(NewProjectDialog, "new_project_dialog")
    assert isinstance(dialog, NewProjectDialog)
    dialog.place_edit.setText(str(tmp_path / "projects"))
    dialog.name_edit.setText("叶子 study")
    click(dialog, "new_project_create", qtbot)
    assert state.project is not None
    assert state.project.name == "叶子 study"
    assert state.project.folder == tmp_path / "projects" / "叶子 study"
    assert window.page == "data"


def test_a_project_that_cannot_be_made_is_explained_in_the_dialog(
    window: MainWindow, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file.txt").write_text("mine")
    panel = window.panel("project")
    assert isinstance(panel, ProjectPanel)
    panel.new_project()
    dialog = window.findChild(NewProjectDialog, "new_project_dialog")
    assert isinstance(dialog, NewProjectDialog)
    dialog.place_edit.setText(str(tmp_path))
    dialog.name_edit.setText("taken")
    click(dialog, "new_project_create", qtbot)
    assert "not an empty folder" in label_text(dialog, "new_project_problem")
    dialog.name_edit.setText(" ")
    click(dialog, "new_project_create", qtbot)
    assert "needs a name" in label_text(dialog, "new_project_problem")
    assert state.project is None
    dialog.close()


def test_recent_projects_are_listed_and_missing_ones_can_be_taken_off(
    window: MainWindow, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    Project.create(tmp_path / "there").close()
    state.settings.setValue("project/recent", [str(tmp_path / "there"), str(tmp_path / "gone")])
    panel = window.panel("project")
    assert isinstance(panel, ProjectPanel)
    panel.refresh()
    rows = visible_rows(window, 2, qtbot)
    assert [bool(row.property("clickable")) for row in rows] == [True, False]
    click(rows[1], "welcome_forget", qtbot)
    assert state.recent_projects() == [tmp_path / "there"]
    qtbot.mouseClick(visible_rows(window, 1, qtbot)[0], Qt.MouseButton.LeftButton)
    assert state.project is not None
    wait_for_jobs(state, qtbot)


def test_a_project_that_is_open_elsewhere_is_refused_with_the_name_of_its_holder(
    window: MainWindow, state: AppState, tmp_path: Path
) -> None:
    with Project.create(tmp_path / "held", program="another program"):
        panel = window.panel("project")
        assert isinstance(panel, ProjectPanel)
        panel.open_project(tmp_path / "held")
        dialog = window.findChild(ErrorDialog, "error_dialog")
        assert isinstance(dialog, ErrorDialog)
        assert "open" in dialog.sentence.text()
        dialog.close()
    assert state.project is None


def test_a_project_of_a_newer_version_opens_for_reading_only_and_says_so(
    window: MainWindow, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    Project.create(tmp_path / "newer").close()
    (tmp_path / "newer" / "tlstudio.json").write_text('{"format": 7, "min_reader": 2, "name": "From afar"}')
    panel = window.panel("project")
    assert isinstance(panel, ProjectPanel)
    with qtbot.waitSignal(state.message) as told:
        panel.open_project(tmp_path / "newer")
    assert "can be read here, but not changed" in str(told.args[0])
    assert state.project is not None
    assert (state.project.name, state.project.writable) == ("From afar", False)
    wait_for_jobs(state, qtbot)


def test_a_project_folder_can_be_dropped_anywhere(
    window: MainWindow, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    Project.create(tmp_path / "dropped").close()
    assert not drop(window, tmp_path)
    assert drop(window, tmp_path / "dropped")
    assert state.project is not None
    assert state.project.folder == tmp_path / "dropped"
    wait_for_jobs(state, qtbot)


def test_an_open_project_shows_its_data_sets_and_what_to_do_next(
    window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    wait_for_jobs(state, qtbot)
    assert label_text(window, "project_name") == "Test project"
    assert label_text(window, "project_dataset_name") == "shapes"
    assert label_text(window, "project_dataset_facts") == "48 images · 3 classes · revision 1"
    assert label_text(window, "project_next_title") == "Train a first model"
    click(window, "project_next_action", qtbot)
    assert (window.page, state.dataset) == ("train", "shapes")
    wait_for_jobs(state, qtbot)


def test_the_next_step_is_a_probe_of_the_first_data_set_that_it_suits_else_what_does(
    window: MainWindow, state: AppState, project: Project, qtbot: QtBot
) -> None:
    state.set_project(project)
    wait_for_jobs(state, qtbot)
    page = window.findChild(ProjectOverview)
    assert isinstance(page, ProjectOverview)
    more = DatasetFacts("more", "r1", "text", "pretraining", 20)
    cells = DatasetFacts("cells", "r1", "image", "segmentation", 20)
    shapes = DatasetFacts("shapes", "r1", "image", "classification", 20, 3)
    for datasets, title, said in (
        ((cells, more, shapes), "Train a first model", "linear probe on “shapes”"),
        ((more, cells), "Train a first model", "Start on “cells” with what is recommended"),
        ((more,), "Pretrain on your items, or label some", "“more” has no labels"),
        ((DatasetFacts("gone", "r1", problem="Its file is gone."),), "Look at your data", "Its file is gone."),
    ):
        page.show_overview(Overview(project.folder, datasets, ()))
        assert label_text(page, "project_next_title") == title
        assert said in label_text(page, "project_next_text")


def test_an_empty_project_leads_to_the_import(
    window: MainWindow, state: AppState, project: Project, qtbot: QtBot
) -> None:
    state.set_project(project)
    wait_for_jobs(state, qtbot)
    assert label_text(window, "project_next_title") == "Import your first data set"
    click(window, "project_next_action", qtbot)
    assert window.page == "data"


def test_a_project_is_renamed_and_closed(window: MainWindow, state: AppState, project: Project, qtbot: QtBot) -> None:
    state.set_project(project)
    panel = window.panel("project")
    assert isinstance(panel, ProjectPanel)
    panel.rename_project()
    dialog = window.findChild(NameDialog, "rename_dialog")
    assert isinstance(dialog, NameDialog)
    dialog.findChildren(QLineEdit)[0].setText("Another name")
    click(dialog, "rename_accept", qtbot)
    wait_for_jobs(state, qtbot)
    assert label_text(window, "project_name") == "Another name"
    assert label_text(window, "topbar_project") == "Another name"
    click(window, "project_close", qtbot)
    assert state.project is None
    assert label_text(window, "topbar_project") == "No project open"


def test_one_metric_stands_for_a_run() -> None:
    run = RunSummary("r", "", "done", metrics={"validation": {"accuracy": 0.9}, "test": {"loss": 1.0, "mae": 2.0}})
    assert shown_metric(run) == ("mae", 2.0)
    assert shown_metric(RunSummary("r", "", "failed")) is None
    metrics = {"loss": 0.1, "accuracy": 0.9, "f1_macro": 0.8}
    for monitor, shown in (("f1_macro", "f1_macro"), ("loss", "accuracy"), ("", "accuracy"), ("rmse", "accuracy")):
        found = shown_metric(RunSummary("r", "", "done", metrics={"test": metrics}, monitor=monitor))
        assert found == (shown, metrics[shown])
