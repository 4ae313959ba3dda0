"""Heads: losses and metrics agree with independent computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk

from tlstudio.api import DataError, FeatureShape, Label, Modality, TargetInfo, Task, TaskHead
from tlstudio.api.features import Features
from tlstudio.api.nn import HeadModule
from tlstudio.testing import check_head, tiny_samples, tiny_target
from tlstudio_heads import register_task_heads
from tlstudio_heads.heads import Classification, MultiLabel, Regression
from tlstudio_heads.modules import PooledHead, balanced_class_weights


def build(head: TaskHead, target: TargetInfo, width: int = 8, **options: float | str) -> HeadModule:
    """Build a head from plain options."""
    torch.manual_seed(0)
    return head.build(FeatureShape(width), target, head.Options.model_validate(options))


def classes(count: int, counts: tuple[int, ...] = ()) -> TargetInfo:
    """A target with that many classes."""
    names = tuple(f"class {i}" for i in range(count))
    return TargetInfo("classification", names, counts or (1,) * count)


def softmax64(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in float64."""
    shifted = logits - logits.max(1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


# Of the tiny backbones none writes or hides anything: such heads are checked on others in test_contract.py and beside.
READING = [head for head in register_task_heads() if head.requires not in ("logits", "masked", "values")]


@pytest.mark.parametrize("head", READING, ids=lambda head: head.name)
@pytest.mark.parametrize("options", [{}, {"hidden": 6, "dropout": 0.3}], ids=["plain", "changed"])
def test_each_head_keeps_the_contract(head: TaskHead, options: dict[str, Any], tmp_path: Path) -> None:
    known = {name: value for name, value in options.items() if name in head.Options.model_fields}
    modalities: dict[str, tuple[Modality, ...]] = {"pooled": ("image", "text"), "maps": ("image",)}
    modalities["parts"] = ("image+text",)
    for modality in ("table",) if head.task == "forecasting" else modalities.get(head.requires, ("text",)):
        samples = tiny_samples(modality, head.task, tmp_path, count=5)
        check_head(head, tiny_target(head.task), samples, options=head.Options.model_validate(known))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_classification_loss_is_smoothed_and_weighted_cross_entropy(smoothing: float, weights: str) -> None:
    counts = (50, 30, 15, 5)
    module = build(Classification(), classes(4, counts), label_smoothing=smoothing, class_weights=weights)
    rng = np.random.default_rng(1)
    logits, y = rng.normal(0, 3, (40, 4)), rng.integers(0, 4, 40)
    wanted = np.full((40, 4), smoothing / 4)
    wanted[np.arange(40), y] += 1 - smoothing
    expected = -(wanted * softmax64(logits)).sum(1)
    if weights == "balanced":
        expected *= (100 / (4 * np.array(counts)))[y]
    loss = module.loss(torch.from_numpy(logits).float(), torch.from_numpy(y))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_balanced_weights_are_those_of_scikit_learn_and_have_mean_one_over_the_training_set() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    counts = (70, 20, 10)
    y = np.repeat(np.arange(3), counts)
    weights = balanced_class_weights(counts)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=y), rtol=1e-6)
    assert weights[torch.from_numpy(y)].mean() == pytest.approx(1.0)


def test_a_class_without_training_samples_weighs_one_and_does_not_disturb_the_others() -> None:
    weights = balanced_class_weights((6, 0, 2))
    np.testing.assert_allclose(weights, [8 / 12, 1.0, 8 / 4])


def test_multi_label_loss_is_the_mean_binary_cross_entropy_of_the_classes() -> None:
    module = build(MultiLabel(), tiny_target("multi_label"))
    rng = np.random.default_rng(2)
    logits, y = rng.normal(0, 4, (20, 3)), rng.integers(0, 2, (20, 3))
    p = 1 / (1 + np.exp(-logits))
    expected = -(y * np.log(p) + (1 - y) * np.log1p(-p)).mean(1)
    loss = module.loss(torch.from_numpy(logits).float(), torch.from_numpy(y).float())
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
def test_huber_loss_is_squared_within_delta_and_linear_beyond(delta: float) -> None:
    module = build(Regression(), tiny_target("regression"), loss="huber", delta=delta)
    errors = np.array([-3.0, -0.4, 0.0, 0.7, 5.0])
    expected = np.where(np.abs(errors) <= delta, errors**2 / 2, delta * (np.abs(errors) - delta / 2))
    loss = module.loss(torch.from_numpy(errors).float()[:, None], torch.zeros(5))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-6)


