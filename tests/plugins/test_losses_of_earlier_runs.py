"""What replay, distillation, LwF and L2-SP put into the loss of a batch, computed anew in float64 from the outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.plugins.float64 import Doubles, cross_entropies, doubles, sigmoid, softmax, stir, varied
from tlstudio.api import TargetInfo, Task
from tlstudio.api.method_modules import MethodContext, MethodModule, StreamBatch, TrainingStep
from tlstudio.plugins import Registry
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import CLASSES, tiny_samples, tiny_target
from tlstudio_methods.distillation_module import LwFModule

TURNED = (CLASSES[2], CLASSES[0], CLASSES[1])  # the same classes, each elsewhere


def context_of(registry: Registry, folder: Path, target: TargetInfo, seed: int, **parts: Any) -> MethodContext:
    """A run on four images, whose model is in evaluation mode and no longer where it began."""
    samples = tiny_samples("image", target.task, folder)
    context = method_context(registry.head(target.task), samples, target, **parts)
    context.model.eval()
    stir(context.model, seed)
    return context


def taught_and_learning(
    registry: Registry, folder: Path, name: str, taught: TargetInfo, own: TargetInfo, **options: Any
) -> tuple[MethodContext, MethodModule, TrainingStep]:
    """A method beside an earlier run, and a batch that the two models see in different views."""
    teacher = context_of(registry, folder, taught, seed=1).model.requires_grad_(False)
    context = context_of(registry, folder, own, seed=2, models={"teacher": teacher})
    method = registry.method(name)
    module = method.build(context, method.Options.model_validate({"teacher": "x", **options}))
    step = training_step(context)
    step.views = {"teacher": varied(step.inputs, 3, len(step.targets))}
    step.features, step.output = context.forward(step.inputs)
    return context, module, step


def imitation(student: Doubles, teacher: Doubles, task: Task, heat: float) -> Doubles:
    """How far each sample is from the teacher; numbers in a common unit."""
    if task == "regression":
        return np.asarray(((student - teacher) ** 2 / 2).mean(axis=1))
    if task == "multi_label":
        p, q = sigmoid(teacher / heat), sigmoid(student / heat)
        apart = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return np.asarray(heat**2 * apart.mean(axis=1))
    p, q = softmax(teacher / heat), softmax(student / heat)
    return np.asarray(heat**2 * (p * np.log(p / q)).sum(axis=1))


def of_other_numbers(values: Doubles) -> Doubles:
    """From numbers with mean -1 and deviation 0.5 to those with mean 3 and deviation 2, both in their deviations."""
    return np.asarray((values * 0.5 - 1 - 3) / 2)


OTHER_NUMBERS = TargetInfo("regression", mean=-1.0, std=0.5)


def test_replay_adds_lambda_times_the_mean_loss_of_the_kept_samples_of_all_streams(
    registry: Registry, tmp_path: Path
) -> None:
    context = context_of(registry, tmp_path, tiny_target("classification"), seed=1)
    method = registry.method("replay")
    options = method.Options.model_validate({"datasets": "first, second", "strength": 0.7, "kept": 9, "ratio": 0.5})
    asked = [(one.name, one.dataset, one.labelled, one.ratio, one.limit) for one in method.streams(options)]
    assert asked == [("first", "first", True, 0.25, 9), ("second", "second", True, 0.25, 9)]
    module, step = method.build(context, options), training_step(context)
    names = {"first": [CLASSES[2], CLASSES[0], CLASSES[1]], "second": [CLASSES[1]]}
    step.streams = {
        name: StreamBatch({"": varied(step.inputs, seed, len(labels))}, module.encoder(name)(labels, []))
        for seed, (name, labels) in enumerate(names.items())
    }
    logits = np.concatenate([doubles(context.forward(one.inputs)[1]) for one in step.streams.values()])
    classes = np.array([CLASSES.index(label) for labels in names.values() for label in labels])
    mean = cross_entropies(logits, classes).mean()
    loss = module.extra_loss(step)
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(0.7 * mean, rel=1e-5)
    assert module.quantities() == {"loss of earlier data": pytest.approx(mean, rel=1e-5)}
    loss.backward()
    bias = context.model.head.get_parameter("output.bias").grad
    assert bias is not None
    slope = softmax(logits) - np.eye(3)[classes]
    np.testing.assert_allclose(doubles(bias), 0.7 * slope.mean(axis=0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_distillation_mixes_the_loss_of_the_label_with_that_of_imitating_the_teacher(
    task: Task, registry: Registry, tmp_path: Path
) -> None:
    own = tiny_target(task)
    taught = OTHER_NUMBERS if task == "regression" else replace(own, classes=TURNED)
    context, module, step = taught_and_learning(
        registry, tmp_path, "distillation", taught, own, weight=0.3, temperature=3.0
    )
    teacher, student = doubles(context.models["teacher"](step.views["teacher"])), doubles(step.computed()[1])
    wanted = of_other_numbers(teacher) if task == "regression" else teacher[:, [1, 2, 0]]
    losses = torch.tensor([0.5, 1.5, 0.1, 2.0])
    imitated = imitation(student, wanted, task, 3.0)
    found = module.losses(step, losses)
    np.testing.assert_allclose(doubles(found), 0.7 * doubles(losses) + 0.3 * imitated, rtol=1e-5)
    assert module.quantities()["imitation loss"] == pytest.approx(imitated.mean(), rel=1e-5)
    assert imitated.min() > 1e-3
    found.mean().backward()
    assert all(parameter.grad is not None for parameter in context.model.parameters())


MORE = TargetInfo("classification", ("new", *TURNED), (4, 1, 0, 0))
"""Of what an earlier run has learned, the new samples have one class; the other two are held."""


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_lwf_holds_what_the_own_head_says_of_what_the_new_samples_do_not_tell(
    task: Task, registry: Registry, tmp_path: Path
) -> None:
    own, taught = (MORE, tiny_target(task)) if task == "classification" else (tiny_target(task), OTHER_NUMBERS)
    context, module, step = taught_and_learning(registry, tmp_path, "lwf", taught, own, strength=0.5, temperature=2.0)
    assert not list(module.parameters())
    teacher, now = doubles(context.models["teacher"](step.views["teacher"])), doubles(step.computed()[1])
    if task == "classification":  # the first two of the earlier classes have no new samples
        expected = imitation(now[:, [2, 3]], teacher[:, [0, 1]], task, 2.0).mean()
    else:
        expected = imitation(now, of_other_numbers(teacher), task, 2.0).mean()
    loss = module.extra_loss(step)
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(0.5 * expected, rel=1e-5)
    assert module.quantities() == {"drift of the earlier task": pytest.approx(expected, rel=1e-5)}


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_lwf_holds_a_task_that_the_head_does_not_know_by_a_copy_of_the_earlier_head_that_learns(
    task: Task, registry: Registry, tmp_path: Path
) -> None:
    own = TargetInfo("classification", ("a", "b"), (2, 2))
    teacher = context_of(registry, tmp_path, tiny_target(task), seed=1).model.requires_grad_(False)
    samples = [
        replace(one, label="ab"[at % 2]) for at, one in enumerate(tiny_samples("image", "pretraining", tmp_path))
    ]
    context = method_context(registry.head("classification"), samples, own, models={"teacher": teacher})
    context.model.eval()
    stir(context.model, 2)
    method = registry.method("lwf")
    module = method.build(context, method.Options.model_validate({"teacher": "x", "strength": 0.5, "temperature": 3}))
    assert isinstance(module, LwFModule)
    assert module.old_head is not None
    first = {name: tensor.clone() for name, tensor in teacher.head.state_dict().items()}
    assert all(torch.equal(tensor, first[name]) for name, tensor in module.old_head.state_dict().items())
    stir(module.old_head, 4)  # it has learned
    assert all(torch.equal(tensor, first[name]) for name, tensor in teacher.head.state_dict().items())
    step = training_step(context)
    step.views = {"teacher": varied(step.inputs, 3, 4)}
    step.features, step.output = context.forward(step.inputs)
    weight, bias = (doubles(module.old_head.get_parameter(f"output.{name}")) for name in ("weight", "bias"))
    now = doubles(step.features.require("pooled")) @ weight.T + bias
    expected = imitation(now, doubles(teacher(step.views["teacher"])), task, 3.0).mean()
    loss = module.extra_loss(step)
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(0.5 * expected, rel=1e-5)
    loss.backward()
    assert all(parameter.grad is not None for parameter in context.model.backbone.parameters())
    assert all(parameter.grad is None for parameter in context.model.head.parameters())
    learning = [one for group in module.param_groups(learning_rate=0.1, weight_decay=0) for one in group.params]
    assert {id(one) for one in learning} == {id(one) for one in module.old_head.parameters()}
    assert all(parameter.grad is not None for parameter in learning)


def test_l2_sp_pulls_what_learns_to_where_it_was_before_the_first_step_and_leaves_out_what_is_frozen(
    registry: Registry, tmp_path: Path
) -> None:
    target, partial = tiny_target("classification"), registry.strategy("partial")
    context = context_of(registry, tmp_path, target, seed=1, strategy=partial)
    backbone, head = context.model.backbone, context.model.head
    method = registry.method("l2_sp")
    options = method.Options.model_validate({"alpha": 0.3, "beta": 0.2})
    module = method.build(context, options)
    stir(context.model, 2)  # whatever is done to the model between here and the first step
    module.begin()
    start = {name: doubles(parameter) for name, parameter in backbone.named_parameters()}
    stir(context.model, 3)

    def expected() -> float:
        pulls = [((doubles(p) - start[name]) ** 2).sum() for name, p in backbone.named_parameters() if p.requires_grad]
        sizes = [(doubles(parameter) ** 2).sum() for parameter in head.parameters()]
        return float(0.15 * sum(pulls) + 0.1 * sum(sizes))

    def penalty(one: MethodModule) -> float:
        loss = one.extra_loss(training_step(context))
        assert loss is not None
        return float(loss.detach())

    assert 0 < sum(parameter.requires_grad for parameter in backbone.parameters()) < len(start)
    few = expected()
    assert penalty(module) == pytest.approx(few, rel=1e-5)
    again = method.build(context, options)  # a run that goes on builds it on what it has come to
    again.load_state_dict(module.state_dict())
    assert penalty(again) == pytest.approx(few, rel=1e-5)
    backbone.requires_grad_(True)  # as gradual unfreezing does later
    assert expected() > 1.1 * few
    assert penalty(module) == pytest.approx(expected(), rel=1e-5)


def test_a_second_task_is_learned_and_less_is_forgotten_of_the_first_than_without_a_method(
    registry: Registry, tmp_path: Path
) -> None:
    head, target = registry.head("classification"), tiny_target("classification")
    samples = tiny_samples("image", "classification", tmp_path)
    earlier = method_context(head, samples, target)
    first = training_step(earlier)
    learn(earlier, None, first)
    earlier.model.requires_grad_(False)
    negative = {name: -tensor for name, tensor in first.inputs.items()}
    second = replace(first, inputs=negative, targets=(first.targets + 1) % 3, views={"teacher": negative})

    def left(context: MethodContext) -> list[float]:
        both = [(doubles(context.forward(one.inputs)[1]), doubles(one.targets)) for one in (first, second)]
        return [float(cross_entropies(logits, classes).mean()) for logits, classes in both]

    def after(name: str = "", **options: Any) -> list[float]:
        models, streams = {"teacher": earlier.model, "earlier": earlier.model}, {"earlier": target}
        context = method_context(head, samples, target, stream_targets=streams, models=models)
        context = replace(context, head_taken_over=True)
        context.model.load_state_dict(earlier.model.state_dict())
        method = registry.method(name) if name else None
        module = method.build(context, method.Options.model_validate(options)) if method else None
        step = replace(second, forward=context.forward)
        step.streams = {"earlier": StreamBatch({"": first.inputs}, first.targets)}
        learn(context, module, step)
        return left(context)

    before, without = left(earlier), after()
    assert without[0] > 3 * before[0], "without one, the first is forgotten"
    for held in (
        after("lwf", teacher="x"),
        after("ewc", run="x", dataset="y", strength=1000),
        after("replay", datasets="earlier"),
    ):
        assert held[0] < 0.75 * without[0]
        assert held[1] < 0.75 * before[1], "the second is learned all the same"


def learn(context: MethodContext, module: MethodModule | None, step: TrainingStep) -> None:
    """Learn from one batch for some steps, with statistics and dropout as in evaluation."""
    context.model.eval()
    optimizer = torch.optim.Adam(context.model.parameters(), lr=0.01)
    if module is not None:
        module.begin()
    for _ in range(40):
        optimizer.zero_grad()
        step.features, step.output = context.forward(step.inputs)
        loss = context.model.head.loss(step.output, step.targets).mean()
        extra = module.extra_loss(step) if module is not None else None
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
