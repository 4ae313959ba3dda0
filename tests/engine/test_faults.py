"""A loss that is no number: the batch behind it is named, and the last good checkpoint stays."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.loading import EpochSampler
from tlstudio.engine.training_state import FirstFault
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project

# A strategy that makes the fifth batch give no numbers, as one broken item does.
PLUGIN = """
from tlstudio.api import FineTuningStrategy, hookimpl

TLSTUDIO_API = "1.0"
seen = []


def poison(module, args):
    if module.training:
        seen.append(1)
        if len(seen) == 5:
            args[0]["pixels"].fill_(float("nan"))


class Poison(FineTuningStrategy):
    name, title, description = "poison", "Poison", "Breaks one batch."

    def prepare(self, model, options):
        model.backbone.register_forward_pre_hook(poison)

    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate)]


@hookimpl
def register_strategies():
    return [Poison()]
"""


def test_the_items_of_the_batch_are_named_and_the_checkpoint_before_is_kept(
    shapes_project: Project, tmp_path: Path, heard: Heard
) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "poison.py").write_text(PLUGIN, encoding="utf-8")
    manager = PluginManager(folder)
    manager.discover()
    revision = shapes_project.dataset("shapes")
    training = {"epochs": 3, "batch_size": 4, "checkpoint_every": 0, "seed": 3}
    recipe = complete({"backbone": TINY_VISION, "strategy": "poison", "training": training}, revision, manager.registry)
    run = execute_run(recipe, shapes_project, manager.registry, on_event=heard, control=heard.control)
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "failed"
    assert "no longer a number at step 5 (epoch 1)" in ended.error

    indices = revision.indices("train")
    batches = list(EpochSampler(indices * 0, 4, seed=3))
    ids = revision.ids(indices[[position for _, position in batches[4]]])
    assert f"The batch: {', '.join(ids)}." in ended.error
    state = json.loads((run.last_checkpoint / "state.json").read_text())
    assert state["step"] < 5


def test_of_many_batches_between_two_looks_the_first_bad_one_is_found() -> None:
    fault = FirstFault(torch.device("cpu"))
    for number in range(6):
        losses = torch.ones(2)
        if number >= 3:
            losses[1] = float("inf") if number == 3 else float("nan")
        fault.add(losses, torch.tensor([2 * number, 2 * number + 1]))
    found = fault.look()
    assert found is not None
    assert found.tolist() == [6, 7]
    fault.add(torch.ones(2), torch.tensor([0, 1]))
    assert fault.look() is None
