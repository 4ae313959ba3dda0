"""Runs that look for anomalies: what chooses their best epoch, and what of them is exact when they go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.conftest import TINY_VISION, Heard
from tests.engine.resuming import at_step, gone_on_with
from tlstudio.api import DataError
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.derived import Bench
from tlstudio.engine.evaluate import evaluate_run, read_evaluation
from tlstudio.engine.events import EpochEnded, RunStarted
from tlstudio.engine.execute import execute_run
from tlstudio.engine.predict import Predictor
from tlstudio.engine.pruning import Pruning
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.soups import Kettle
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing import write_image_folder


def bring(project: Project, registry: Registry, source: Path) -> None:
    request, _ = plan_import(registry.formats.values(), source, name="parts", task="anomaly_detection")
    import_dataset(request, project.datasets_folder)


def recipe_of(project: Project, registry: Registry, strategy: str, **training: Any) -> Recipe:
    options = {"epochs": 3, "batch_size": 8, "checkpoint_every": 0, "threads": 1, **training}
    values = {"backbone": TINY_VISION, "strategy": strategy, "training": options}
    return complete(values, project.dataset("parts"), registry)


@pytest.fixture
def mixed(project: Project, registry: Registry, tmp_path: Path) -> Project:
    """A project with a normal class and two kinds of anomalies, in all splits."""
    source = write_image_folder(tmp_path / "parts", classes=("good",), each=30)
    write_image_folder(source, classes=("red", "blue"), each=8)
    bring(project, registry, source)
    return project


@pytest.mark.parametrize("strategy", ["full", "linear_probe"])
def test_a_run_that_lost_power_ends_bit_for_bit_as_one_that_did_not(
    mixed: Project, registry: Registry, strategy: str
) -> None:
    training = {"epochs": 3, "batch_size": 8, "threads": 1}
    values = {"dataset": {"name": "parts"}, "backbone": TINY_VISION, "strategy": strategy, "training": training}
    _, (cut,) = gone_on_with(mixed, registry, values, at_step(7))
    assert cut.step == 6  # behind the second epoch


def test_what_was_measured_is_read_and_measured_again_the_same(
    mixed: Project, registry: Registry, heard: Heard
) -> None:
    run = execute_run(
        recipe_of(mixed, registry, "linear_probe"), mixed, registry, on_event=heard, control=heard.control
    )
    assert heard.of(RunStarted)[0].monitor == "roc_auc"
    kept = read_evaluation(run)
    assert kept.classes == ("good", "anomaly")
    assert {item.label for item in kept.items} == {"good", "anomaly"}
    again = evaluate_run(run, mixed, registry)
    assert again.metrics == pytest.approx(kept.metrics, abs=1e-4)
    assert [row.support for row in again.per_class] == [row.support for row in kept.per_class]


def test_an_average_and_a_pruned_run_have_the_threshold_of_their_own_scores(
    mixed: Project, registry: Registry, heard: Heard
) -> None:
    runs = []
    for seed in (0, 1):
        recipe = recipe_of(mixed, registry, "full", augmentation="none", seed=seed, epochs=1)
        runs.append(execute_run(recipe, mixed, registry, on_event=heard, control=heard.control))
    kettle = Kettle(runs, mixed, registry)
    bench = Bench(runs[0], mixed, registry)
    pruning = Pruning(bench)
    revision = mixed.dataset("parts")
    samples = [revision.sample(int(index)) for index in revision.indices("train")]
    normal = [sample for sample in samples if sample.label == "good"]
    for made in (kettle.save(kettle.cook(greedy=False)), pruning.save(pruning.prune(0.6))):
        predictor = Predictor.from_run(made, registry)
        scores = predictor.outputs(normal).double().numpy()
        head: Any = load_run_model(made, registry)[1].head
        assert head.scale.batches == len(bench.training_batches())
        assert head.threshold() == pytest.approx(np.quantile(scores, 0.95), rel=1e-4)
        assert evaluate_run(made, mixed, registry).metrics == pytest.approx(made.metrics()["test"], abs=1e-4)
    # Nothing is measured again of a run as it is.
    assert dict(pruning.prune(0.0).measured.metrics["test"]) == pytest.approx(runs[0].metrics()["test"], abs=1e-4)


def test_where_all_is_normal_the_loss_chooses_the_best_epoch(
    project: Project, registry: Registry, heard: Heard, tmp_path: Path
) -> None:
    bring(project, registry, write_image_folder(tmp_path / "parts", classes=("good",), each=30))
    run = execute_run(
        recipe_of(project, registry, "linear_probe"), project, registry, on_event=heard, control=heard.control
    )
    assert run.status == "done"
    started = heard.of(RunStarted)[0]
    assert (started.monitor, started.monitor_mode) == ("loss", "min")
    assert all("roc_auc" not in event.validation for event in heard.of(EpochEnded))


def test_one_class_alone_is_refused_for_classification(project: Project, registry: Registry, tmp_path: Path) -> None:
    source = write_image_folder(tmp_path / "parts", classes=("good",), each=4)
    request, _ = plan_import(registry.formats.values(), source, name="parts", task="classification")
    with pytest.raises(DataError, match="nothing to tell apart"):
        import_dataset(request, project.datasets_folder)
