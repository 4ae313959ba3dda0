"""Distillation, learning without forgetting, replay and elastic weights: their mathematics, and who may teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import TINY_VISION, Heard
from tests.engine.resuming import at_step, gone_on_with
from tlstudio.api import ProblemsError, TargetInfo
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import Note, RunEnded, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio_methods.distillation_module import held_outputs, imitation_loss

TRAINING = {"epochs": 2, "batch_size": 4, "checkpoint_every": 0, "augmentation": "none"}


def values(**parts: Any) -> dict[str, Any]:
    return {
        "dataset": {"shots": 4},
        "backbone": TINY_VISION,
        "head": {"name": "classification"},
        "strategy": "full",
        "training": TRAINING,
        **parts,
    }


def train(project: Project, registry: Registry, recipe: dict[str, Any]) -> tuple[Run, Heard]:
    heard = Heard()
    completed = complete(recipe, project.dataset("shapes"), registry)
    run = execute_run(completed, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run, heard


def test_imitation_is_the_divergence_of_softened_probabilities_times_the_square_of_the_temperature() -> None:
    rng = np.random.default_rng(0)
    student, teacher, heat = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), 3.0

    def softmax(row: np.ndarray) -> np.ndarray:
        parts: np.ndarray = np.exp(row / heat) / np.exp(row / heat).sum()
        return parts

    expected = [
        heat**2 * sum(p * np.log(p / q) for p, q in zip(softmax(t), softmax(s), strict=True))
        for s, t in zip(student, teacher, strict=True)
    ]
    found = imitation_loss(torch.tensor(student), torch.tensor(teacher), "classification", heat)
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-12)

    def sigmoid(x: float) -> float:
        return float(1 / (1 + np.exp(-x / heat)))

    several = [
        heat**2
        * np.mean(
            [
                sigmoid(b) * np.log(sigmoid(b) / sigmoid(a))
                + (1 - sigmoid(b)) * np.log((1 - sigmoid(b)) / (1 - sigmoid(a)))
                for a, b in zip(s, t, strict=True)
            ]
        )
        for s, t in zip(student, teacher, strict=True)
    ]
    found = imitation_loss(torch.tensor(student), torch.tensor(teacher), "multi_label", heat)
    assert found.numpy() == pytest.approx(np.array(several), abs=1e-12)


def test_a_run_learns_from_a_teacher_and_one_that_was_cut_off_ends_bit_for_bit(
    two_projects: Project, registry: Registry
) -> None:
    teacher, _ = train(two_projects, registry, values())
    recipe = values(methods={"distillation": {"teacher": teacher.id, "weight": 1.0}})
    whole, (cut,) = gone_on_with(two_projects, registry, recipe, at_step(5))
    assert all("distillation/imitation loss" in event.quantities for event in whole.of(StepLogged))
    assert cut.step == 4  # in the middle of the second epoch


def test_a_student_whose_teacher_is_itself_hears_nothing_new(two_projects: Project, registry: Registry) -> None:
    teacher, _ = train(two_projects, registry, values())
    recipe = values(
        backbone={"start_from": teacher.id},
        head={"name": "classification", "take_over": True},
        methods={"distillation": {"teacher": teacher.id, "weight": 1.0}},
        training={**TRAINING, "epochs": 1, "learning_rate": 1e-9},
        strategy={"name": "linear_probe"},  # BatchNorm then gives the student what it gives the teacher
    )
    _, heard = train(two_projects, registry, recipe)
    assert heard.of(StepLogged)[0].quantities["distillation/imitation loss"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("method", ["lwf", "ewc", "replay"])
def test_a_run_on_a_second_data_set_tells_what_is_held_and_one_that_was_cut_off_ends_bit_for_bit(
    method: str, two_projects: Project, registry: Registry
) -> None:
    first, _ = train(two_projects, registry, values())
    options = {
        "lwf": {"teacher": first.id},
        "ewc": {"run": first.id, "dataset": "shapes", "samples": 6},
        "replay": {"datasets": "shapes", "kept": 6},
    }[method]
    recipe = values(
        dataset={"name": "others", "shots": 4},
        backbone={"start_from": first.id},
        head={"name": "classification", "take_over": True},
        methods={method: options},
    )
    whole, (cut,) = gone_on_with(two_projects, registry, recipe, at_step(5))
    assert cut.step == 4  # in the middle of the second epoch
    told = [event.quantities for event in whole.of(StepLogged)]
    assert all(any(name.startswith(f"{method}/") for name in each) for each in told)
    if method == "ewc":
        assert told[0]["ewc/penalty"] == 0  # where it begins, nothing has moved
        assert told[-1]["ewc/penalty"] > 0


def test_outputs_are_held_of_the_classes_that_the_new_samples_do_not_have() -> None:
    def target(classes: str, counts: tuple[int, ...], task: Any = "classification") -> TargetInfo:
        return TargetInfo(task, tuple(classes), counts)

    earlier = target("abc", (5, 5, 5))
    assert held_outputs(earlier, target("xcab", (9, 0, 2, 0))) == ([1, 2], [3, 1])
    assert held_outputs(earlier, target("abc", (4, 4, 4))) == ([0, 1, 2], [0, 1, 2])
    assert held_outputs(earlier, target("abcx", (4, 4, 0, 9))) == ([0, 1, 2], [0, 1, 2]), "of one, nothing is told"
    several = target("ab", (5, 5), "multi_label")
    assert held_outputs(several, target("abx", (4, 0, 9), "multi_label")) == ([1], [1])
    assert held_outputs(earlier, target("abx", (4, 4, 4))) is None
    assert held_outputs(earlier, several) is None


def test_a_head_that_knows_the_earlier_classes_is_held_itself(registry: Registry, tmp_path: Path) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    head, method = registry.head("classification"), registry.method("lwf")
    more = replace(target, classes=(*target.classes, "new"), class_counts=(0,) * len(target.classes) + (4,))
    options = method.Options.model_validate({"teacher": "x", "strength": 0.5})

    def built(taught: TargetInfo, learned: TargetInfo) -> tuple[MethodContext, MethodModule, TrainingStep]:
        earlier = method_context(head, samples, taught).model.eval().requires_grad_(False)
        context = method_context(head, samples, learned, models={"teacher": earlier})
        with torch.no_grad():
            for parameter in context.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        step = training_step(context)
        step.views = {"teacher": step.inputs}
        step.features, step.output = context.forward(step.inputs)
        return context, method.build(context, options), step

    context, module, step = built(target, more)
    assert not list(module.parameters())
    with torch.no_grad():
        said = context.models["teacher"](step.inputs)
    assert step.output is not None
    expected = imitation_loss(step.output[:, : len(target.classes)], said, "classification", 2.0).mean() * 0.5
    loss = module.extra_loss(step)
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    loss.backward()

    context, module, step = built(more, target)
    assert len(list(module.parameters())) == len(list(context.model.head.parameters())), "a copy of the earlier head"
    assert module.extra_loss(step) is not None


@pytest.mark.parametrize("part", ["backbone", ""], ids=["a new head", "with a head that is taken over"])
def test_elastic_weights_hold_by_the_mean_squared_gradient_of_each_sample(
    part: str, registry: Registry, tmp_path: Path
) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    head = registry.head("classification")
    earlier = method_context(head, samples, target).model.eval().requires_grad_(False)
    context = method_context(head, samples, target, stream_targets={"earlier": target}, models={"earlier": earlier})
    context = replace(context, head_taken_over=not part)
    method = registry.method("ewc")
    options = method.Options.model_validate({"run": "x", "dataset": "y", "strength": 2.0})
    module = method.build(context, options)
    module.begin()
    ((inputs, targets),) = list(context.batches(""))
    names = [name for name, _ in earlier.named_parameters() if name.startswith(part)]
    fisher: dict[str, torch.Tensor | float] = {}
    whole = earlier.double()
    whole.requires_grad_(True)
    for row in range(len(targets)):
        whole.zero_grad()
        one = {key: value[row : row + 1].double() for key, value in inputs.items()}
        logits = whole(one)
        (torch.logsumexp(logits, 1) - logits[0, targets[row]]).sum().backward()
        for name, parameter in whole.named_parameters():
            assert parameter.grad is not None
            fisher[name] = fisher.get(name, 0.0) + parameter.grad**2 / len(targets)
    moves = {name: torch.randn_like(p) * 0.1 for name, p in context.model.named_parameters()}
    with torch.no_grad():
        for name, parameter in context.model.named_parameters():
            parameter.add_(moves[name])
    expected = sum(float((moves[name].double() ** 2 * fisher[name]).sum()) for name in names)
    penalty = module.extra_loss(training_step(context))
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-4)


def test_a_head_takes_over_the_outputs_of_the_classes_that_it_knows(two_projects: Project, registry: Registry) -> None:
    first, _ = train(two_projects, registry, values())
    recipe = values(
        backbone={"start_from": first.id},
        head={"name": "classification", "take_over": True, "classes": ["hexagon"]},
        training={**TRAINING, "epochs": 1, "learning_rate": 1e-12, "weight_decay": 0},
    )
    second, heard = train(two_projects, registry, recipe)
    assert any("3 of its 4 classes; new are hexagon" in note.text for note in heard.of(Note))
    (_, old), (_, new) = load_run_model(first, registry), load_run_model(second, registry)
    assert new.head.target.classes == (*old.head.target.classes, "hexagon")
    before, after = old.head.state_dict()["output.weight"], new.head.state_dict()["output.weight"]
    assert torch.allclose(after[:3], before, atol=1e-8)


def test_what_cannot_be_kept_or_taught_is_told(two_projects: Project, registry: Registry) -> None:
    first, _ = train(two_projects, registry, values())
    revision = two_projects.dataset("shapes")

    def told(recipe: dict[str, Any]) -> dict[str, str]:
        with pytest.raises(ProblemsError) as caught:
            complete(recipe, revision, registry)
        return {problem.where: str(problem) for problem in caught.value.problems}

    found = told(values(methods={"lwf": {"teacher": first.id}}))
    assert "does not start from this one" in found["methods.lwf.teacher"]
    found = told(values(methods={"distillation": {"teacher": "nothing"}}))
    assert "no run 'nothing'" in found["methods.distillation.teacher"]
    found = told(values(methods={"replay": {"datasets": "gone"}}))
    assert "no data set 'gone'" in found["methods.replay.datasets"]
    found = told(values(head={"name": "classification", "take_over": True}))
    assert "starts from none" in found["head.take_over"]
