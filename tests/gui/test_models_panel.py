"""The list of models: what is on this machine, adding one from files, using it, and taking it away."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QLabel
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_jobs
from tlstudio.gui.panels.models import ModelsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState

LONG = 60_000


@pytest.fixture
def panel(trained_state: AppState, qtbot: QtBot) -> ModelsPanel:
    """The list of models, with a project that has two runs."""
    made = ModelsPanel(trained_state)
    qtbot.addWidget(made)
    made.resize(1180, 640)
    made.show()
    qtbot.waitUntil(lambda: bool(made.models), timeout=LONG)
    wait_for_jobs(trained_state, qtbot)
    return made


def text_of(panel: ModelsPanel, name: str) -> str:
    """The whole text of a label."""
    label = panel.findChild(QLabel, name)
    assert isinstance(label, QLabel)
    return label.text()


def test_runs_and_starter_models_are_listed_and_searched(panel: ModelsPanel, state: AppState) -> None:
    places = {entry.place for entry in panel.models.values()}
    assert {"run", "starter"} <= places
    assert panel.table.model().rowCount() == len(panel.models)
    panel.search.setText("efficientnet_lite0")
    assert panel.table.model().rowCount() == 1
    panel.table.choose("no such model")
    assert not panel.details.isVisible()


def test_a_run_of_the_list_becomes_the_start_of_the_next_one(panel: ModelsPanel, state: AppState, qtbot: QtBot) -> None:
    run = next(entry for entry in panel.models.values() if entry.place == "run")
    panel.table.choose(run.id)
    assert panel.chosen == run
    train = TrainPanel(state)
    qtbot.addWidget(train)
    train.show()
    qtbot.waitUntil(lambda: not train.draft.pending, timeout=LONG)
    with qtbot.waitSignal(state.navigate) as gone:
        click(panel, "models_use", qtbot)
    assert gone.args == ["train"]
    qtbot.waitUntil(lambda: not train.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)
    recipe = train.draft.result.recipe
    assert recipe is not None
    assert recipe.backbone.start_from == run.start_from
    assert train.draft.result.can_start


def test_a_weight_file_is_added_hashed_and_removed(
    panel: ModelsPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    source = tmp_path / "mine.safetensors"
    checkpoint = next(entry for entry in panel.models.values() if entry.place == "starter" and entry.path.is_file())
    source.write_bytes(checkpoint.path.read_bytes())
    panel.add(source)
    qtbot.waitUntil(lambda: "yours:mine" in panel.models and panel.chosen is not None, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert panel.chosen is not None
    assert panel.chosen.id == "yours:mine"
    click(panel, "models_hash", qtbot)
    wait_for_jobs(state, qtbot)
    assert len(text_of(panel, "models_sha256")) == 64
    click(panel, "models_remove", qtbot)
    dialog = panel.findChild(QDialog, "remove_model")
    assert isinstance(dialog, QDialog)
    click(dialog, "remove_model_yes", qtbot)
    qtbot.waitUntil(lambda: "yours:mine" not in panel.models, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert source.is_file()
    qtbot.keyClick(panel.search, Qt.Key.Key_Escape)