def test_regression_learns_in_standard_deviations_and_answers_in_the_unit_of_the_labels() -> None:
    module = build(Regression(), TargetInfo("regression", mean=1990.0, std=12.5))
    encoded = module.encoder()([1990.0, 2002.5, 1965], ())
    np.testing.assert_allclose(encoded, [0.0, 1.0, -2.0])
    np.testing.assert_allclose(module.loss(torch.tensor([[1.0], [1.0], [1.0]]), encoded), [1.0, 0.0, 9.0])
    assert [p.value for p in module.decode(torch.tensor([[0.0], [1.0]]))] == [1990.0, 2002.5]
    assert module.decode(torch.tensor([[0.0]]))[0].confidence is None


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # said by balanced_accuracy_score
@pytest.mark.parametrize("seed", range(8))
def test_classification_metrics_equal_scikit_learn_also_where_classes_are_absent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 9))
    module = build(Classification(), classes(count))
    # Some classes never occur among the labels, some never among the predictions, some in neither.
    y = rng.choice(rng.permutation(count)[: max(1, count - seed % 4)], 50)
    logits = rng.normal(size=(50, count)).astype(np.float32)
    logits[:, rng.permutation(count)[: seed % 3]] -= 100
    collection = module.metrics()
    for rows in np.array_split(np.arange(50), 4):
        collection.update(torch.from_numpy(logits[rows]), torch.from_numpy(y[rows]))
    p = logits.argmax(1)
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(y, p),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p),
        "f1_macro": sk.f1_score(y, p, **macro),
        "precision_macro": sk.precision_score(y, p, **macro),
        "recall_macro": sk.recall_score(y, p, **macro),
    }
    assert {k: float(v) for k, v in collection.compute().items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_multi_label_metrics_equal_scikit_learn_also_for_labels_without_positives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    threshold = (0.5, 0.3)[seed % 2]
    module = build(MultiLabel(), TargetInfo("multi_label", tuple("abcde"), (1,) * 5), threshold=threshold)
    y = (rng.random((40, 5)) < 0.4).astype(int)
    if seed >= 2:
        y[:, 3] = 0
    # Rounded, so that there are ties; and small, so that a batch of logits looks like probabilities.
    logits = np.round(rng.random((40, 5)) * (1 if seed % 3 else 6), 1).astype(np.float32) - (0 if seed % 3 else 3)
    collection = module.metrics()
    for rows in np.array_split(np.arange(40), 3):
        collection.update(torch.from_numpy(logits[rows]), torch.from_numpy(y[rows]).float())
    scores = torch.from_numpy(logits).sigmoid().numpy()
    p = (scores > threshold).astype(int)
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    areas = [sk.average_precision_score(y[:, k], scores[:, k]) if y[:, k].any() else 0.0 for k in range(5)]
    expected = {
        "accuracy": sk.accuracy_score(y, p),
        "f1_macro": sk.f1_score(y, p, **macro),
        "f1_micro": sk.f1_score(y, p, average="micro", zero_division=0),
        "precision_macro": sk.precision_score(y, p, **macro),
        "recall_macro": sk.recall_score(y, p, **macro),
        "average_precision_macro": np.mean(areas),
    }
    assert {k: float(v) for k, v in collection.compute().items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mean", [0.0, 1990.0, 3e6])
def test_regression_metrics_equal_scikit_learn_and_scipy_in_the_unit_of_the_labels(mean: float) -> None:
    rng = np.random.default_rng(3)
    module = build(Regression(), TargetInfo("regression", mean=mean, std=7.0))
    y = mean + np.round(rng.normal(0, 7, 60))
    output = ((y - mean) / 7 + np.round(rng.normal(0, 0.5, 60), 1)).astype(np.float32)
    targets = module.encoder()(y.tolist(), ())
    collection = module.metrics()
    for rows in np.array_split(np.arange(60), 4):
        collection.update(torch.from_numpy(output[rows, None]), targets[rows])
    p = output.astype(np.float64) * 7 + mean
    expected = {
        "mae": sk.mean_absolute_error(y, p),
        "rmse": sk.root_mean_squared_error(y, p),
        "r2": sk.r2_score(y, p),
        "spearman": stats.spearmanr(output, targets.numpy()).statistic,
    }
    assert {k: float(v) for k, v in collection.compute().items()} == pytest.approx(expected, rel=1e-5)


def test_regression_metrics_of_one_sample_and_of_a_constant_are_numbers() -> None:
    module = build(Regression(), tiny_target("regression"))
    single = module.metrics()
    single.update(torch.tensor([[0.5]]), torch.tensor([0.0]))
    values = {k: float(v) for k, v in single.compute().items()}
    assert values == pytest.approx({"mae": 1.0, "rmse": 1.0, "r2": 0.0, "spearman": 0.0})


def test_metrics_know_whether_more_is_better() -> None:
    collection = build(Regression(), tiny_target("regression")).metrics()
    assert {str(k): m.higher_is_better for k, m in collection.items()} == {
        "mae": False,
        "rmse": False,
        "r2": True,
        "spearman": True,
    }


def test_classification_predicts_the_most_probable_class_with_all_probabilities_in_order() -> None:
    module = build(Classification(), tiny_target("classification"))
    prediction = module.decode(torch.tensor([[0.0, 2.0, 1.0]]))[0]
    assert prediction.value == "green"
    assert [name for name, _ in prediction.scores] == ["green", "red", "blue"]
    assert sum(score for _, score in prediction.scores) == pytest.approx(1.0)
    assert prediction.confidence == pytest.approx(np.exp(2) / (1 + np.e + np.exp(2)))


def test_multi_label_predicts_what_is_above_the_threshold_and_may_predict_nothing() -> None:
    module = build(MultiLabel(), tiny_target("multi_label"), threshold=0.6)
    some, none = module.decode(torch.tensor([[1.0, -1.0, 2.0], [0.2, 0.0, 0.3]]))
    assert some.value == ("red", "blue")
    assert [name for name, _ in some.scores] == ["red", "blue", "green"]
    assert none.value == ()
    assert len(none.scores) == 3


def test_an_unknown_label_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(DataError, match=r"'gren' is none of the 3 classes.*Did you mean 'green'"):
        build(Classification(), tiny_target("classification")).encoder()(["red", "gren"], ())
    with pytest.raises(DataError, match="Did you mean 'blue'"):
        build(MultiLabel(), tiny_target("multi_label")).encoder()([("red", "blu")], ())


@pytest.mark.parametrize("label", ["seven", None, float("nan"), float("inf"), True])
def test_regression_refuses_what_is_not_a_finite_number(label: Label) -> None:
    with pytest.raises(DataError):
        build(Regression(), tiny_target("regression")).encoder()([1.0, label], ())


def test_a_target_that_cannot_be_learned_is_refused_with_a_sentence() -> None:
    with pytest.raises(DataError, match=r"at least two classes, but the data has 1 .'only'"):
        build(Classification(), TargetInfo("classification", ("only",), (9,)))
    with pytest.raises(DataError, match="no label"):
        build(MultiLabel(), TargetInfo("multi_label"))
    with pytest.raises(DataError, match="all the same"):
        build(Regression(), TargetInfo("regression", mean=2.0, std=0.0))
    with pytest.raises(DataError, match="solves classification, but the data set is for regression"):
        build(Classification(), tiny_target("regression"))


@pytest.mark.parametrize(("head", "task"), [(Classification(), "classification"), (MultiLabel(), "multi_label")])
def test_dropout_acts_in_training_and_not_in_evaluation(head: TaskHead, task: Task) -> None:
    module = build(head, tiny_target(task), dropout=0.5)
    features = Features(pooled=torch.randn(4, 8))
    module.train()
    assert not torch.equal(module(features), module(features))
    module.eval()
    assert torch.equal(module(features), module(features))


def test_the_first_training_batch_sets_the_centre_once_and_evaluation_never_does() -> None:
    module = build(Classification(), tiny_target("classification"))
    assert isinstance(module, PooledHead)
    first, second = torch.randn(5, 8) + 3, torch.randn(5, 8) - 9
    module.eval()
    module(Features(pooled=second))
    assert not module.centre.known
    module.train()
    module(Features(pooled=first))
    module(Features(pooled=second))
    torch.testing.assert_close(module.centre.mean, first.mean(0))
    restored = build(Classification(), tiny_target("classification"))
    restored.load_state_dict(module.state_dict())
    restored.train()
    restored(Features(pooled=second))
    torch.testing.assert_close(restored.state_dict()["centre.mean"], first.mean(0))
