"""Anomalies, from files in which all that is trained on is normal to predictions by run and export."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Tlstudio
from tlstudio.testing import write_image_folder

COLUMNS = ("load", "temperature", "vibration", "current", "machine", "state", "split")
FAST = ("-o", "training.threads=1", "-o", "training.epochs=60", "-o", "backbone.width=32", "-o", "backbone.layers=1")


@pytest.fixture
def project(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    assert tlstudio("new", folder).code == 0
    return folder


def reading(made: random.Random, state: str) -> list[str]:
    """What the sensors of a machine say: all of them follow its load, unless something is wrong."""
    load = made.uniform(0, 1)
    temperature = 40 + 30 * load + made.gauss(0, 1) + 25 * (state == "hot")
    vibration = 2 + 3 * load + made.gauss(0, 0.1) + 4 * (state == "loose")
    current = 5 + 8 * load + made.gauss(0, 0.2)
    return [f"{100 * load:.1f}", f"{temperature:.2f}", f"{vibration:.3f}", f"{current:.2f}", made.choice("ABC"), state]


def write_machine(path: Path, counts: dict[tuple[str, str], int], seed: int = 0) -> Path:
    """A table with so many readings of each split and state."""
    made = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([*reading(made, state), split] for (split, state), n in counts.items() for _ in range(n))
    return path


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_machine_is_known_by_normal_readings_and_its_faults_are_found(
    tlstudio: Tlstudio, project: Path, tmp_path: Path
) -> None:
    faults = {(split, state): 10 for split in ("validation", "test") for state in ("hot", "loose")}
    normal = {("train", "good"): 300, ("validation", "good"): 60, ("test", "good"): 60}
    source = write_machine(tmp_path / "machine.csv", normal | faults)
    done = tlstudio("import", project, source, "--task", "anomaly_detection", "--label-column", "state")
    assert done.code == 0, done.err
    trained = tlstudio("train", project, *FAST, "--backbone", "table_mlp", "--json")
    assert trained.code == 0, trained.err
    assert trained.json["run"].endswith("linear_probe"), "normal items alone teach a backbone nothing"
    metrics = trained.json["metrics"]["test"]
    assert metrics["roc_auc"] > 0.97
    assert metrics["average_precision"] > 0.9
    told = tlstudio("evaluate", project, "latest", "--json").json
    assert told["metrics"] == pytest.approx(metrics, abs=1e-4)
    shown = tlstudio("evaluate", project, "latest").out
    assert "good" in shown
    assert "anomaly" in shown
    assert "loose" not in shown, "all faults are anomalies"
    model = tmp_path / "model"
    assert tlstudio("export", project, "latest", model).code == 0
    counts = {("test", "good"): 3, ("test", "hot"): 3}
    fresh = write_machine(tmp_path / "new.csv", counts, seed=1)
    for place, output in ((model, "a.csv"), (project, "b.csv")):
        predicted = tlstudio("predict", place, fresh, "--output", tmp_path / output)
        assert predicted.code == 0, predicted.err
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    rows = table_of(tmp_path / "a.csv")
    assert [row["prediction"] for row in rows[3:]] == ["anomaly"] * 3
    scores = [float(row["p(anomaly)"]) for row in rows]
    assert max(scores[:3]) < min(scores[3:])


def test_images_that_are_all_normal_train_and_others_are_anomalies(
    tlstudio: Tlstudio, project: Path, tmp_path: Path
) -> None:
    source = write_image_folder(tmp_path / "parts", classes=("blue",), each=24)
    done = tlstudio("import", project, source, "--task", "anomaly_detection")
    assert done.code == 0, done.err
    trained = tlstudio("train", project, *TINY, "-o", "training.epochs=30", "-o", "training.threads=1", "--json")
    assert trained.code == 0, trained.err
    metrics = trained.json["metrics"]["test"]
    assert "roc_auc" not in metrics, "there is nothing to tell apart"
    assert metrics["loss"] > 0
    red = write_image_folder(tmp_path / "red", classes=("red",), each=3)
    output = tmp_path / "out.csv"
    assert tlstudio("predict", project, red, "--output", output).code == 0
    assert [row["prediction"] for row in table_of(output)] == ["anomaly"] * 3


def test_known_faults_in_train_help_and_a_wrong_normal_class_is_told(
    tlstudio: Tlstudio, project: Path, tmp_path: Path
) -> None:
    counts = {(split, state): 20 for split in ("train", "validation", "test") for state in ("hot", "loose")}
    normal = {("train", "fine"): 200, ("validation", "fine"): 40, ("test", "fine"): 40}
    source = write_machine(tmp_path / "machine.csv", counts | normal)
    done = tlstudio("import", project, source, "--task", "anomaly_detection", "--label-column", "state")
    assert done.code == 0, done.err
    wrong = tlstudio("train", project, *FAST, "-o", "head.normal=fin")
    assert wrong.code != 0
    assert "There is no class 'fin' in the data" in wrong.err
    assert "Did you mean 'fine'?" in wrong.err
    options = ("--backbone", "table_mlp", "--strategy", "full", "-o", "training.epochs=5")
    trained = tlstudio("train", project, *FAST, *options, "-o", "head.normal=fine", "--json")
    assert trained.code == 0, trained.err
    assert trained.json["metrics"]["test"]["roc_auc"] > 0.98
