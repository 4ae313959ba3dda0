"""The dialogs that ask for files: where they open, and what they do not let happen to the project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QDialogButtonBox, QFileDialog, QLineEdit, QMenu, QMessageBox
from pytestqt.qtbot import QtBot

from tests.conftest import draw_folder
from tests.gui.conftest import click, wait_for_jobs
from tests.gui.trained import copied
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.file_dialogs import ask_file, place_of, remember_place

LONG = 60_000


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the program was started."""
    folder = tmp_path / "started here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def project(window: MainWindow, trained: Path, tmp_path: Path, elsewhere: Path, qtbot: QtBot) -> Iterator[Path]:
    """The folder of a project with runs, open in the window."""
    folder = copied(trained, tmp_path / "project")
    window.state.open_project(folder)
    wait_for_jobs(window.state, qtbot)
    yield folder
    wait_for_jobs(window.state, qtbot)
    assert list(elsewhere.iterdir()) == []


def find(window: MainWindow, name: str) -> QFileDialog:
    """The dialog that is open."""
    dialog = window.findChild(QFileDialog, name)
    assert isinstance(dialog, QFileDialog), name
    assert dialog.isVisible()
    assert dialog.accessibleName() == dialog.windowTitle()
    return dialog


def folder_of(dialog: QFileDialog) -> Path:
    """Where a dialog is."""
    return Path(dialog.directory().absolutePath())


def choose(dialog: QFileDialog, path: Path, qtbot: QtBot) -> None:
    """Type a path and press the button; a file that is there is to be replaced."""

    def yes() -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            box.button(QMessageBox.StandardButton.Yes).click()

    line, buttons = dialog.findChild(QLineEdit, "fileNameEdit"), dialog.findChild(QDialogButtonBox)
    assert isinstance(line, QLineEdit)
    assert isinstance(buttons, QDialogButtonBox)
    line.setText(str(path))
    QTimer.singleShot(0, yes)
    accept = next(button for button in buttons.buttons() if buttons.buttonRole(button) == buttons.ButtonRole.AcceptRole)
    accept.setEnabled(True)  # the list of files is read in a thread of its own, and is not waited for
    with qtbot.waitSignal(dialog.finished):
        accept.click()


def own_files(project: Path) -> dict[str, bytes]:
    """What the studio keeps in a project, but for the index and the lock."""
    parts = [*(project / "runs").rglob("*"), *(project / "datasets").rglob("*"), project / "tlstudio.json"]
    return {str(path): path.read_bytes() for path in parts if path.is_file()}


def press_action(panel: TrainPanel, name: str) -> None:
    """Choose an entry of the menu of recipes."""
    action = panel.setup.foot.recipe_menu.findChild(QAction, name)
    assert isinstance(action, QAction)
    assert action.isEnabled()
    action.trigger()


def refused(dialog: QFileDialog, path: Path, state: AppState, qtbot: QtBot) -> str:
    """Choose a path and return the sentence that refuses it."""
    with qtbot.waitSignal(state.error) as told:
        choose(dialog, path, qtbot)
    return str(told.args[0])


def close_errors(window: MainWindow, qtbot: QtBot) -> None:
    """Close the dialog of an error."""
    click(window, "error_dialog_close", qtbot)
    qtbot.waitUntil(lambda: window.findChild(QFileDialog) is None)


