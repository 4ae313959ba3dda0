"""Out of memory: the batch size that is named has been tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.engine.conftest import Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.events import Note, RunEnded, RunStarted, from_json
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project
from tlstudio.store.run import Run

# A strategy that makes the backbone fail as a full GPU does, for batches above 5.
PLUGIN = """
import weakref

import torch
from tlstudio.api import FineTuningStrategy, hookimpl

TLSTUDIO_API = "1.0"


held = []


def refuse(module, args):
    activations = torch.ones(4)  # as a real step, which holds what it has computed when memory runs out
    if any(earlier() is not None for earlier in held):
        raise torch.OutOfMemoryError("CUDA out of memory: the first step was never let go.")
    if module.training and len(args[0]["pixels"]) > LIMIT:
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Hungry(FineTuningStrategy):
    name, title, description = "hungry", "Hungry", "Runs out of memory."

    def prepare(self, model, options):
        model.backbone.register_forward_pre_hook(refuse)

    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate)]


@hookimpl
def register_strategies():
    return [Hungry()]
"""


def run_hungry(project: Project, folder: Path, limit: int, plugin: str = PLUGIN, **training: Any) -> tuple[Run, Heard]:
    """Train with a batch of 16 where only `limit` fit."""
    folder.mkdir()
    (folder / "hungry.py").write_text(plugin.replace("LIMIT", str(limit)), encoding="utf-8")
    manager = PluginManager(folder)
    manager.discover()
    backbone = {"name": "test_resnet", "options": {"weights": "random", "image_size": 32}}
    values = {"backbone": backbone, "strategy": "hungry", "training": {"epochs": 1, "batch_size": 16, **training}}
    heard = Heard()
    recipe = complete(values, project.dataset("shapes"), manager.registry)
    run = execute_run(recipe, project, manager.registry, on_event=heard, control=heard.control)
    return run, heard


def end_of(heard: Heard) -> RunEnded:
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    return ended


def test_the_sentence_names_the_largest_halving_that_fits(shapes_project: Project, tmp_path: Path) -> None:
    _, heard = run_hungry(shapes_project, tmp_path / "plugins", limit=5, accumulate=2)
    ended = end_of(heard)
    assert ended.status == "failed"
    assert "too little memory for a batch size of 16" in ended.error
    assert "A batch size of 4 fits (tried just now); with accumulation 8 it learns as from 32." in ended.error
    assert ended.suggestion == {"training.batch_size": 4, "training.accumulate": 8}


def test_if_wanted_the_run_begins_anew_with_the_batch_that_fits(shapes_project: Project, tmp_path: Path) -> None:
    run, heard = run_hungry(shapes_project, tmp_path / "plugins", limit=5, smaller_batch=True)
    assert end_of(heard).status == "done", end_of(heard).error
    assert any("begins anew with a batch size of 4" in note.text for note in heard.of(Note))
    assert run.read_recipe()["training"] | {"batch_size": 4, "accumulate": 4} == run.read_recipe()["training"]
    started = [event for line in run.event_lines() if isinstance(event := from_json(line)[0], RunStarted)]
    assert len(started) == 1  # what the failed beginning has said is gone
    assert started[0].steps_per_epoch == 2  # as with 16: the one sample left over joins the step before


def test_when_not_even_one_fits_the_sentence_says_so(shapes_project: Project, tmp_path: Path) -> None:
    _, heard = run_hungry(shapes_project, tmp_path / "plugins", limit=0, smaller_batch=True)
    assert "Not even a batch of one fits" in end_of(heard).error
    assert not end_of(heard).suggestion


def test_memory_that_runs_out_while_features_are_computed_is_told_in_a_sentence(
    shapes_project: Project, tmp_path: Path
) -> None:
    caching = PLUGIN.replace(
        "def prepare", "def caches_features(self, options):\n        return True\n\n    def prepare"
    )
    plugin = caching.replace("module.training and ", "")
    _, heard = run_hungry(shapes_project, tmp_path / "plugins", 0, plugin=plugin)
    assert end_of(heard).error.startswith(
        "This machine has too little memory for a batch size of 16. Choose a smaller batch size."
    )
