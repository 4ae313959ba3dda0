"""The mathematics of learning from few labels, against other computations in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tlstudio.api.method_modules import StreamBatch, TrainingStep
from tlstudio.plugins import Registry
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio_methods.unlabelled_module import PseudoLabelModule, pseudo_label_loss


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_the_loss_of_fixmatch_is_that_of_its_paper() -> None:
    rng = np.random.default_rng(0)
    weak, strong = rng.normal(size=(40, 5)) * 3, rng.normal(size=(40, 5)) * 2
    q, p = softmax(weak), softmax(strong)
    expected = sum(-np.log(p[b, q[b].argmax()]) if q[b].max() >= 0.8 else 0.0 for b in range(40)) / 40
    sure = np.mean([q[b].max() >= 0.8 for b in range(40)])
    assert 0.1 < sure < 0.9
    found, rate, confidence = pseudo_label_loss(torch.tensor(weak), torch.tensor(strong), 0.8, several=False)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(rate) == pytest.approx(sure)
    assert float(confidence) == pytest.approx(q.max(axis=1).mean(), rel=1e-6)


def test_with_several_labels_each_class_that_is_sure_is_learned_as_yes_or_no() -> None:
    rng = np.random.default_rng(1)
    weak, strong = rng.normal(size=(20, 3)) * 3, rng.normal(size=(20, 3))
    total = 0.0
    for b in range(20):
        for k in range(3):
            yes = 1 / (1 + np.exp(-weak[b, k]))
            learned = 1 / (1 + np.exp(-strong[b, k]))
            if yes >= 0.9:
                total -= np.log(learned)
            elif yes <= 0.1:
                total -= np.log(1 - learned)
    found, _, _ = pseudo_label_loss(torch.tensor(weak), torch.tensor(strong), 0.9, several=True)
    assert float(found) == pytest.approx(total / 60, rel=1e-5)


def test_no_gradient_goes_through_the_view_that_gives_the_labels() -> None:
    weak, strong = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    pseudo_label_loss(weak, strong, 0.1, several=False)[0].backward()  # type: ignore[no-untyped-call]
    assert weak.grad is None
    assert strong.grad is not None


def test_the_weight_of_pseudo_labels_rises_as_in_their_paper(registry: Registry, tmp_path: Path) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    context = method_context(registry.head("classification"), samples, target)
    method = registry.method("pseudo_labels")
    module = method.build(context, method.Options.model_validate({"rises_from": 0.2, "rises_to": 0.7}))
    assert isinstance(module, PseudoLabelModule)
    context.model.eval()

    def total(progress: float) -> float:
        step: TrainingStep = training_step(context, progress=progress)
        step.streams = {"unlabelled": StreamBatch({"weak": step.inputs})}
        loss = module.extra_loss(step)
        assert loss is not None
        return float(loss.detach())

    whole = module.quantities()["unlabelled loss"] if total(1.0) else 0.0
    assert [total(at) / whole for at in (0.1, 0.2, 0.45, 0.7, 1.0)] == pytest.approx([0, 0, 1.5, 3, 3])
