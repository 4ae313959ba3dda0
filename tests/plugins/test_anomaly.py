"""The head that tells what is unlike normal items: its scores, threshold and metrics, and that it cannot collapse."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.ensemble import IsolationForest
from torch import Tensor, nn

from tlstudio.api import DataError, Features, FeatureShape, Modality, TargetInfo
from tlstudio.data.targets import check_target
from tlstudio.engine.measuring import monitored
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.testing import check_head, tiny_samples, tiny_target
from tlstudio_heads.anomaly_heads import AnomalyDetection, against_normal
from tlstudio_heads.anomaly_modules import AnomalyModule, RunningScale

DIM = 40


def target_of(**counts: int) -> TargetInfo:
    return TargetInfo("anomaly_detection", tuple(counts), tuple(counts.values()))


def head_of(target: TargetInfo, dim: int = DIM, **options: object) -> AnomalyModule:
    torch.manual_seed(0)
    head = AnomalyDetection()
    built = head.build(FeatureShape(dim), target, head.Options.model_validate(options))
    assert isinstance(built, AnomalyModule)
    return built


def items(count: int, *, seed: int, spread: float = 1.0, noise: float = 0.1) -> Tensor:
    """Features that lie near four directions of 40, as far out in them as their spread."""
    directions = torch.randn(4, DIM, generator=torch.Generator().manual_seed(99))
    made = torch.Generator().manual_seed(seed)
    near = spread * torch.randn(count, 4, generator=made) @ directions
    return 5.0 + near + noise * torch.randn(count, DIM, generator=made)


def train(head: AnomalyModule, features: Tensor, target: Tensor, steps: int = 400) -> None:
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=1e-4)
    drawn = torch.Generator().manual_seed(1)
    head.train()
    for _ in range(steps):
        rows = torch.randint(len(features), (64,), generator=drawn)
        loss = head.loss(head(Features(pooled=features[rows])), target[rows]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    head.eval()


def scored(*scores: float) -> Tensor:
    return torch.tensor([[score] for score in scores], dtype=torch.float64)


def scores_of(head: AnomalyModule, features: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = head.eval()(Features(pooled=features))
    return output


@pytest.mark.parametrize("modality", ["image", "text", "audio", "table"])
def test_the_head_keeps_the_contract_on_all_kinds_of_data(modality: Modality, tmp_path: Path) -> None:
    samples = tiny_samples(modality, "anomaly_detection", tmp_path, count=4)
    check_head(AnomalyDetection(), tiny_target("anomaly_detection"), samples)


@pytest.mark.parametrize(
    ("counts", "option", "expected"),
    [
        ({"crack": 3, "good": 90, "hole": 2}, "", {"good": 90, "anomaly": 5}),
        ({"broken": 50, "OK": 9}, "", {"OK": 9, "broken": 50}),
        ({"0": 5, "1": 7}, "", {"0": 5, "1": 7}),
        ({"pump": 5, "fan": 7}, "", {"fan": 7, "pump": 5}),
        ({"pump": 5, "fan": 7}, "pump", {"pump": 5, "fan": 7}),
        ({"a": 40, "b": 30, "c": 30}, "", {"a": 40, "anomaly": 60}),
        ({"Anomaly": 9, "fine": 3}, "", {"fine": 3, "Anomaly": 9}),
        ({"pump": 5}, "", {"pump": 5, "anomaly": 0}),
    ],
)
def test_the_normal_class_is_named_or_found_and_found_again(
    counts: dict[str, int], option: str, expected: dict[str, int]
) -> None:
    found = against_normal(target_of(**counts), option)
    assert dict(zip(found.classes, found.class_counts, strict=True)) == expected
    assert against_normal(found, option) == found


@pytest.mark.parametrize(
    ("counts", "option", "sentence"),
    [
        ({"good": 3, "bad": 1}, "god", "There is no class 'god'.*Did you mean 'good'"),
        ({"good": 0, "bad": 4}, "", "no item of the normal class 'good' in the training data"),
        ({"anomaly": 4}, "", "no normal item in the training data"),
    ],
)
def test_a_normal_class_that_is_not_there_is_told(counts: dict[str, int], option: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        head_of(target_of(**counts), normal=option)


def test_all_classes_but_the_normal_one_are_judged_alike_even_new_ones() -> None:
    head = head_of(target_of(good=5, crack=2, hole=1))
    assert [head.judged(label) for label in ("good", "crack", "hole", None)] == ["good", "anomaly", "anomaly", None]
    assert head.encoder()(["good", "crack", "never seen"], ()).tolist() == [0.0, 1.0, 1.0]


def test_one_class_alone_can_be_learned_for_this_task_only() -> None:
    assert check_target(["good"] * 5, "anomaly_detection") == (("good",), ())
    assert check_target(["good", "good", "bad"], "anomaly_detection")[1] == ()
    with pytest.raises(DataError, match="nothing to tell apart"):
        check_target(["good"] * 5, "classification")


def test_what_leaves_the_normal_directions_or_goes_too_far_in_them_is_found() -> None:
    normal, fresh = items(400, seed=0), items(200, seed=1)
    head = head_of(target_of(good=400))
    train(head, normal, torch.zeros(400))
    odd = {"noisy": items(100, seed=2, noise=1.0), "far out": items(100, seed=3, spread=6.0)}
    for name, anomalies in odd.items():
        both = torch.cat([fresh, anomalies])
        truth = np.r_[np.zeros(200), np.ones(100)]
        score = sk.roc_auc_score(truth, scores_of(head, both)[:, 0].numpy())
        forest = IsolationForest(random_state=0).fit(normal.numpy()).score_samples(both.numpy())
        assert score > 0.97, name
        assert score >= sk.roc_auc_score(truth, -forest) - 0.01, name


def test_the_threshold_is_the_quantile_of_normal_training_scores_and_holds_for_new_items() -> None:
    normal = items(2000, seed=0)
    head = head_of(target_of(good=2000), quantile=0.9)
    assert [one.value for one in head.decode(scored(7.0))] == ["good"], "nothing is known yet"
    train(head, normal, torch.zeros(2000))
    beyond = scores_of(head, items(2000, seed=1))[:, 0] > head.threshold()
    assert float(beyond.float().mean()) == pytest.approx(0.1, abs=0.03)
    threshold = head.threshold()
    below, above = head.decode(scored(threshold / 3, threshold * 3))
    assert (below.value, above.value) == ("good", "anomaly")
    assert [name for name, _ in (*below.scores, *above.scores)] == ["good", "anomaly", "anomaly", "good"]
    assert [score for _, score in (*below.scores, *above.scores)] == pytest.approx([0.75, 0.25, 0.75, 0.25])


def test_scores_of_anomalies_do_not_move_the_threshold_and_old_scores_fade() -> None:
    head = head_of(target_of(good=3, bad=1)).train()
    head.loss(scored(1.0, 2.0, 99.0), torch.tensor([0.0, 0.0, 1.0]))
    assert head.threshold() == pytest.approx(1.95)
    head.loss(scored(*[5.0] * 6), torch.zeros(6))
    assert head.threshold() == 5.0
    head.eval().loss(scored(*[50.0] * 6), torch.zeros(6))
    assert head.threshold() == 5.0, "only training counts"


def test_known_anomalies_are_pushed_away_from_what_is_rebuilt() -> None:
    normal, fresh = items(400, seed=0, noise=0.5), items(300, seed=1, noise=0.5)
    hint = torch.zeros(DIM)
    hint[3] = 1.2
    known, later = items(30, seed=2, noise=0.5) + hint, items(300, seed=3, noise=0.5) + hint
    features, target = torch.cat([normal, known]), torch.cat([torch.zeros(400), torch.ones(30)])
    found = {}
    for weight in (0.0, 1.0):
        head = head_of(target_of(good=400, bad=30), anomaly_weight=weight)
        train(head, features, target)
        truth = np.r_[np.zeros(300), np.ones(300)]
        found[weight] = sk.roc_auc_score(truth, scores_of(head, torch.cat([fresh, later]))[:, 0].numpy())
    assert found[1.0] > found[0.0] + 0.05


def fine_tune(head: AnomalyModule, features: Tensor, target: Tensor, steps: int) -> nn.Module:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(DIM, 64), nn.ReLU(), nn.Linear(64, DIM))
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=3e-3)
    drawn = torch.Generator().manual_seed(1)
    head.train()
    for _ in range(steps):
        rows = torch.randint(len(features), (64,), generator=drawn)
        loss = head.loss(head(Features(pooled=backbone(features[rows]))), target[rows]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    head.eval()
    return backbone.requires_grad_(False)


@pytest.mark.parametrize(("bad", "weight"), [(0, 1.0), (7, 1.0), (100, 0.0)])
def test_without_enough_known_anomalies_a_backbone_that_may_learn_stays_as_it_is(bad: int, weight: float) -> None:
    head = head_of(target_of(good=400, bad=bad), anomaly_weight=weight)
    before = fine_tune(head, items(400, seed=0), torch.zeros(400), steps=0).state_dict()
    after = fine_tune(head, items(400, seed=0), torch.zeros(400), steps=5).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_known_anomalies_move_the_backbone_to_show_them_and_it_never_comes_to_say_nothing() -> None:
    features = torch.cat([items(400, seed=0), items(20, seed=2, noise=1.0)])
    target = torch.cat([torch.zeros(400), torch.ones(20)])
    later = torch.cat([items(200, seed=1), items(200, seed=3, noise=1.0)])
    truth = np.r_[np.zeros(200), np.ones(200)]
    found = {}
    for steps in (0, 300, 1200):
        head = head_of(target_of(good=400, bad=20))
        backbone = fine_tune(head, features, target, steps)
        found[steps] = sk.roc_auc_score(truth, scores_of(head, backbone(later))[:, 0].numpy())
        assert float(backbone(later).std(dim=0).mean()) > 0.05
    assert found[0] < 0.7, "by chance the features do not show them"
    assert found[300] > 0.9
    assert found[1200] > 0.9, "long after that"


def test_metrics_are_those_of_scikit_learn() -> None:
    made = np.random.default_rng(0)
    truth = (made.random(500) < 0.2).astype(int)
    scores = np.round(made.random(500) + 0.3 * truth, 2)  # some are equal
    head = head_of(target_of(good=5, bad=1)).train()
    head.loss(scored(0.9), torch.zeros(1))
    metrics = head.metrics()
    for part in np.array_split(np.arange(500), 7):
        metrics.update(scored(*scores[part]), torch.tensor(truth[part]).float())
    told = scores > head.threshold()
    expected = {
        "roc_auc": sk.roc_auc_score(truth, scores),
        "average_precision": sk.average_precision_score(truth, scores),
        "accuracy": sk.accuracy_score(truth, told),
        "f1": sk.f1_score(truth, told),
        "precision": sk.precision_score(truth, told),
        "recall": sk.recall_score(truth, told),
    }
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("labels", [["good"] * 3, ["bad"] * 3])
def test_where_one_class_is_alone_the_order_is_not_measured_and_the_loss_chooses(labels: Sequence[str]) -> None:
    head = head_of(target_of(good=5, bad=1))
    metrics = head.metrics()
    metrics.update(scored(0.1, 0.2, 0.3), head.encoder()(labels, ()))
    assert sorted(metrics.compute()) == ["accuracy", "f1", "precision", "recall"]
    for chosen in ("", "roc_auc", "average_precision"):
        assert monitored(head, TrainingOptions(monitor=chosen), labels) == ("loss", "min")
    assert monitored(head, TrainingOptions(monitor="f1"), labels) == ("f1", "max")
    assert monitored(head, TrainingOptions(), [*labels, "good", "bad"]) == ("roc_auc", "max")


def test_a_stored_head_goes_on_exactly() -> None:
    features, target = items(100, seed=0), torch.zeros(100)
    one = head_of(target_of(good=100))
    train(one, features, target, steps=5)
    stored = io.BytesIO()
    torch.save(one.state_dict(), stored)
    stored.seek(0)
    other = head_of(one.target)
    other.load_state_dict(torch.load(stored, weights_only=True))
    assert other.threshold() == one.threshold()
    for head in (one, other):
        train(head, features, target, steps=5)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_scales_bear_batches_of_one_and_features_that_never_vary() -> None:
    scale = RunningScale(3).train()
    for row in (torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[3.0, 2.0, 0.0]]), torch.zeros(4, 3)):
        assert torch.isfinite(scale(row)).all()
    assert float(scale.eval()(torch.tensor([[1.0, 1.0, 0.1]])).abs().max()) < 20
