"""What is said before a run: what learns in which part, what a step holds in memory, with methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.engine.conftest import TINY_VISION
from tests.engine.test_methods import Busy
from tlstudio import api
from tlstudio.api import FineTuningStrategy, Method
from tlstudio.api.method_modules import Inputs, MethodContext, MethodModule
from tlstudio.engine.advise import complete
from tlstudio.engine.memory import KeptActivations, PassingActivations
from tlstudio.engine.preflight import Preflight, preflight
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.methods import method_context
from tlstudio.testing.samples import tiny_samples, tiny_target


def planned(project: Project, registry: Registry, **values: Any) -> Preflight:
    revision = project.dataset("shapes")
    training = {"epochs": 2, "batch_size": 4, "device": "cpu"}
    recipe = complete({"backbone": TINY_VISION, "training": training, **values}, revision, registry)
    told = preflight(recipe, revision, registry)
    assert not told.problems, told.problems
    return told


def test_every_parameter_is_in_one_part_and_adapters_are_in_the_layers_that_they_stand_in(
    shapes_project: Project, registry: Registry
) -> None:
    told = planned(shapes_project, registry, strategy="lora")
    assert sum(part.trainable for part in told.groups) == told.trainable
    assert sum(part.total for part in told.groups) == told.total
    *layers, head = told.groups
    assert head.name == "head"
    assert head.trainable == head.total
    assert head.added == 0
    assert "beside the layers" not in [part.name for part in told.groups]
    assert all(part.added == part.trainable for part in layers)
    assert sum(part.added for part in layers) > 0
    assert all(part.learning_rate > 0 for part in told.groups if part.trainable)

    full = planned(shapes_project, registry, strategy="full")
    assert all(part.trainable == part.total and not part.added for part in full.groups)
    probe = planned(shapes_project, registry, strategy="linear_probe")
    assert [part.name for part in probe.groups if part.trainable] == ["head"]


def test_memory_is_that_of_the_model_its_gradients_its_moments_and_a_batch(
    shapes_project: Project, registry: Registry
) -> None:
    full = planned(shapes_project, registry, strategy="full").memory
    assert full is not None
    assert full.gradients == 4 * planned(shapes_project, registry, strategy="full").trainable
    assert full.optimizer == 2 * full.gradients
    assert full.total > full.parameters + full.gradients + full.optimizer
    probe = planned(shapes_project, registry, strategy="linear_probe").memory
    assert probe is not None
    anew = {"name": "linear_probe", "options": {"cache_features": False}}
    frozen = planned(shapes_project, registry, strategy=anew).memory
    assert frozen is not None
    assert frozen.activations < full.activations / 10, "only the head has a backward pass"
    pixels = 4 * 4 * 3 * 32 * 32
    assert pixels < probe.activations < full.activations, "the images and what the backbone makes of them at a time"
    larger = {"epochs": 2, "batch_size": 8, "device": "cpu", "optimizer": "sgd"}
    twice = planned(shapes_project, registry, strategy="full", training=larger).memory
    assert twice is not None
    assert twice.optimizer == twice.gradients
    assert twice.activations == pytest.approx(2 * full.activations, rel=0.1)


def test_what_methods_bring_and_compute_is_part_of_the_plan(two_projects: Project, registry: Registry) -> None:
    label = registry.add(Busy())
    try:
        plain = planned(two_projects, registry, strategy="full", dataset={"shots": 4})
        busy = planned(
            two_projects, registry, strategy="full", dataset={"shots": 4}, methods={"busy": {"dataset": "others"}}
        )
    finally:
        registry.remove(label)
    assert plain.memory is not None
    assert busy.memory is not None
    assert busy.trainable > plain.trainable, "it has a head of its own"
    assert busy.groups[-1].name.startswith("busy")
    assert busy.groups[-1].learning_rate == busy.groups[-2].learning_rate > busy.groups[0].learning_rate, "as the head"
    assert busy.total - plain.total == busy.trainable - plain.trainable == busy.groups[-1].total
    assert busy.memory.parameters > plain.memory.parameters, "it keeps a mean of all weights"
    # Beside each batch: the source, two views of what is unshown, and the batch again.
    assert busy.memory.activations > 3 * plain.memory.activations


def test_a_head_that_is_fitted_is_told_as_such(shapes_project: Project, registry: Registry) -> None:
    told = planned(shapes_project, registry, strategy="nearest_mean")
    assert told.sentence.startswith("Fits the head on ")
    assert told.memory is not None
    assert told.memory.gradients == told.memory.optimizer == 0
    assert told.memory.activations > 0, "the features are computed"
    assert told.seconds is not None


EPOCHS = 4


@pytest.mark.parametrize(
    ("strategy", "method", "expected"),
    [
        ("full", "", {}),
        ("lp_ft", "", {"": 1}),
        ("setfit", "", {"": 1 + EPOCHS}),
        ("nearest_mean", "", {"": 1}),
        ("surgical", "", {"": 2}),
        ("full", "swa", {"": 2}),
        ("linear_probe", "swa", {}),  # no statistics move
        ("full", "ewc", {"earlier": 1}),
    ],
)
def test_what_methods_go_through_by_themselves_is_told_before(
    strategy: str, method: str, expected: dict[str, int], registry: Registry, tmp_path: Path
) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    head, used = registry.head("classification"), registry.strategy(strategy)
    earlier = method_context(head, samples, target).model.eval().requires_grad_(False)
    context = method_context(
        head,
        samples,
        target,
        strategy=used,
        stream_targets={"earlier": target},
        models={"earlier": earlier},
        epochs=EPOCHS,
    )
    passed: dict[str, int] = {}

    def batches(name: str) -> Iterator[tuple[Inputs, torch.Tensor]]:
        passed[name] = passed.get(name, 0) + 1
        return context.batches(name)

    module = _built(used, registry.methods.get(method), replace(context, batches=batches))
    told = module.passes()
    module.begin()
    for epoch in range(EPOCHS):
        module.on_epoch_start(epoch)
        module.on_epoch_end()
    assert passed == expected
    with_gradients = strategy == "surgical" or method == "ewc"
    assert {name: times - 2 * with_gradients for name, times in told.items()} == passed, "each of these counts as 3"


def _built(strategy: FineTuningStrategy, method: Method | None, context: MethodContext) -> MethodModule:
    """The method that is part of a strategy, or else another one; where there is none, one that does nothing."""
    own = strategy.method(strategy.Options())
    if own is not None:
        return own[0].build(context, own[1])
    if method is None:
        return MethodModule(context)
    needed: dict[str, dict[str, Any]] = {"swa": {"start": 0.5}, "ewc": {"run": "r", "dataset": "d"}}
    return method.build(context, method.Options.model_validate(needed[method.name]))


class FarModule(MethodModule):
    """Would go through the samples a million times."""

    def passes(self) -> Mapping[str, float]:
        return {"": 1e6}


class Far(Method):
    """The method of the module above."""

    name, title, description = "far", "Far", "Goes far."

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        return FarModule(context)


def test_what_any_method_goes_through_by_itself_is_part_of_the_time(
    shapes_project: Project, registry: Registry
) -> None:
    label = registry.add(Far())
    try:
        plain = planned(shapes_project, registry, strategy="full")
        far = planned(shapes_project, registry, strategy="full", methods={"far": {}})
    finally:
        registry.remove(label)
    assert plain.seconds is not None
    assert far.seconds is not None
    assert far.seconds > 1000 * plain.seconds
    assert "h on this" in far.sentence


def test_groups_that_would_never_learn_are_told_before_a_run(shapes_project: Project, registry: Registry) -> None:
    few = planned(shapes_project, registry, strategy="gradual_unfreezing")
    (told,) = [note for note in few.notes if "layer groups" in note]
    needed = int(told.rpartition("training.epochs to ")[2].split()[0])
    enough = {"epochs": needed, "batch_size": 4, "device": "cpu"}
    plan = planned(shapes_project, registry, strategy="gradual_unfreezing", training=enough)
    assert not any("layer groups" in note for note in plan.notes)
    *layers, _ = [part.name for part in plan.groups]
    joining = ", ".join(f"{name} in {epoch}" for epoch, name in enumerate(reversed(layers), 2))
    assert plan.notes[0] == f"In epoch 1, the head learns alone; then join {joining}."


def test_of_blocks_of_which_one_is_chosen_in_the_run_the_costliest_is_planned(
    shapes_project: Project, registry: Registry
) -> None:
    blocks = {
        name: planned(shapes_project, registry, strategy={"name": "surgical", "options": {"block": name}})
        for name in ("first", "middle", "last", "auto")
    }
    chosen, full = blocks.pop("auto"), planned(shapes_project, registry, strategy="full")
    assert max(one.trainable for one in blocks.values()) <= chosen.trainable < full.trainable
    *layers, head = chosen.groups
    assert all(part.perhaps for part in layers)
    assert not head.perhaps
    assert not any(part.perhaps for part in blocks["first"].groups)
    assert chosen.sentence.startswith("Trains at most ")
    assert sum("chosen when the run begins" in note for note in chosen.notes) == 1
    assert chosen.memory is not None
    assert full.memory is not None
    assert max(one.memory.total for one in blocks.values() if one.memory) <= chosen.memory.total < full.memory.total


def test_what_a_pass_without_gradients_holds_is_counted_until_it_is_let_go() -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 4))
    x = torch.randn(32, 8)
    with torch.no_grad(), PassingActivations([x, *network.parameters()]) as passing:
        network(x)
        network(x)
    assert passing.peak == 4 * 2 * 32 * 16, "the widest layer, before and behind its activation function"


def test_kept_activations_are_counted_once_each_and_until_they_are_let_go() -> None:
    first, second = nn.Linear(8, 16), nn.Linear(16, 4)
    x = torch.randn(32, 8)
    with KeptActivations([*first.parameters(), *second.parameters()]) as kept:
        hidden = first(x).relu()
        loss = second(hidden).square().sum()
        # The input of each layer (that of the second is also what relu keeps), and what square keeps.
        expected = 4 * (32 * 8 + 32 * 16 + 32 * 4)
        assert kept.peak == expected
        loss.backward()
        del hidden, loss
        second(first(x)).sum().backward()
    assert kept.peak == expected, "what was let go is not counted again"
