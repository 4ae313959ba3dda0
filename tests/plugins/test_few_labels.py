"""The mathematics of learning from few labels, against other computations in float64."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import Features, ProblemsError
from tlstudio.api.method_modules import StreamBatch, TrainingStep
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import EpochEnded, RunEnded, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio_methods.momentum_contrast_module import info_nce
from tlstudio_methods.unlabelled_module import PseudoLabelModule, pseudo_label_loss
from tlstudio_strategies.nearest_mean_module import class_means, fitted_temperature
from tlstudio_strategies.setfit_module import logistic_regression, pair_losses


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
    pseudo_label_loss(weak, strong, 0.1, several=False)[0].backward()
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
        step.streams = {"unlabelled": StreamBatch({"": step.inputs}, None, *step.forward(step.inputs))}
        loss = module.extra_loss(step)
        assert loss is not None
        return float(loss.detach())

    whole = module.quantities()["unlabelled loss"] if total(1.0) else 0.0
    assert [total(at) / whole for at in (0.1, 0.2, 0.45, 0.7, 1.0)] == pytest.approx([0, 0, 1.5, 3, 3])


def test_the_loss_of_setfit_is_the_squared_error_of_the_cosines_with_both_kinds_of_pairs_alike() -> None:
    rng = np.random.default_rng(2)
    features, classes = rng.normal(size=(9, 6)) + 1, np.array([0, 0, 1, 2, 1, 0, 3, 3, 2])
    errors: dict[bool, list[float]] = {True: [], False: []}
    for i in range(9):
        for j in range(i):
            cosine = features[i] @ features[j] / np.sqrt((features[i] ** 2).sum() * (features[j] ** 2).sum())
            same = bool(classes[i] == classes[j])
            errors[same].append((cosine - same) ** 2)
    expected = (np.mean(errors[True]) + np.mean(errors[False])) / 2
    losses, _, _ = pair_losses(torch.tensor(features), torch.tensor(classes))
    assert losses.shape == (9,)
    assert float(losses.mean()) == pytest.approx(expected, rel=1e-5)
    apart = [classes.tolist().index(k) for k in range(4)]
    only, alike, _ = pair_losses(torch.tensor(features[apart]), torch.tensor(classes[apart]))
    assert float(alike) == 0
    assert torch.isfinite(only).all()


def test_what_is_compared_by_small_differences_is_computed_in_32_bits_also_where_the_run_uses_16() -> None:
    rng = torch.Generator().manual_seed(0)
    features, queue = torch.randn(8, 16, generator=rng), torch.randn(32, 16, generator=rng)
    classes = torch.arange(8) % 3
    pairs, contrast = pair_losses(features, classes)[0], info_nce(features, queue[:8], queue, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pair_losses(features, classes)[0], pairs)
        assert torch.equal(info_nce(features, queue[:8], queue, 0.1), contrast)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_regression_of_setfit_gives_the_probabilities_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(60, 5)), rng.permutation(np.arange(60) % classes) + 1
    weight, bias, present = logistic_regression(features, labels, 0.7)
    logits = features @ weight.T + bias
    expected = LogisticRegression(C=0.7, max_iter=1000).fit(features, labels)
    assert present.tolist() == expected.classes_.tolist()
    assert softmax(logits) == pytest.approx(expected.predict_proba(features), abs=1e-9)


def test_the_head_of_setfit_is_fitted_before_the_first_step(registry: Registry, tmp_path: Path) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    setfit = registry.strategy("setfit")
    context = method_context(registry.head("classification"), samples, target, strategy=setfit)
    method, options = setfit.method(setfit.Options()) or pytest.fail("it has one")
    method.build(context, options).begin()
    context.model.eval()
    ((inputs, classes),) = context.batches("")
    with torch.no_grad():
        features, output = context.forward(inputs)
    pooled = features.require("pooled").double().numpy()
    expected = LogisticRegression(max_iter=1000).fit(pooled, classes.numpy()).predict_proba(pooled)
    assert output.double().softmax(dim=1).numpy() == pytest.approx(expected, abs=1e-4)


def test_nearest_means_as_a_linear_layer_predict_what_scikit_learn_does() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 5, size=80) * 2
    features = rng.normal(size=(80, 7)) + rng.normal(size=(10, 7))[labels] + 3
    weight, bias, present = class_means(features, labels, cosine=False)
    others = rng.normal(size=(500, 7)) + rng.normal(size=(10, 7))[rng.integers(0, 10, size=500)] + 3
    found = present[(others @ weight.T + bias).argmax(axis=1)]
    assert found.tolist() == NearestCentroid().fit(features, labels).predict(others).tolist()

    weight, bias, _ = class_means(features, labels, cosine=True)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([unit[labels == k].mean(axis=0) for k in present])
    cosines = others @ means.T / np.linalg.norm(means, axis=1) / np.linalg.norm(others, axis=1, keepdims=True)
    assert (others @ weight.T + bias).argmax(axis=1).tolist() == cosines.argmax(axis=1).tolist()


@pytest.mark.parametrize("cosine", [False, True])
def test_the_temperature_makes_samples_that_are_left_out_likeliest_but_not_certain(cosine: bool) -> None:
    rng = np.random.default_rng(5)
    labels = np.array([0] * 6 + [1] * 5 + [2])  # of the last class, nothing can be left out
    features = rng.normal(size=(12, 4)) + 2 * rng.normal(size=(3, 4))[labels]

    def loss(temperature: float) -> float:
        total = 0.0
        for left in range(11):
            kept = np.arange(12) != left
            weight, bias, _ = class_means(features[kept], labels[kept], cosine=cosine)
            logs = np.log(softmax((features[left : left + 1] @ weight.T + bias) / temperature)[0])
            total -= (12 * logs[labels[left]] + logs.sum() - logs[labels[left]]) / 14
        return total

    best = fitted_temperature(features, labels, cosine=cosine)
    assert loss(best) < min(loss(best * 1.1), loss(best / 1.1))
    assert fitted_temperature(features[[0, 6, 11]], labels[[0, 6, 11]], cosine=cosine) > 0


def test_fixmatch_refuses_data_that_cannot_be_varied_and_no_unlabelled_samples(
    shapes_project: Project, reviews_project: Project, registry: Registry
) -> None:
    few: dict[str, Any] = {"backbone": TINY_VISION, "strategy": "full", "methods": {"fixmatch": {}}}
    with pytest.raises(ProblemsError, match=r"no unlabelled samples for FixMatch.*or set data"):
        complete(few, shapes_project.dataset("shapes"), registry)
    words = {"strategy": "full", "methods": {"fixmatch": {"dataset": "reviews", "strong": "randaugment", "ratio": 1}}}
    with pytest.raises(ProblemsError, match="cannot be varied by randaugment"):
        complete(words, reviews_project.dataset("reviews"), registry)


def run_strategy(project: Project, registry: Registry, strategy: str, **training: object) -> tuple[Heard, str]:
    heard = Heard()
    recipe = {"dataset": {"shots": 4}, "backbone": TINY_VISION, "strategy": strategy, "training": training}
    completed = complete(recipe, project.dataset("shapes"), registry)
    run = execute_run(completed, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return heard, run.id


def test_a_run_of_nearest_mean_learns_nothing_and_predicts_as_scikit_learn_on_the_features_that_it_kept(
    shapes_project: Project, registry: Registry
) -> None:
    heard, _ = run_strategy(shapes_project, registry, "nearest_mean")
    assert len(heard.of(EpochEnded)) == 1
    assert not heard.of(StepLogged)
    revision = shapes_project.dataset("shapes").few(4, 0)
    (cache,) = (shapes_project.folder / "cache").glob("*.npy")
    features, labels = np.load(cache), np.array(revision.labels(np.arange(len(revision))))
    train, test = revision.indices("train"), revision.indices("test")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "self.within_class_std_dev_ has at least 1")  # of no matter to the means
        expected = NearestCentroid().fit(features[train], labels[train]).predict(features[test])
    assert heard.of(RunEnded)[0].metrics["test"]["accuracy"] == pytest.approx((expected == labels[test]).mean())


def test_setfit_keeps_the_regression_on_the_last_features_of_the_backbone(
    shapes_project: Project, registry: Registry
) -> None:
    heard, run_id = run_strategy(shapes_project, registry, "setfit", epochs=2, learning_rate=1e-3)
    run = shapes_project.run(run_id)
    revision = shapes_project.dataset("shapes").few(4, 0)
    samples = list(revision.samples(revision.indices("train")))
    parts, model = load_run_model(run, registry)
    prepare = parts.backbone.preprocessor(parts.backbone_options)
    with torch.no_grad():
        features = model.backbone(prepare.collate([prepare(sample) for sample in samples])).require("pooled")
        told = model.head(Features(pooled=features)).softmax(dim=1).numpy()
    labels = [str(sample.label) for sample in samples]
    expected = LogisticRegression(max_iter=1000).fit(features.double().numpy(), labels)
    assert model.head.target.classes == tuple(expected.classes_)
    assert told == pytest.approx(expected.predict_proba(features.double().numpy()), abs=1e-4)
    steps = heard.of(StepLogged)
    assert "setfit/similarity within classes" in steps[0].quantities
    assert "head" not in steps[0].gradient_norms


def test_what_speaks_against_a_fitted_head_is_told_before_anything_is_loaded(
    shapes_project: Project, registry: Registry
) -> None:
    recipe = {
        "dataset": {"shots": 4},
        "backbone": TINY_VISION,
        "head": {"name": "classification", "options": {"hidden": 8}},
        "strategy": "nearest_mean",
        "methods": {"l2_sp": {}},
    }
    with pytest.raises(ProblemsError) as caught:
        complete(recipe, shapes_project.dataset("shapes"), registry)
    told = " ".join(str(problem) for problem in caught.value.problems)
    assert "hidden layer" in told
    assert "nothing can come of l2_sp" in told
