"""What alignment, joint training and FixMatch add to the loss of a batch, computed anew in float64."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.plugins.float64 import Doubles, cross_entropies, doubles, sigmoid, softmax, stir, varied
from tlstudio.api import TargetInfo, Task
from tlstudio.api.method_modules import Inputs, MethodContext, MethodModule, TrainingStep
from tlstudio.engine.datasets import Batch
from tlstudio.engine.methods import ChosenMethod, Methods
from tlstudio.plugins import Registry
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio_methods.distances import mmd_distance
from tlstudio_methods.joint_module import JointModule

NOTHING = torch.empty(0)


def context_of(registry: Registry, folder: Path, task: Task = "classification", **parts: Any) -> MethodContext:
    """A run on four images, whose model is in evaluation mode and no longer where it began."""
    context = method_context(registry.head(task), tiny_samples("image", task, folder), tiny_target(task), **parts)
    context.model.eval()
    stir(context.model, 1)
    return context


def chosen_in(
    context: MethodContext, registry: Registry, name: str, **options: Any
) -> tuple[Methods, MethodModule, ChosenMethod]:
    """A method as a run of it alone has it."""
    method = registry.method(name)
    chosen = ChosenMethod(method, method.Options.model_validate(options))
    module = method.build(context, chosen.options).eval()
    return Methods((chosen,), {name: module}), module, chosen


def added(methods: Methods, step: TrainingStep, streams: Mapping[str, Batch]) -> Tensor:
    """What the methods add to the loss, computed as the loop does."""
    batch = Batch(step.inputs, step.targets, NOTHING, streams=dict(streams))
    step.features, step.output = methods.compute(step, batch)
    methods.losses(step, batch, torch.zeros(len(step.targets)))
    loss = methods.extra_loss(step, batch)
    assert isinstance(loss, Tensor)
    return loss


def covariance_distance(source: Doubles, target: Doubles) -> float:
    """Of CORAL."""
    gap = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    return float((gap**2).sum() / (4 * source.shape[1] ** 2))


def pairs(xs: Doubles, ys: Doubles) -> Doubles:
    """Squared distances of all pairs."""
    return np.asarray(((xs[:, None] - ys[None]) ** 2).sum(axis=2))


def middle_distance(source: Doubles, target: Doubles) -> float:
    """The median squared distance of a batch, of an even number of pairs the lower of both in the middle."""
    both = np.concatenate([source, target])
    squares = np.sort(pairs(both, both)[np.triu_indices(len(both), 1)])
    return float(squares[(len(squares) - 1) // 2])


def kernel_distance(
    source: Doubles, target: Doubles, *, kernels: int = 5, factor: float = 2.0, middle: float | None = None
) -> float:
    """Of MMD, without the likeness of a sample to itself."""
    middle = middle_distance(source, target) if middle is None else middle
    widths = [middle * factor ** (number - kernels // 2) for number in range(kernels)]

    def alike(xs: Doubles, ys: Doubles) -> Doubles:
        return np.asarray(np.mean([np.exp(-pairs(xs, ys) / width) for width in widths], axis=0))

    def within(xs: Doubles) -> float:
        return float(alike(xs, xs)[~np.eye(len(xs), dtype=bool)].mean())

    return within(source) + within(target) - 2 * float(alike(source, target).mean())


@pytest.mark.parametrize("layers", ["features", "outputs", "both"])
@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_alignment_adds_lambda_times_the_distance_of_each_of_its_layers(
    name: str, layers: str, registry: Registry, tmp_path: Path
) -> None:
    context = context_of(registry, tmp_path)
    stir(context.model.head, 2, size=2.0)  # so that its outputs count beside the features
    options: dict[str, Any] = {"kernels": 3, "factor": 3.0} if name == "mmd" else {}
    values = {"target": "others", "layers": layers, "strength": 0.7, "schedule": "linear", **options}
    methods, module, _ = chosen_in(context, registry, name, **values)
    step = training_step(context, progress=0.25)
    other = varied(step.inputs, 2, 6)
    loss = added(methods, step, {f"{name}/target": Batch(other, NOTHING, NOTHING)})
    total = 0.0
    for layer in ("features", "outputs") if layers == "both" else (layers,):
        two = []
        for inputs in (step.inputs, other):
            features, output = context.forward(inputs)
            two.append(doubles(features.require("pooled") if layer == "features" else output))
        total += kernel_distance(*two, kernels=3, factor=3.0) if name == "mmd" else covariance_distance(*two)
    assert abs(total) > 1e-4
    assert float(loss.detach()) == pytest.approx(0.7 * 0.25 * total, rel=1e-4)
    told = dict(module.quantities())
    assert told.pop("lambda") == pytest.approx(0.7 * 0.25)
    assert list(told.values()) == pytest.approx([total], rel=1e-4)


def test_the_gradient_of_mmd_is_that_of_its_kernels_with_the_median_held() -> None:
    rng = np.random.default_rng(1)
    two = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)) + 0.5
    middle, tiny = middle_distance(*two), 1e-5
    leaves = [torch.tensor(values, requires_grad=True) for values in two]
    mmd_distance(leaves[0], leaves[1], kernels=3, factor=3.0).backward()
    for values, leaf in zip(two, leaves, strict=True):
        slopes = np.empty_like(values)
        for place in np.ndindex(values.shape):
            at = values[place]
            ends = []
            for moved in (at + tiny, at - tiny):
                values[place] = moved
                ends.append(kernel_distance(*two, kernels=3, factor=3.0, middle=middle))
            values[place] = at
            slopes[place] = (ends[0] - ends[1]) / (2 * tiny)
        assert leaf.grad is not None
        np.testing.assert_allclose(doubles(leaf.grad), slopes, rtol=1e-6, atol=1e-9)


SOURCES = {
    "source 1": TargetInfo("classification", ("left", "right"), (2, 1)),
    "source 2": TargetInfo("regression", mean=-1.0, std=0.5),
}


def linear(head: nn.Module, features: Doubles) -> Doubles:
    """What a linear head makes of features."""
    weight, bias = (doubles(head.get_parameter(f"output.{name}")) for name in ("weight", "bias"))
    return np.asarray((features - doubles(head.get_buffer("centre.mean"))) @ weight.T + bias)


def test_two_sources_of_different_tasks_add_lambda_times_the_sum_of_their_mean_losses(
    registry: Registry, tmp_path: Path
) -> None:
    heads = {"regression": registry.head("regression")}
    context = context_of(registry, tmp_path, stream_targets=SOURCES, heads=heads)
    options = {"source": "sides, numbers", "strength": 0.8, "schedule": "falling", "ratio": 0.5}
    methods, module, chosen = chosen_in(context, registry, "joint", **options)
    asked = {name: (one.dataset, one.labelled, one.ratio, one.together) for name, one in chosen.streams().items()}
    assert asked == {"source 1": ("sides", True, 0.5, True), "source 2": ("numbers", True, 0.5, True)}
    assert isinstance(module, JointModule)
    for number, head in enumerate(module.heads):
        stir(head, 10 + number)
    step = training_step(context, progress=0.25)
    labels: dict[str, list[Any]] = {"source 1": ["right", "left", "right"], "source 2": [-1.5, 0.25]}
    streams = {
        f"joint/{name}": Batch(varied(step.inputs, seed, len(one)), methods.encoder("joint", name)(one, []), NOTHING)
        for seed, (name, one) in enumerate(labels.items(), start=5)
    }
    loss = added(methods, step, streams)
    pooled = [doubles(context.forward(one.inputs)[0].require("pooled")) for one in streams.values()]
    logits, values = (linear(head, features) for head, features in zip(module.heads, pooled, strict=True))
    classes = np.array([1, 0, 1])
    wanted = (np.array([-1.5, 0.25]) + 1) / 0.5  # in deviations of the source
    means = [cross_entropies(logits, classes).mean(), ((values[:, 0] - wanted) ** 2).mean()]
    strength = 0.8 * 0.75
    assert float(loss.detach()) == pytest.approx(strength * sum(means), rel=1e-5)
    told = module.quantities()
    assert told["lambda"] == pytest.approx(strength)
    assert [told["source 1 loss"], told["source 2 loss"]] == pytest.approx(means, rel=1e-5)
    loss.backward()
    slopes = [(softmax(logits) - np.eye(2)[classes]).mean(axis=0), [2 * (values[:, 0] - wanted).mean()]]
    for head, slope in zip(module.heads, slopes, strict=True):
        bias = head.get_parameter("output.bias").grad
        assert bias is not None
        np.testing.assert_allclose(doubles(bias), strength * np.asarray(slope), rtol=1e-4, atol=1e-7)
    assert all(parameter.grad is None for parameter in context.model.head.parameters())
    assert all(parameter.grad is not None for parameter in context.model.backbone.parameters())


def test_several_sources_with_one_head_are_all_learned_by_that_of_the_run(registry: Registry, tmp_path: Path) -> None:
    target = tiny_target("classification")
    context = context_of(registry, tmp_path, stream_targets=dict.fromkeys(SOURCES, target))
    options = {"source": "one, another", "strength": 0.8, "head": "shared"}
    methods, module, _ = chosen_in(context, registry, "joint", **options)
    assert not list(module.parameters())
    step = training_step(context)
    classes = {"source 1": np.array([2, 0, 1]), "source 2": np.array([1])}
    streams = {
        f"joint/{name}": Batch(varied(step.inputs, seed, len(one)), torch.tensor(one), NOTHING)
        for seed, (name, one) in enumerate(classes.items(), start=5)
    }
    loss = added(methods, step, streams)
    logits = {name: doubles(context.forward(streams[f"joint/{name}"].inputs)[1]) for name in classes}
    means = [cross_entropies(logits[name], one).mean() for name, one in classes.items()]
    assert float(loss.detach()) == pytest.approx(0.8 * sum(means), rel=1e-5)


def unlabelled_loss(model: nn.Module, weak: Inputs, strong: Inputs, threshold: float, *, several: bool) -> Tensor:
    """Of FixMatch: the weak view gives labels where it is sure, the strong one learns them."""
    said = doubles(model(weak))
    learned = model(strong)
    if several:
        yes = sigmoid(said)
        sure, labels = np.maximum(yes, 1 - yes) >= threshold, yes >= 0.5
        probability = torch.where(torch.tensor(labels), torch.sigmoid(learned), 1 - torch.sigmoid(learned))
    else:
        sure, labels = softmax(said).max(axis=1) >= threshold, said.argmax(axis=1)
        probability = torch.softmax(learned, dim=1)[torch.arange(len(labels)), torch.tensor(labels)]
    assert 0 < sure.sum() < sure.size, "some are sure and some are not"
    return -(probability.log() * torch.tensor(sure)).sum() / sure.size


@pytest.mark.parametrize(("task", "threshold"), [("classification", 0.55), ("multi_label", 0.7)])
def test_fixmatch_labels_by_the_light_view_and_learns_by_the_strong_one_what_is_sure(
    task: Task, threshold: float, registry: Registry, tmp_path: Path
) -> None:
    context = context_of(registry, tmp_path, task)
    options = {"dataset": "others", "threshold": threshold, "strength": 0.7, "strong": "randaugment", "ratio": 1.5}
    methods, module, chosen = chosen_in(context, registry, "fixmatch", **options)
    (asked,) = chosen.streams().values()
    assert [(name, view.augmentation) for name, view in asked.views.items()] == [
        ("strong", "randaugment"),  # the first is computed together with the run's own
        ("weak", "light"),
    ]
    assert (asked.dataset, asked.rows, asked.labelled, asked.ratio) == ("others", "train", False, 1.5)
    step = training_step(context)
    strong, weak = varied(step.inputs, 8, 6), varied(step.inputs, 9, 6)
    loss = added(methods, step, {"fixmatch/unlabelled": Batch(strong, NOTHING, NOTHING, {"weak": weak})})
    loss.backward()

    model = deepcopy(context.model).double()
    model.zero_grad()
    strong, weak = ({name: tensor.double() for name, tensor in view.items()} for view in (strong, weak))
    several = task == "multi_label"
    expected = 0.7 * unlabelled_loss(model, weak, strong, threshold, several=several)
    swapped = 0.7 * unlabelled_loss(model, strong, weak, threshold, several=several)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(swapped.detach()) != pytest.approx(float(expected.detach()), rel=1e-2)
    expected.backward()
    for found, reference in zip(context.model.parameters(), model.parameters(), strict=True):
        assert found.grad is not None
        assert reference.grad is not None
        torch.testing.assert_close(found.grad.double(), reference.grad, rtol=1e-3, atol=1e-6)
    assert module.quantities()["unlabelled loss"] == pytest.approx(float(expected.detach()) / 0.7, rel=1e-5)
