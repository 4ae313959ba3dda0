"""A run for which memory was too small offers the batch that fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QAbstractButton
from pytestqt.qtbot import QtBot

from tests.engine.test_memory import PLUGIN
from tests.gui.conftest import click, wait_for_end
from tests.gui.trained import QUICK, tiny_recipe
from tlstudio.gui.app import build_window
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project


@pytest.fixture
def hungry_window(state: AppState, tmp_path: Path, qtbot: QtBot) -> Iterator[MainWindow]:
    """The window with a strategy that runs out of memory with more than 5 images."""
    folder = tmp_path / "hungry"
    folder.mkdir()
    (folder / "hungry.py").write_text(PLUGIN.replace("LIMIT", "5"), encoding="utf-8")
    state.manager = PluginManager(folder)
    state.manager.discover()
    made = build_window(state)
    made.show()
    qtbot.waitExposed(made)
    yield made
    made.close()
    qtbot.waitUntil(lambda: not made.isVisible())
    made.deleteLater()


def test_one_press_trains_with_the_batch_that_fits(
    hungry_window: MainWindow, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    state.set_project(shapes_project)
    hungry_window.go_to("train")
    page = hungry_window.panel("train")
    assert isinstance(page, TrainPanel)
    qtbot.waitUntil(lambda: not page.draft.pending, timeout=60_000)
    training = {**QUICK, "epochs": 1, "batch_size": 16}
    recipe = tiny_recipe(shapes_project, state.registry, strategy={"name": "hungry"}, training=training)
    page.start(recipe)
    wait_for_end(page, qtbot)
    button = page.findChild(QAbstractButton, "train_try_suggestion")
    assert isinstance(button, QAbstractButton)
    assert button.text() == "&Train with batch 4"
    click(page, "train_try_suggestion", qtbot)
    qtbot.waitUntil(lambda: len(shapes_project.runs()) == 2, timeout=60_000)
    wait_for_end(page, qtbot)
    done, failed = shapes_project.runs()
    assert (failed.status, done.status) == ("failed", "done")
    assert shapes_project.run(done.id).read_recipe()["training"]["accumulate"] == 4
    assert not button.isVisible()
