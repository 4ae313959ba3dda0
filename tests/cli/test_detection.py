"""Finding things in images, from the files of an annotation tool to boxes in a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import Tlstudio
from tests.scenes import Scene, compose, write_coco, write_yolo
from tlstudio.cli.metrics import metrics_table
from tlstudio.cli.output import Output

THINGS = ("flower", "roadsign")
OPTIONS = {
    "backbone.weights": "random",
    "backbone.image_size": 96,
    "head.width": 32,
    "head.depth": 1,
    "training.epochs": 12,
    "training.learning_rate": 0.004,
    "training.batch_size": 8,
    "training.threads": 1,
    "training.monitor": "map",
}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Scene]]:
    """Pictures with one flower and one roadsign, of many sizes and in many places."""
    counts = {"train": 64, "val": 8, "test": 16}
    same: dict[str, Any] = {"things": THINGS, "part": slice(0, 1), "size": (96, 80), "sides": (24, 56), "most": 2}
    return {name: compose(count, seed=seed, **same) for seed, (name, count) in enumerate(counts.items())}


@pytest.fixture
def project(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    assert tlstudio("new", folder).code == 0
    return folder


def test_things_are_found_from_coco_files_to_a_table(
    tlstudio: Tlstudio, project: Path, splits: dict[str, list[Scene]], tmp_path: Path
) -> None:
    source = write_coco(tmp_path / "coco", splits, THINGS)
    imported = tlstudio("import", project, source, "--name", "scenes", "--json")
    assert imported.code == 0, imported.err
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    wrong = tlstudio("train", project, "--backbone", "test_resnet", "-o", "training.monitor=accuracy")
    assert "Choose one of loss, map, map_50, map_75." in wrong.err
    trained = tlstudio("train", project, "--backbone", "test_resnet", "--strategy", "full", *options, "--json")
    assert trained.code == 0, trained.err
    metrics = trained.json["metrics"]["test"]
    assert set(metrics) == {"loss", "map", "map_50", "map_75", "ap(flower)", "ap(roadsign)"}
    assert metrics["map_50"] > 0.5, metrics

    evaluated = tlstudio("evaluate", project, "latest", "--json").json
    truth = [box.name for scene in splits["test"] for box in scene.boxes]
    assert {row["name"]: row["support"] for row in evaluated["per_class"]} == {t: truth.count(t) for t in THINGS}
    assert evaluated["confusion"] is None
    assert evaluated["metrics"]["map"] == pytest.approx(metrics["map"], abs=1e-5)

    assert tlstudio("export", project, "latest", tmp_path / "model").code == 0
    images = tmp_path / "new"
    images.mkdir()
    for scene in splits["test"]:
        scene.image.save(images / f"{scene.name}.png")
    Image.new("RGB", (200, 50), "white").save(images / "nothing.png")
    by_run = tlstudio("predict", project, images, "--run", "latest", "--json").json["predictions"]
    by_export = tlstudio("predict", tmp_path / "model", images, "--json").json["predictions"]
    assert len(by_run) == len(by_export) == 17
    for one, other in zip(by_run, by_export, strict=True):
        assert len(one["prediction"]) == len(other["prediction"])
        for box, same in zip(one["prediction"], other["prediction"], strict=True):
            assert set(box) == {"left", "top", "right", "bottom", "label", "score"}
            assert box["label"] == same["label"]
            assert 0 <= box["left"] < box["right"] <= 200
            numbers = [[each[name] for name in ("left", "top", "right", "bottom", "score")] for each in (box, same)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.05)
    assert by_export[-1]["id"] == "nothing.png"
    assert by_export[-1]["scores"] == {}
    found = {row["id"]: row["prediction"] for row in by_export}
    hits = sum(_finds(found[f"{scene.name}.png"], scene) for scene in splits["test"])
    assert hits > len(truth) / 2

    shown = tlstudio("predict", tmp_path / "model", images / f"{splits['test'][0].name}.png")
    assert any(thing in shown.out for thing in THINGS)
    assert tlstudio("predict", tmp_path / "model", images, "--output", tmp_path / "out.csv").code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: json.loads(row["prediction"]) for row in rows} == found
    assert set(rows[0]) == {"id", "source", "prediction", "confidence"}


def _finds(predicted: list[dict[str, Any]], scene: Scene) -> int:
    """How many things of a picture have a box of their class around the same centre."""

    def around(box: dict[str, Any], x: float, y: float) -> bool:
        return bool(box["left"] < x < box["right"] and box["top"] < y < box["bottom"])

    return sum(
        any(
            found["label"] == box.name and around(found, (box.left + box.right) / 2, (box.top + box.bottom) / 2)
            for found in predicted
        )
        for box in scene.boxes
    )


def test_what_cannot_be_used_is_told_and_the_rest_is_imported(
    tlstudio: Tlstudio, project: Path, splits: dict[str, list[Scene]], tmp_path: Path
) -> None:
    source = write_yolo(tmp_path / "yolo", splits, THINGS)
    labels = sorted((source / "labels" / "train").iterdir())
    labels[0].write_text("0 0.5 0.5 nan 0.2\n")
    labels[1].write_text("7 0.5 0.5 0.2 0.2\n")
    labels[2].write_text("1 0.9 0.5 0.6 0.2\n")
    imported = tlstudio("import", project, source, "--name", "scenes", "--json")
    assert imported.code == 0, imported.err
    reasons = {Path(item["source"]).stem: item["reason"] for item in imported.json["rejected"]}
    assert set(reasons) == {file.stem for file in labels[:3]}
    assert "an edge that is no number" in reasons[labels[0].stem]
    assert "There is no class 7" in reasons[labels[1].stem]
    assert "juts out of the image" in reasons[labels[2].stem]


def test_the_table_of_metrics_has_room_for_many_classes(capsys: pytest.CaptureFixture[str]) -> None:
    for count, shown in ((3, True), (80, False)):
        metrics_table(Output(as_json=False), {"test": {"map": 0.5, **{f"ap({n})": 0.5 for n in range(count)}}})
        assert ("ap(2)" in capsys.readouterr().out) == shown
