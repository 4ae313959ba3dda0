"""Out of memory: the batch size that is named has been tried."""

from __future__ import annotations

from pathlib import Path

from tests.engine.conftest import Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project

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


def run_hungry(project: Project, folder: Path, limit: int, plugin: str = PLUGIN) -> str:
    """Train with a batch of 16 where only `limit` fit; returns the error."""
    folder.mkdir()
    (folder / "hungry.py").write_text(plugin.replace("LIMIT", str(limit)), encoding="utf-8")
    manager = PluginManager(folder)
    manager.discover()
    backbone = {"name": "mobilenet_v3_small", "options": {"weights": "random", "image_size": 32}}
    values = {"backbone": backbone, "strategy": "hungry", "training": {"epochs": 1, "batch_size": 16}}
    heard = Heard()
    recipe = complete(values, project.dataset("shapes"), manager.registry)
    execute_run(recipe, project, manager.registry, on_event=heard, control=heard.control)
    ended: RunEnded = heard.of(RunEnded)[0]
    assert ended.status == "failed"
    return ended.error


def test_the_sentence_names_the_largest_halving_that_fits(shapes_project: Project, tmp_path: Path) -> None:
    error = run_hungry(shapes_project, tmp_path / "plugins", limit=5)
    assert "too little memory for a batch size of 16" in error
    assert "A batch size of 4 fits (tried just now); with accumulation 4" in error


def test_when_not_even_one_fits_the_sentence_says_so(shapes_project: Project, tmp_path: Path) -> None:
    error = run_hungry(shapes_project, tmp_path / "plugins", limit=0)
    assert "Not even a batch of one fits" in error


def test_memory_that_runs_out_while_features_are_computed_is_told_in_a_sentence(
    shapes_project: Project, tmp_path: Path
) -> None:
    caching = PLUGIN.replace(
        "def prepare", "def caches_features(self, options):\n        return True\n\n    def prepare"
    )
    error = run_hungry(shapes_project, tmp_path / "plugins", 0, plugin=caching.replace("module.training and ", ""))
    assert error.startswith("This machine has too little memory for a batch size of 16. Choose a smaller batch size.")
