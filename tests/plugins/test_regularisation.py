"""Methods that keep a model from overfitting: their arithmetic against computations of its own in float64."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio.plugins import Registry
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
