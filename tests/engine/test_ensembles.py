"""Several runs that predict together: the mean by hand, on splits, on files, and over folds."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import TINY_VISION
from tests.engine.test_start_from import train
from tlstudio.api import FeatureShape, Options, ProblemsError, Rejected, RunError, Sample, TargetInfo
from tlstudio.engine.advise import complete
from tlstudio.engine.ensembles import EnsemblePredictor, measure_ensemble
from tlstudio.engine.evaluate import evaluate_run, read_evaluation
from tlstudio.engine.predict import Predictor, predict_to_csv
from tlstudio.engine.recipe import parse_recipe
from tlstudio.engine.said_again import command_line
from tlstudio.engine.soups import Kettle
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def build(registry: Registry, name: str, target: TargetInfo, **options: Any) -> Any:
    head = registry.head(name)
    chosen: Options = head.Options.model_validate(options)
    return head.build(FeatureShape(4), target, chosen)


def test_the_mean_output_is_the_mean_of_probabilities_and_values(registry: Registry) -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(3, 6, 4)) * 4
    outputs = [torch.tensor(one, dtype=torch.float32) for one in raw]
    classes = ("a", "b", "c", "d")
    head = build(registry, "classification", TargetInfo("classification", classes, (1, 1, 1, 1)))
    mean = head.mean_output([(head, output) for output in outputs]).softmax(dim=1)
    powers = np.exp(raw - raw.max(axis=2, keepdims=True))
    by_hand = (powers / powers.sum(axis=2, keepdims=True)).mean(axis=0)
    assert np.allclose(mean.numpy(), by_hand, atol=1e-6)
    head = build(registry, "multi_label", TargetInfo("multi_label", classes, (1, 1, 1, 1)))
    mean = head.mean_output([(head, output) for output in outputs]).sigmoid()
    assert np.allclose(mean.numpy(), (1 / (1 + np.exp(-raw))).mean(axis=0), atol=1e-6)
    heads = [
        build(registry, "regression", TargetInfo("regression", mean=m, std=s)) for m, s in ((1, 2), (3, 4), (-1, 1))
    ]
    columns = [output[:, :1] for output in outputs]
    told = heads[0].decode(heads[0].mean_output(list(zip(heads, columns, strict=True))))
    values = np.mean([raw[n, :, 0] * head.target.std + head.target.mean for n, head in enumerate(heads)], axis=0)
    assert np.allclose([prediction.value for prediction in told], values, atol=1e-5)


def test_runs_of_different_strategies_predict_together_on_splits_and_files(
    shapes_project: Project, registry: Registry, shapes_folder: Path, tmp_path: Path
) -> None:
    project = shapes_project
    runs = [
        train(project, registry, {"backbone": TINY_VISION, "strategy": strategy})
        for strategy in ("linear_probe", "full", "lora")
    ]
    report = measure_ensemble(runs, project, registry)
    assert report.members[1]["test"]["accuracy"] == runs[1].metrics()["test"]["accuracy"]
    revision = project.dataset("shapes")
    samples = [revision.sample(int(index)) for index in revision.indices("test")]
    members = [Predictor.from_run(run, registry) for run in runs]
    shares = np.mean([one.outputs(samples).double().softmax(dim=1).numpy() for one in members], axis=0)
    truth = np.array([revision.classes.index(str(sample.label)) for sample in samples])
    assert report.together["test"]["accuracy"] == pytest.approx((shares.argmax(axis=1) == truth).mean())
    assert report.together["test"]["loss"] == pytest.approx(-np.log(shares[range(len(truth)), truth]).mean(), abs=1e-5)
    mean, deviation = report.spread("test", "accuracy")
    alone = [run.metrics()["test"]["accuracy"] for run in runs]
    assert mean == pytest.approx(np.mean(alone))
    assert deviation == pytest.approx(np.std(alone, ddof=1))
    together = EnsemblePredictor.from_runs(runs, registry)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    broken = Sample("broken", image=tmp_path / "broken.png")
    found = list(together.predict([samples[0], broken, samples[1]]))
    assert isinstance(found[1][1], Rejected)
    for place, row in ((0, 0), (2, 1)):
        prediction = found[place][1]
        assert not isinstance(prediction, Rejected)
        assert dict(prediction.scores) == pytest.approx(dict(zip(revision.classes, shares[row], strict=True)), abs=1e-5)
    written = predict_to_csv(together, shapes_folder / "square", tmp_path / "out.csv", registry)
    with written.output.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == written.rows == 16


def test_what_cannot_predict_together_is_told(shapes_project: Project, registry: Registry, reviews_csv: Path) -> None:
    project = shapes_project
    first = train(project, registry, {"backbone": TINY_VISION, "strategy": "linear_probe"})
    with pytest.raises(RunError, match="has kept no snapshots"):
        measure_ensemble([first], project, registry)
    with pytest.raises(ProblemsError) as told:
        measure_ensemble([first, first], project, registry)
    assert str(told.value).splitlines()[1] == f"  {first.id} is named more than once. Name each run once."
    first.finish("failed", error="the lights went out")
    with pytest.raises(ProblemsError, match="named more than once") as told:
        measure_ensemble([first, first], project, registry)
    assert "is failed: only what was trained to its end" in told.value.problems[1].what
    head = build(registry, "classification", TargetInfo("classification", ("a", "b"), (1, 1)))
    with pytest.raises(RunError, match="no mean"):
        super(type(head), head).mean_output([])


def test_runs_over_folds_hold_each_sample_out_once_and_are_measured_together_on_the_test_split(
    shapes_project: Project, registry: Registry
) -> None:
    project, runs = shapes_project, []
    for fold in (1, 2, 3):
        values = {"dataset": {"folds": 3, "fold": fold}, "backbone": TINY_VISION, "strategy": "linear_probe"}
        runs.append(train(project, registry, values))
    held = [item.id for run in runs for item in read_evaluation(run, "validation").items]
    revision = project.dataset("shapes")
    pool = np.concatenate([revision.indices("train"), revision.indices("validation")])
    assert sorted(held) == sorted(revision.ids(pool))
    stored = read_evaluation(runs[1], "validation")
    assert evaluate_run(runs[1], project, registry, split="validation").metrics == stored.metrics
    report = measure_ensemble(runs, project, registry)
    assert set(report.together) == {"test"}
    with pytest.raises(ProblemsError, match=r"another fold of the data than run .* \(2 of 3, not 1 of 3\)"):
        Kettle(runs[:2], project, registry)
    values = {"dataset": {"folds": 3, "fold": 1}, "backbone": TINY_VISION, "strategy": "linear_probe"}
    of_other_folds = train(project, registry, {**values, "training": {"seed": 1}})
    with pytest.raises(ProblemsError, match=r"another seed, by which the folds are drawn, than run .* \(1, not 0\)"):
        Kettle([runs[0], of_other_folds], project, registry)
    assert set(measure_ensemble([runs[0], of_other_folds], project, registry).together) == {"test"}
    recipe = parse_recipe(runs[1].read_recipe())
    assert (recipe.dataset.folds, recipe.dataset.fold) == (3, 2)
    assert "dataset.fold=2" in command_line(recipe, project.folder)
    wrong = {"dataset": {"folds": 3, "fold": 4}, "backbone": TINY_VISION}
    with pytest.raises(ProblemsError, match="There is no fold 4 of 3"):
        complete(wrong, revision, registry)
