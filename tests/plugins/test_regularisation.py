"""Methods that keep a model from overfitting: their arithmetic against computations of its own in float64."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import beta
from torch import Tensor, nn

from tests.engine.conftest import TINY_VISION, Heard
from tests.engine.test_methods import is_step
from tlstudio.api import ProblemsError
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEvent
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.parts import find_parts
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.project import Project
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target

Doubles = NDArray[np.float64]


@pytest.fixture
def context(registry: Registry, tmp_path: Path) -> MethodContext:
    samples = tiny_samples("image", "classification", tmp_path)
    return method_context(registry.head("classification"), samples, tiny_target("classification"))


def built(registry: Registry, name: str, context: MethodContext, **options: Any) -> MethodModule:
    method = registry.method(name)
    torch.manual_seed(5)
    return method.build(context, method.Options.model_validate(options))


def doubles(tensor: Tensor) -> Doubles:
    return tensor.detach().double().numpy()


def cross_entropies(logits: Doubles, classes: Doubles) -> Doubles:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    result: Doubles = -logs[np.arange(len(classes)), classes.astype(int)]
    return result


def losses_of(module: MethodModule, step: TrainingStep) -> Doubles:
    module.transform(step)
    step.features, step.output = step.forward(step.inputs)
    return doubles(module.losses(step, module.context.model.head.loss(step.output, step.targets)))


def test_mixup_blends_images_and_the_losses_of_both_labels(registry: Registry, context: MethodContext) -> None:
    module, step = built(registry, "mixup", context, alpha=1.0), training_step(context)
    (name, images), classes = next(iter(step.inputs.items())), doubles(step.targets)
    found = losses_of(module, step)
    share, before = module.quantities()["lambda"], doubles(images)
    assert 0.01 < share < 0.99
    other = np.concatenate([before[-1:], before[:-1]])
    np.testing.assert_allclose(doubles(step.inputs[name]), share * before + (1 - share) * other, atol=1e-6)
    assert step.output is not None
    logits, theirs = doubles(step.output), np.concatenate([classes[-1:], classes[:-1]])
    expected = share * cross_entropies(logits, classes) + (1 - share) * cross_entropies(logits, theirs)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_mixup_of_features_blends_what_the_head_takes(registry: Registry, context: MethodContext) -> None:
    module, step = built(registry, "mixup", context, alpha=1.0, level="features"), training_step(context)
    images = next(iter(step.inputs.values())).clone()
    found = losses_of(module, step)
    assert torch.equal(next(iter(step.inputs.values())), images)
    share, (features, _) = module.quantities()["lambda"], step.computed()
    pooled, classes = doubles(features.require("pooled")), doubles(step.targets)
    weight, bias = (doubles(context.model.head.get_parameter(f"output.{name}")) for name in ("weight", "bias"))
    mean = doubles(context.model.head.get_buffer("centre.mean"))
    mixed = share * pooled + (1 - share) * np.roll(pooled, 1, axis=0)
    logits = (mixed - mean) @ weight.T + bias
    expected = share * cross_entropies(logits, classes) + (1 - share) * cross_entropies(logits, np.roll(classes, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_cutmix_pastes_a_rectangle_and_shares_the_label_by_its_area(registry: Registry, context: MethodContext) -> None:
    module, step = built(registry, "cutmix", context), training_step(context)
    ((name, images),) = step.inputs.items()
    images = images + torch.arange(len(images))[:, None, None, None]  # no two pixels of one place are alike
    step.inputs = {name: images}
    classes = doubles(step.targets)
    found = losses_of(module, step)
    mixed, own, other = doubles(step.inputs[name]), doubles(images), np.roll(doubles(images), 1, axis=0)
    pasted = (mixed != own).any(axis=(0, 1))
    rows, columns = np.nonzero(pasted.any(axis=1))[0], np.nonzero(pasted.any(axis=0))[0]
    box = np.s_[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(mixed[box], other[box])
    assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    share = 1 - pasted.sum() / pasted.size
    assert module.quantities()["lambda"] == pytest.approx(share, abs=1e-6)
    assert 0 < share < 1
    assert step.output is not None
    logits = doubles(step.output)
    expected = share * cross_entropies(logits, classes) + (1 - share) * cross_entropies(logits, np.roll(classes, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_batches_that_are_not_mixed_are_learned_from_as_they_are(registry: Registry, context: MethodContext) -> None:
    module = built(registry, "mixup", context, probability=0.4)
    unmixed = 0
    for _ in range(40):
        step = training_step(context)
        images = next(iter(step.inputs.values())).clone()
        module.transform(step)
        if torch.equal(next(iter(step.inputs.values())), images):
            unmixed += 1
            step.features, step.output = step.forward(step.inputs)
            losses = torch.rand(len(images))
            assert module.losses(step, losses) is losses
            assert module.quantities() == {"lambda": 1.0}
    assert 10 <= unmixed <= 38


def gradients_by_hand(context: MethodContext, step: TrainingStep, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of the mean cross-entropy at some weights, with the formula of the loss written out."""
    learning = {name: value.clone().requires_grad_() for name, value in weights.items()}
    buffers = {name: value.clone() for name, value in context.model.named_buffers()}
    logits = torch.func.functional_call(context.model, {**learning, **buffers}, (step.inputs,))
    chosen = logits.gather(1, step.targets[:, None])[:, 0]
    (chosen - logits.exp().sum(dim=1).log()).mean().neg().backward()
    return {name: value.grad for name, value in learning.items() if value.grad is not None}


