"""Methods that keep a model from overfitting: their arithmetic against computations of its own in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

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
