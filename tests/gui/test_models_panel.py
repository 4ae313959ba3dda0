"""The list of models: what is on this machine, adding one from files, using it, and taking it away."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QLabel, QMenu, QPushButton
from pytestqt.qtbot import QtBot
from safetensors.torch import save_file
from torchvision.models._api import get_model

from tests.conftest import import_reviews
from tests.gui.conftest import click, wait_for_jobs
from tests.hub import COMMIT, running_hub
from tests.plugins.test_text import write_model, write_tokenizer
from tlstudio.gui.panels.models import ModelsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.hub_dialog import HubDialog
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

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


def bert_folder(folder: Path) -> Path:
    """A small text model, as transformers writes it."""
    folder.mkdir()
    write_model(folder, "bert")
    write_tokenizer(folder)
    return folder


def torchvision_file(folder: Path) -> Path:
    torch.save(get_model("squeezenet1_1", weights=None).state_dict(), folder / "squeezenet.pth")
    return folder / "squeezenet.pth"


def timm_file(folder: Path) -> Path:
    save_file(timm.create_model("mobilenetv3_small_100").state_dict(), folder / "mine.safetensors")
    return folder / "mine.safetensors"


def packed(folder: Path, name: str) -> Path:
    """A zip file or a wheel with a text model in it."""
    model = bert_folder(folder / "my_bert")
    with zipfile.ZipFile(folder / name, "w") as archive:
        for file in model.iterdir():
            archive.write(file, f"my_bert/{file.name}")
    return folder / name


MODELS: dict[str, tuple[str, str, Callable[[Path], Path]]] = {
    "torchvision state dict": ("shapes", "squeezenet1_1", torchvision_file),
    "timm checkpoint": ("shapes", "mobilenetv3_small_100", timm_file),
    "transformers folder": ("reviews", "auto_model", lambda folder: bert_folder(folder / "bert")),
    "zip": ("reviews", "auto_model", lambda folder: packed(folder, "model.zip")),
    "wheel": ("reviews", "auto_model", lambda folder: packed(folder, "my_bert-1.0-py3-none-any.whl")),
}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *(("list", kind) for kind in ("timm checkpoint", "transformers folder", "zip")),
        *(("option", kind) for kind in ("torchvision state dict", "timm checkpoint", "wheel")),
    ],
)
def test_a_model_of_another_library_is_loaded_from_the_list_or_by_its_path(
    state: AppState,
    shapes_project: Project,
    reviews_csv: Path,
    tmp_path: Path,
    qtbot: QtBot,
    registry: Registry,
    place: str,
    kind: str,
) -> None:
    dataset, backbone, make = MODELS[kind]
    import_reviews(shapes_project, reviews_csv, registry)
    source = make(tmp_path)
    state.set_project(shapes_project)
    state.select_dataset(dataset)
    train = TrainPanel(state)
    qtbot.addWidget(train)
    train.show()
    train.setup.refresh_datasets()
    if place == "list":
        panel = ModelsPanel(state)
        qtbot.addWidget(panel)
        panel.show()
        wait_for_jobs(state, qtbot)
        panel.add(source)
        qtbot.waitUntil(lambda: panel.chosen is not None and panel.chosen.place == "yours", timeout=LONG)
        wait_for_jobs(state, qtbot)
        click(panel, "models_use", qtbot)
    else:
        train.draft.set_component("backbone", backbone)
        qtbot.waitUntil(lambda: not train.draft.pending, timeout=LONG)
        wait_for_jobs(state, qtbot)
        form = train.setup.forms.forms["backbone"]
        form.set_values({"weights": str(source)})
        train.setup.forms.changed.emit("backbone")
    qtbot.waitUntil(lambda: not train.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)
    result = train.draft.result
    assert result.can_start, result.problems
    assert result.recipe is not None
    assert result.recipe.backbone.name == backbone
    assert result.preflight is not None, "it was loaded, and a step was measured"


def test_a_model_is_downloaded_from_a_hub_once_that_is_allowed_and_can_be_cancelled(
    state: AppState, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub" / "lab").mkdir(parents=True)
    bert_folder(tmp_path / "hub" / "lab" / "bert")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    panel = ModelsPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    wait_for_jobs(state, qtbot)

    def fill() -> HubDialog:
        click(panel, "models_add", qtbot)
        menu = panel.findChild(QMenu, "models_add_menu")
        assert isinstance(menu, QMenu)
        hub_action = next(action for action in menu.actions() if action.objectName() == "models_add_hub")
        menu.close()
        hub_action.trigger()
        dialog = panel.findChild(HubDialog, "hub_dialog")
        assert isinstance(dialog, HubDialog)
        dialog.model_edit.setText("lab/bert")
        return dialog

    with running_hub(tmp_path / "hub") as hub:
        dialog = fill()
        dialog.address_edit.setText(hub.address)
        button = dialog.findChild(QPushButton, "hub_download")
        assert isinstance(button, QPushButton)
        assert not button.isEnabled(), "downloads are off until they are allowed"
        assert "allow them above" in dialog.reason.text()
        dialog.allow.click()
        hub.hold_at = 10
        click(dialog, "hub_download", qtbot)
        qtbot.waitUntil(lambda: "model.safetensors" in hub.files and state.jobs.jobs[0].total > 0, timeout=LONG)
        assert "Downloading lab/bert: " in state.jobs.jobs[0].text
        state.jobs.jobs[0].cancel()
        wait_for_jobs(state, qtbot)
        hub.go_on.set()
        panel.refresh()
        wait_for_jobs(state, qtbot)
        assert "yours:lab-bert" not in panel.models
        again = fill()
        assert again.allow.isChecked()
        assert again.address_edit.text() == hub.address
        asked = len(hub.files)
        click(again, "hub_download", qtbot)
        qtbot.waitUntil(lambda: "yours:lab-bert" in panel.models and panel.chosen is not None, timeout=LONG)
        wait_for_jobs(state, qtbot)
        assert hub.files[asked:] == ["model.safetensors"], "what had arrived is not fetched again"
    assert f"{hub.address}/lab/bert, commit {COMMIT}" in text_of(panel, "models_origin")
    assert len(text_of(panel, "models_sha256")) == 64
    assert panel.use_button.isEnabled()