@pytest.mark.parametrize(("options", "eta"), [({"rho": 0.3}, None), ({"rho": 2.0, "adaptive": True}, 0.01)])
@pytest.mark.parametrize("scale", [1.0, 4096.0], ids=["32 bits", "scaled as in 16 bits"])
def test_sam_takes_the_gradient_uphill_and_moves_statistics_once(
    scale: float, options: dict[str, Any], eta: float | None, registry: Registry, context: MethodContext
) -> None:
    model, step = context.model.double().train(), training_step(context)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    step.inputs = {name: x.double() for name, x in step.inputs.items()}
    model(step.inputs)  # the head measures its centre
    module = built(registry, "sam", context, **options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    first = gradients_by_hand(context, step, before)
    assert len(first) == len(before)
    sizes = {name: torch.ones_like(w) if eta is None else w.abs() + eta for name, w in before.items()}
    norm = sum(float((g * sizes[name]).square().sum()) for name, g in first.items()) ** 0.5
    rho = options["rho"]
    pushed = {name: w + rho * sizes[name] ** 2 * first[name] / norm for name, w in before.items()}
    expected = gradients_by_hand(context, step, pushed)

    once = deepcopy(model)
    once(step.inputs)

    def compute() -> Tensor:
        losses = nn.functional.cross_entropy(model(step.inputs), step.targets, reduction="none")
        (losses.mean() * scale).backward()
        return losses

    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)  # of an earlier batch of the same step
    losses = module.backward(compute)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        torch.testing.assert_close(parameter.grad, 0.5 + scale * expected[name], rtol=1e-9, atol=1e-9 * scale)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, once.get_buffer(name))
    assert losses.detach().numpy() == pytest.approx(
        cross_entropies(doubles(once(step.inputs)), doubles(step.targets)), rel=1e-9
    )
    assert module.quantities()["sharpness"] > 0


def test_sam_leaves_gradients_of_other_methods_single(registry: Registry, context: MethodContext) -> None:
    other = nn.Linear(1, 1)
    together = replace(context, modules=lambda: [context.model, other])
    module, step = built(registry, "sam", together), training_step(context)

    def compute() -> Tensor:
        losses = context.model.head.loss(step.forward(step.inputs)[1], step.targets)
        (losses.mean() + other.weight.sum()).backward()
        return losses

    module.backward(compute)
    assert float(other.weight.grad if other.weight.grad is not None else 0.0) == 1.0


