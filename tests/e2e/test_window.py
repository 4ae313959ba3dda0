"""Whole journeys through the real window: from a dropped folder to a prediction, and beside the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tests.conftest import SHAPES
from tests.gui.conftest import wait_for_end, wait_for_jobs
from tests.gui.test_project_page import click, drop, label_text
from tests.gui.trained import QUICK, TINY_VISION
from tlstudio.engine.evaluate import read_evaluation
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.store.project import Project
from tlstudio.store.run import Run

LONG = 60_000


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe on ``shapes`` that trains in a second or two."""
    path = tmp_path / "recipe.toml"
    values: dict[str, Any] = {
        "dataset": {"name": "shapes", "revision": "r1"},
        "backbone": TINY_VISION,
        "strategy": {"name": "full", "options": {}},
        "training": QUICK,
    }
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def import_by_drop(window: MainWindow, folder: Path, qtbot: QtBot) -> DataPanel:
    """Drop a folder on the Data page and import what the preview shows."""
    window.go_to("data")
    data = window.panel("data")
    assert isinstance(data, DataPanel)
    assert drop(data, folder)
    wait_for_jobs(window.state, qtbot)
    assert data.import_view.isVisible()
    click(window, "import_start", qtbot)
    wait_for_jobs(window.state, qtbot)
    qtbot.waitUntil(lambda: data.browser.gallery.count == 48)
    return data


def train(window: MainWindow, recipe_file: Path, qtbot: QtBot) -> Run:
    """Load a recipe on the Train page, press Train and wait for the end."""
    window.go_to("train")
    page = window.panel("train")
    assert isinstance(page, TrainPanel)
    page.setup.foot.recipe_menu.load_recipe(recipe_file)
    qtbot.waitUntil(lambda: not page.draft.pending, timeout=LONG)
    wait_for_jobs(window.state, qtbot)
    assert page.draft.result.can_start, page.draft.result.problems
    click(window, "train_start", qtbot)
    wait_for_end(page, qtbot)
    wait_for_jobs(window.state, qtbot)
    ended = page.live.ended
    assert ended is not None
    assert ended.status == "done", ended.error
    project = window.state.project
    assert project is not None
    return project.run(ended.run)


def test_a_dropped_folder_becomes_a_model_that_names_new_images(
    window: MainWindow, state: AppState, project: Project, shapes_folder: Path, recipe_file: Path, qtbot: QtBot
) -> None:
    state.set_project(project)
    data = import_by_drop(window, shapes_folder, qtbot)
    run = train(window, recipe_file, qtbot)
    page = window.panel("train")
    assert isinstance(page, TrainPanel)
    assert len(page.live.loss_plot.curve("train")) >= QUICK["epochs"]
    assert len(page.live.loss_plot.curve("validation")) == QUICK["epochs"]
    assert len(page.live.metric_plot.curve("validation")) == QUICK["epochs"]

    click(window, "train_see_result", qtbot)
    assert window.page == "runs"
    runs = window.panel("runs")
    assert isinstance(runs, RunsPanel)
    wait_for_jobs(state, qtbot)
    assert runs.view is not None
    evaluation = read_evaluation(run)
    assert evaluation.confusion is not None
    row, column = (int(at[0]) for at in np.nonzero(evaluation.confusion))
    true, predicted = evaluation.classes[row], evaluation.classes[column]
    matrix = runs.view.result.matrix
    qtbot.mouseClick(matrix.viewport(), Qt.MouseButton.LeftButton, pos=matrix.cell_rect(row, column).center())
    wait_for_jobs(state, qtbot)
    assert window.page == "data"
    revision = data.browser.revision
    assert revision is not None
    expected = {item.id for item in evaluation.items if (item.label, item.predicted) == (true, predicted)}
    assert {revision.sample(int(index)).id for index in data.browser.rows} == expected
    assert data.browser.gallery.count == len(expected) == evaluation.confusion[row, column]
    assert label_text(window, "data_count") == f"{len(expected)} of 48 items"

    window.go_to("predict")
    predict = window.panel("predict")
    assert isinstance(predict, PredictPanel)
    assert drop(predict.one.image.drop, shapes_folder / "circle" / "circle_00.png")
    qtbot.waitUntil(lambda: predict.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert {bar.name for bar in predict.one.answer_card.bars.bars} == set(SHAPES)
    assert predict.one.answer_card.bars.bars[0].name == predict.one.answer
    assert sum(bar.share for bar in predict.one.answer_card.bars.bars) == pytest.approx(1.0, abs=1e-3)


def test_window_and_command_line_make_the_same_run(
    window: MainWindow,
    state: AppState,
    project: Project,
    shapes_folder: Path,
    recipe_file: Path,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    state.set_project(project)
    import_by_drop(window, shapes_folder, qtbot)
    by_window = train(window, recipe_file, qtbot)

    other = tmp_path / "by command"
    tlstudio("new", other)
    tlstudio("import", other, shapes_folder, "--name", "shapes")
    told = tlstudio("train", other, "--recipe", recipe_file, "--json")
    assert told["status"] == "done"
    by_command = Path(told["folder"])
    assert files_in(by_window.folder) == files_in(by_command)
    assert told["metrics"] == by_window.metrics()
    recipes = [(folder / by_window.recipe_path.name).read_text("utf-8") for folder in (by_window.folder, by_command)]
    assert recipes[0] == recipes[1]


def tlstudio(*arguments: str | Path) -> Any:
    """Run a command as a user does; returns the object of its last line where ``--json`` asks for one."""
    words = [sys.executable, "-m", "tlstudio", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if "--json" in arguments else None


def files_in(folder: Path) -> set[str]:
    """Every file below a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