def test_a_recipe_is_saved_beside_but_never_over_what_the_project_keeps(
    window: MainWindow, project: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    window.go_to("train")
    panel = window.panel("train")
    assert isinstance(panel, TrainPanel)
    wait_for_jobs(window.state, qtbot)
    qtbot.waitUntil(lambda: panel.setup.foot.recipe_menu._draft.result.recipe is not None, timeout=LONG)
    (tmp_path / "notes.txt").write_text("not to be lost")
    (tmp_path / "link.toml").symlink_to(project / "tlstudio.json")
    run = next((project / "runs").iterdir())
    before = own_files(project)
    for path, words in (
        (run / "recipe.toml", "belongs to the project"),
        (project / "datasets" / "new.toml", "belongs to the project"),
        (project / "cache" / "new.toml", "belongs to the project"),
        (project / "tlstudio.json", "belongs to the project"),
        (tmp_path / "link.toml", "belongs to the project"),
        (tmp_path / "notes.txt", "is no .toml file; it would be lost"),
    ):
        path.parent.mkdir(exist_ok=True)
        press_action(panel, "train_save_recipe")
        dialog = find(window, "save_recipe_dialog")
        assert folder_of(dialog) == project
        assert words in refused(dialog, path, window.state, qtbot)
        close_errors(window, qtbot)
    assert own_files(project) == before
    assert (tmp_path / "notes.txt").read_text() == "not to be lost"
    press_action(panel, "train_save_recipe")
    choose(find(window, "save_recipe_dialog"), tmp_path / "kept", qtbot)
    assert "[backbone]" in (tmp_path / "kept.toml").read_text(encoding="utf-8")
    qtbot.waitUntil(lambda: window.findChild(QFileDialog) is None)
    press_action(panel, "train_save_recipe")
    dialog = find(window, "save_recipe_dialog")
    assert folder_of(dialog) == tmp_path
    dialog.reject()
    qtbot.waitUntil(lambda: window.findChild(QFileDialog) is None)


def test_a_recipe_is_read_from_a_plain_file_alone(
    window: MainWindow, project: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    window.go_to("train")
    panel = window.panel("train")
    assert isinstance(panel, TrainPanel)
    wait_for_jobs(window.state, qtbot)
    press_action(panel, "train_load_recipe")
    dialog = find(window, "load_recipe_dialog")
    assert folder_of(dialog) == project
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.toml")
        assert "pipe or device" in refused(dialog, tmp_path / "pipe.toml", window.state, qtbot)
        close_errors(window, qtbot)
        press_action(panel, "train_load_recipe")
        dialog = find(window, "load_recipe_dialog")
    run = next((project / "runs").iterdir())
    with qtbot.waitSignal(panel.setup.foot.recipe_menu.loaded):
        choose(dialog, run / "recipe.toml", qtbot)
    wait_for_jobs(window.state, qtbot)


@pytest.mark.parametrize("page", ["predict", "runs"])
def test_a_model_is_exported_beside_but_never_into_what_the_project_keeps(
    window: MainWindow, project: Path, tmp_path: Path, page: str, qtbot: QtBot
) -> None:
    window.go_to(page)
    panel = window.panel(page)
    wait_for_jobs(window.state, qtbot)
    assert isinstance(panel, PredictPanel | RunsPanel)
    button = "predict_export" if page == "predict" else "run_export"
    if isinstance(panel, RunsPanel):
        assert window.state.project is not None
        window.state.show_run.emit(window.state.project.runs()[0].id)
        wait_for_jobs(window.state, qtbot)
    before = own_files(project)
    for path in (project / "runs" / "model", project / "datasets" / "shapes" / "model", project / "logs" / "model"):
        click(panel, button, qtbot)
        dialog = find(window, "export_dialog")
        assert folder_of(dialog) == project
        assert "belongs to the project" in refused(dialog, path, window.state, qtbot)
        close_errors(window, qtbot)
        assert not path.exists()
    assert own_files(project) == before
    click(panel, button, qtbot)
    choose(find(window, "export_dialog"), tmp_path / "model", qtbot)
    qtbot.waitUntil((tmp_path / "model" / "config.json").is_file, timeout=LONG)
    wait_for_jobs(window.state, qtbot)


def test_predictions_are_written_beside_their_source_but_never_into_the_project(
    window: MainWindow, project: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    window.go_to("predict")
    panel = window.panel("predict")
    assert isinstance(panel, PredictPanel)
    wait_for_jobs(window.state, qtbot)
    source = draw_folder(tmp_path / "new", 1)
    (tmp_path / "kept.txt").write_text("not to be lost")
    run = next((project / "runs").iterdir())
    before = own_files(project)
    for path, words in (
        (run / "metrics.csv", "belongs to the project"),
        (project / "project.db", "belongs to the project"),
        (tmp_path / "kept.txt", "is no .csv file; it would be lost"),
    ):
        panel.many.drop.dropped.emit(source)
        dialog = find(window, "save_predictions_dialog")
        assert folder_of(dialog) == tmp_path
        assert words in refused(dialog, path, window.state, qtbot)
        close_errors(window, qtbot)
    assert own_files(project) == before
    panel.many.drop.dropped.emit(project / "datasets" / "shapes")
    dialog = find(window, "save_predictions_dialog")
    assert folder_of(dialog) == project
    dialog.reject()
    qtbot.waitUntil(lambda: window.findChild(QFileDialog) is None)
    panel.many.drop.dropped.emit(source)
    choose(find(window, "save_predictions_dialog"), tmp_path / "predictions", qtbot)
    qtbot.waitUntil((tmp_path / "predictions.csv").is_file, timeout=LONG)
    wait_for_jobs(window.state, qtbot)


def test_what_is_read_is_asked_for_in_the_project_or_where_it_was_found_before(
    window: MainWindow, project: Path, trained: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    images = draw_folder(tmp_path / "photos" / "birds", 1)
    window.go_to("data")
    panel = window.panel("data")
    assert isinstance(panel, DataPanel)
    for expected in (project, tmp_path / "photos"):
        click(panel.browser, "data_import", qtbot)
        menu = window.findChild(QMenu, "data_source_menu")
        assert isinstance(menu, QMenu)
        menu.actions()[0].trigger()
        menu.close()
        dialog = find(window, "import_dialog")
        assert folder_of(dialog) == expected
        if expected == project:
            choose(dialog, images, qtbot)
            wait_for_jobs(window.state, qtbot)
            click(panel.import_view, "import_cancel", qtbot)
        else:
            dialog.reject()
        qtbot.waitUntil(lambda: window.findChild(QFileDialog) is None)
    other = copied(trained, tmp_path / "other")
    window.state.open_project(other)
    wait_for_jobs(window.state, qtbot)
    assert place_of(window.state, "import") == other
    window.state.open_project(project)
    wait_for_jobs(window.state, qtbot)
    assert place_of(window.state, "import") == tmp_path / "photos"


def test_a_place_that_is_gone_or_was_never_known_is_no_reason_to_open_anywhere(
    window: MainWindow, project: Path, tmp_path: Path, elsewhere: Path, qtbot: QtBot
) -> None:
    remember_place(window.state, "import", tmp_path / "gone")
    assert place_of(window.state, "import") == project
    window.state.settings.setValue("places/import", "[not what it should be")
    assert place_of(window.state, "import") == project
    for number in range(20):
        window.state.settings.setValue(
            "places/many", "{}" if number == 0 else window.state.settings.value("places/many")
        )
        remember_place(window.state, "many", tmp_path)
    remember_place(window.state, "import", Path("/") / ("x" * 300))  # a system may refuse to look at all
    assert place_of(window.state, "import") == project
    for odd in ("~nobody of that name/x", "/" + "x" * 300, "/\0"):
        ask_file(window.state, window, "odd", "Choose some file", lambda _path: None, start=odd)
        dialog = find(window, "odd_dialog")
        assert folder_of(dialog) == project
        dialog.reject()
        qtbot.waitUntil(lambda: window.findChild(QFileDialog, "odd_dialog") is None)
    window.state.close_project()
    assert place_of(window.state, "import") == Path.home()
    ask_file(window.state, window, "some", "Choose some file", lambda _path: None, start="relative/path")
    dialog = find(window, "some_dialog")
    assert folder_of(dialog) == Path.home()
    assert folder_of(dialog) != elsewhere
    dialog.reject()


def test_an_option_that_is_a_file_is_chosen_in_a_dialog(
    window: MainWindow, project: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    window.go_to("train")
    panel = window.panel("train")
    assert isinstance(panel, TrainPanel)
    wait_for_jobs(window.state, qtbot)
    form = panel.setup.forms.forms["backbone"]
    qtbot.waitUntil(lambda: "weights" in form.rows, timeout=LONG)
    row = form.rows["weights"]
    (tmp_path / "weights.safetensors").write_bytes(b"")
    row._choose(folder=False)
    dialog = find(window, "backbone_weights_dialog")
    assert folder_of(dialog) == project
    choose(dialog, tmp_path / "weights.safetensors", qtbot)
    assert row.value == str(tmp_path / "weights.safetensors")
    wait_for_jobs(window.state, qtbot)
