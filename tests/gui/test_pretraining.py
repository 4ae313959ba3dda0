"""Learning without labels through the window alone: imported, looked at, learned, judged, and gone on from."""

from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from tests.gui import kinds
from tests.gui.conftest import click, wait_for_end, wait_for_jobs
from tests.gui.test_every_task import resnet, settle, titles_of
from tests.gui.test_kinds_of_data import imported
from tests.gui.trained import QUICK
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.store.project import Project


def test_images_without_labels_are_imported_and_learned_from(
    window: MainWindow, state: AppState, project: Project, tmp_path: Path, qtbot: QtBot
) -> None:
    state.set_project(project)
    window.go_to("data")
    data = window.panel("data")
    assert isinstance(data, DataPanel)
    wait_for_jobs(state, qtbot)
    source = kinds.write_cells(tmp_path / "cells", 12, (96, 72)) / "images"
    revision = imported(data, state, source, qtbot, chosen={"import_task": "pretraining"})
    assert (revision.task, len(revision), revision.format) == ("pretraining", 12, "image_folder")
    browser = data.browser
    browser.gallery.set_current(0)
    wait_for_jobs(state, qtbot)
    assert browser.details.view.case is not None
    assert browser.details._label.isHidden()
    assert titles_of(browser.table) == ["File", "Split", "Size"]
    assert browser.overview._classes.isHidden()
    assert browser.overview._targets.isHidden()

    window.go_to("train")
    train = window.panel("train")
    assert isinstance(train, TrainPanel)
    train.draft.set_backbone(resnet(32))
    train.draft.set_options("training", {**QUICK, "epochs": 1, "batch_size": 4, "augmentation": "strong"})
    settle(train, state, qtbot)
    assert train.draft.result.can_start, train.draft.result.problems
    click(train, "train_start", qtbot)
    wait_for_end(train, qtbot)
    wait_for_jobs(state, qtbot)
    (run,) = project.runs()
    assert run.status == "done"
    recipe = project.run(run.id).read_recipe()
    assert (recipe["head"]["name"], recipe["strategy"]["name"]) == ("contrastive", "full")

    window.go_to("runs")
    runs = window.panel("runs")
    assert isinstance(runs, RunsPanel)
    state.show_run.emit(run.id)
    wait_for_jobs(state, qtbot)
    assert runs.view is not None
    assert titles_of(runs.view.result.classes) == ["Item", "Loss"]
    assert runs.view.mistakes.gallery.items
    assert not runs.view.buttons["predict"].isEnabled()
    assert runs.view.buttons["export"].isEnabled()

    window.go_to("predict")
    page = window.panel("predict")
    assert isinstance(page, PredictPanel)
    page.use_run(run.id)
    assert page.empty.isVisible(), "it predicts nothing by itself, and is not offered"
