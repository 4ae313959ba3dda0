"""Activations that are computed again: less is kept, and the same is learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.engine.activations import recompute_activations
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.project import Project


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_run_learns_the_same_to_the_last_bit(shapes_project: Project, registry: Registry, strategy: str) -> None:
    # With BatchNorm in the backbone and dropout in the head.
    outcomes = []
    for recompute in (False, True):
        values: dict[str, Any] = {
            "backbone": TINY_VISION,
            "head": {"name": "classification", "options": {"dropout": 0.3}},
            "strategy": strategy,
            "training": {"epochs": 2, "batch_size": 8, "recompute": recompute, "threads": 1},
        }
        heard = Heard()
        recipe = complete(values, shapes_project.dataset("shapes"), registry)
        run = execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
        ended = heard.events[-1]
        assert isinstance(ended, RunEnded)
        assert ended.status == "done", ended.error or ended.traceback
        outcomes.append(outcome_of(run))
    assert outcomes[0].difference(outcomes[1]) == ""


def test_much_less_is_kept_for_the_backward_pass(registry: Registry) -> None:
    backbone = registry.backbone("mobilenet_v3_small")
    options = backbone.Options.model_validate({"weights": "random", "image_size": 64})
    kept: list[int] = []
    for recompute in (False, True):
        network = backbone.load(options).train()
        if recompute:
            recompute_activations(network.layer_groups())
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network({"pixels": torch.zeros(4, 3, 64, 64)}).require("pooled").sum()
        kept.append(sum(sizes.values()))
    assert kept[1] < kept[0] / 3