def test_both_gradients_of_sam_are_of_the_same_loss(registry: Registry, context: MethodContext) -> None:
    module, step = built(registry, "sam", context), training_step(context)
    drawn: list[float] = []

    def compute() -> Tensor:
        drawn.append(float(torch.rand(())))  # as dropout and mixup do
        losses = context.model.head.loss(step.forward(step.inputs)[1], step.targets)
        losses.mean().backward()
        return losses

    for _ in range(2):
        module.backward(compute)
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]


def test_sam_steps_as_usual_where_no_direction_is_known(registry: Registry, context: MethodContext) -> None:
    module, step = built(registry, "sam", context), training_step(context)
    before = [parameter.detach().clone() for parameter in context.model.parameters()]
    seen: list[bool] = []

    def compute() -> Tensor:
        seen.append(all(map(torch.equal, context.model.parameters(), before)))
        losses = context.model.head.loss(step.forward(step.inputs)[1], step.targets)
        (losses.mean() * float("inf")).backward()  # more than 16 bits can hold
        return losses

    assert module.backward(compute).isfinite().all()
    assert seen == [True, True]


def wandering(context: MethodContext, steps: int) -> Iterator[dict[str, Doubles]]:
    """Change all weights and running statistics at random, as if they learned; gives what they are."""
    for _ in range(steps):
        with torch.no_grad():
            for tensor in context.model.state_dict().values():
                tensor.add_(torch.randn_like(tensor) * 0.1 if tensor.is_floating_point() else tensor.new_ones(()))
        yield {name: doubles(tensor) for name, tensor in context.model.state_dict().items()}


@pytest.mark.parametrize(
    ("warmup", "decays"), [(False, [0.9] * 4), (True, [1 - (1 + n) ** -0.75 for n in range(1, 5)])]
)
def test_ema_is_the_recursion_over_weights_and_statistics_and_lends_it(
    warmup: bool, decays: list[float], registry: Registry, context: MethodContext
) -> None:
    module = built(registry, "ema", context, decay=0.9, warmup=warmup, power=0.75)
    learned = dict(context.model.named_parameters())
    assert "head.centre.mean" in context.model.state_dict()
    expected: dict[str, Doubles] = {}
    for decay, values in zip([0.0, *decays], wandering(context, 5), strict=True):
        assert module.quantities()["decay"] == pytest.approx(decay)
        module.after_step()
        for name, value in values.items():
            mixed = name in learned or "running" in name  # and not what the head has noted of samples
            expected[name] = decay * expected[name] + (1 - decay) * value if mixed and decay else value
    last = {name: tensor.clone() for name, tensor in context.model.state_dict().items()}
    with module.evaluated():
        for name, tensor in context.model.state_dict().items():
            np.testing.assert_allclose(doubles(tensor), expected[name], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(tensor, last[name]) for name, tensor in context.model.state_dict().items())


