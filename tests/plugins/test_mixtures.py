"""Mixed samples: the losses of every task that can be mixed, and the shares that are drawn, against other ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from tests.plugins.float64 import Doubles, doubles, stir, yes_or_no
from tlstudio.api import Task
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio.plugins import Registry
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target


def context_of(registry: Registry, folder: Path, task: Task) -> MethodContext:
    samples = tiny_samples("image", task, folder)
    context = method_context(registry.head(task), samples, tiny_target(task))
    context.model.eval()
    stir(context.model, 1)
    return context


def built(registry: Registry, name: str, context: MethodContext, **options: Any) -> MethodModule:
    method = registry.method(name)
    return method.build(context, method.Options.model_validate(options))


@pytest.mark.parametrize("level", ["auto", "features"])
@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_mixup_shares_the_loss_between_both_labels_whatever_a_label_is(
    task: Task, level: str, registry: Registry, tmp_path: Path
) -> None:
    context = context_of(registry, tmp_path, task)
    step = training_step(context)
    module = built(registry, "mixup", context, alpha=1.0, level=level)
    ((name, images),), labels = step.inputs.items(), doubles(step.targets)
    torch.manual_seed(3)
    module.transform(step)
    step.features, step.output = step.forward(step.inputs)
    found = module.losses(step, context.model.head.loss(step.output, step.targets))
    share = module.quantities()["lambda"]
    assert 0.1 < share < 0.9
    head = context.model.head
    weight, bias = (doubles(head.get_parameter(f"output.{part}")) for part in ("weight", "bias"))
    if level == "auto":
        before, mixed = doubles(images), doubles(step.inputs[name])
        np.testing.assert_allclose(mixed, share * before + (1 - share) * np.roll(before, 1, axis=0), atol=1e-6)
        pooled = doubles(step.features.require("pooled"))
    else:
        assert torch.equal(step.inputs[name], images)
        pooled = doubles(step.features.require("pooled"))
        pooled = share * pooled + (1 - share) * np.roll(pooled, 1, axis=0)
    output = pooled @ weight.T + bias

    def losses(wanted: Doubles) -> Doubles:
        return yes_or_no(output, wanted) if task == "multi_label" else (output[:, 0] - wanted) ** 2

    own, other = losses(labels), losses(np.roll(labels, 1, axis=0))
    assert np.abs(own - other).max() > 0.1
    np.testing.assert_allclose(doubles(found), share * own + (1 - share) * other, rtol=1e-4)


def planes(context: MethodContext, size: int = 8) -> TrainingStep:
    """Two images of one colour each, 0 and 1, so that a mixture tells of what it is made."""
    step = training_step(context)
    step.inputs = {"pixels": torch.stack([torch.full((1, size, size), float(colour)) for colour in (0, 1)])}
    return step


def drawn(module: MethodModule, context: MethodContext, count: int) -> tuple[list[float], list[bool]]:
    """Shares that the second of two images has in its mixtures, and whether it was blended as a whole."""
    shares, blended = [], []
    torch.manual_seed(0)
    step = planes(context)
    first = step.inputs
    for _ in range(count):
        step.inputs = first
        module.transform(step)
        mixed = doubles(step.inputs["pixels"][1])
        shares.append(float(mixed.mean()))
        blended.append(len(np.unique(mixed)) == 1 and 0 < shares[-1] < 1)
    return shares, blended


@pytest.mark.parametrize("alpha", [0.4, 3.0])
def test_shares_of_mixup_come_from_beta_of_alpha_and_alpha(alpha: float, registry: Registry, tmp_path: Path) -> None:
    context = context_of(registry, tmp_path, "classification")
    shares, blended = drawn(built(registry, "mixup", context, alpha=alpha), context, 500)
    assert sum(blended) > 450
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01
    others = (alpha / 3, 3 * alpha)
    assert all(kstest(shares, beta(other, other).cdf).pvalue < 0.001 for other in others), "so many tell them apart"


def test_cutmix_blends_its_share_of_the_batches_by_the_alpha_of_mixup(registry: Registry, tmp_path: Path) -> None:
    context = context_of(registry, tmp_path, "classification")
    module = built(registry, "cutmix", context, alpha=1.0, mixup=0.3, mixup_alpha=4.0)
    shares, blended = drawn(module, context, 700)
    assert np.mean(blended) == pytest.approx(0.3, abs=0.05)
    whole = [share for share, one in zip(shares, blended, strict=True) if one]
    assert kstest(whole, beta(4, 4).cdf).pvalue > 0.01
    assert kstest(whole, beta(1, 1).cdf).pvalue < 0.001


@pytest.mark.parametrize("alpha", [1.0, 8.0])
def test_rectangles_of_cutmix_have_sides_by_the_root_of_a_share_from_beta_and_are_cut_at_the_border(
    alpha: float, registry: Registry, tmp_path: Path
) -> None:
    context = context_of(registry, tmp_path, "classification")
    shares, _ = drawn(built(registry, "cutmix", context, alpha=alpha), context, 400)
    rng = np.random.default_rng(0)
    by_hand = []
    for _ in range(4000):
        half = int(0.5 * np.sqrt(1 - rng.beta(alpha, alpha)) * 8)
        x, y = rng.integers(0, 8, size=2)
        width, height = (min(at + half, 8) - max(at - half, 0) for at in (x, y))
        by_hand.append(1 - width * height / 64)
    assert np.mean(shares) == pytest.approx(np.mean(by_hand), abs=0.03)
    assert np.std(shares) == pytest.approx(np.std(by_hand), abs=0.03)