def test_swa_is_the_mean_over_the_last_epochs_with_statistics_of_its_own(
    registry: Registry, context: MethodContext
) -> None:
    context = replace(context, epochs=5)
    module = built(registry, "swa", context, start=0.5, rate=0.3)
    shares = [module.learning_rate(step / 10, 0.9) for step in range(10)]
    assert shares == [0.9] * 4 + [0.3] * 6  # two batches an epoch, the first two epochs as the schedule says
    seen = []
    for epoch, values in enumerate(wandering(context, 5)):
        module.on_epoch_start(epoch)
        module.on_epoch_end()
        seen.append(values)
        assert module.quantities()["averaged epochs"] == max(0, epoch - 1)
    learned = dict(context.model.named_parameters())
    first = next(layer for layer in context.model.modules() if isinstance(layer, nn.BatchNorm2d))
    taken: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    with module.evaluated():
        assert not context.model.training
        for name, tensor in learned.items():
            mean = np.mean([values[name] for values in seen[2:]], axis=0)
            np.testing.assert_allclose(doubles(tensor), mean, rtol=1e-5, atol=1e-6)
        context.forward(training_step(context).inputs)
        channels = np.moveaxis(doubles(taken[0]), 1, 0).reshape(first.num_features, -1)
        assert first.running_mean is not None
        assert first.running_var is not None
        np.testing.assert_allclose(doubles(first.running_mean), channels.mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(doubles(first.running_var), channels.var(axis=1, ddof=1), rtol=1e-5)
    hook.remove()
    assert first.momentum == 0.1
    assert all(np.array_equal(doubles(context.model.state_dict()[name]), value) for name, value in seen[-1].items())


def test_swa_leaves_out_an_epoch_whose_end_was_interrupted(registry: Registry, context: MethodContext) -> None:
    def interrupted(_name: str) -> Iterator[Any]:
        raise InterruptedError
        yield

    module = built(registry, "swa", replace(context, epochs=1, batches=interrupted))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = next(wandering(context, 1))
    with pytest.raises(InterruptedError):
        module.on_epoch_end()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(np.array_equal(doubles(context.model.state_dict()[name]), value) for name, value in weights.items())


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_what_a_strategy_freezes_is_not_averaged(name: str, registry: Registry, tmp_path: Path) -> None:
    samples, head = tiny_samples("image", "classification", tmp_path), registry.head("classification")
    probe = registry.strategy("linear_probe")
    context = method_context(head, samples, tiny_target("classification"), strategy=probe)
    module = built(registry, name, context)
    kept = sum(buffer.numel() for name, buffer in module.named_buffers() if name != "count")
    assert kept == sum(tensor.numel() for tensor in context.model.head.state_dict().values())
    frozen = {name: tensor.clone() for name, tensor in context.model.backbone.state_dict().items()}
    module.after_step()
    module.on_epoch_start(context.epochs - 1)
    module.on_epoch_end()
    with module.evaluated():
        assert all(torch.equal(tensor, frozen[key]) for key, tensor in context.model.backbone.state_dict().items())


@pytest.mark.parametrize("step", [2, 3], ids=["in the middle of an epoch", "at its last step"])
def test_an_epoch_counts_once_in_the_average_where_the_run_was_cancelled(
    step: int, two_projects: Project, registry: Registry
) -> None:
    class Cancelling(Heard):
        def __call__(self, event: RunEvent) -> None:
            super().__call__(event)
            if is_step(step, event):
                self.control.cancel()

    training = {"epochs": 2, "batch_size": 4, "checkpoint_every": 0}
    recipe = {"dataset": {"shots": 4}, "backbone": TINY_VISION, "strategy": "full", "training": training}
    recipe["methods"] = {"swa": {"start": 0.0}}
    completed = complete(recipe, two_projects.dataset("shapes"), registry)
    runs = [
        execute_run(completed, two_projects, registry, on_event=heard, control=heard.control)
        for heard in (Heard(), Cancelling())
    ]
    resumed = Heard()
    again = resume_run(runs[1].id, two_projects, registry, on_event=resumed, control=resumed.control)
    assert outcome_of(runs[0]).difference(outcome_of(again)) == ""


def test_samples_are_mixed_before_other_methods_look_at_their_losses(two_projects: Project, registry: Registry) -> None:
    methods = {"joint": {"source": "others"}, "l2_sp": {}, "mixup": {}}
    values = {"backbone": TINY_VISION, "strategy": "full", "methods": methods}
    recipe = complete(values, two_projects.dataset("shapes"), registry)
    assert [one.name for one in find_parts(recipe, registry).methods] == ["mixup", "joint", "l2_sp"]
    values["methods"] = {"mixup": {}, "cutmix": {}}
    with pytest.raises(ProblemsError, match="exclude each other"):
        complete(values, two_projects.dataset("shapes"), registry)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_the_share_of_a_mixture_can_be_drawn_with_the_least_alpha_that_is_allowed(
    registry: Registry, name: str
) -> None:
    method = registry.method(name)
    with pytest.raises(ValidationError):
        method.Options.model_validate({"alpha": 1e-46})
    options: Any = method.Options.model_validate({"alpha": 0.01})
    torch.manual_seed(0)
    drawn = torch.distributions.Beta(options.alpha, options.alpha).sample((20_000,))
    expected = float(beta(0.01, 0.01).cdf(0.9) - beta(0.01, 0.01).cdf(0.1))
    assert ((drawn > 0.1) & (drawn < 0.9)).float().mean() == pytest.approx(expected, abs=0.005), "float32 is enough"
