"""A class for each pixel, from folders of images and masks to masks of new images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.cli.conftest import Tlstudio

NAMES = ("ground", "disc", "bar")
COLOURS = ((90, 90, 90), (220, 60, 40), (40, 80, 220))


def draw(image_path: Path, mask_path: Path, seed: int) -> None:
    """A disc and a bar somewhere on a noisy ground, in an image that is not square."""
    rng = np.random.default_rng(seed)
    size = (72, 54)
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    x, y = (int(place) for place in rng.integers(14, 40, 2))
    pen.rectangle((x + 14, 4, x + 26, 50), fill=2)
    pen.ellipse((x - 12, y - 12, x + 12, y + 12), fill=1)
    values = np.asarray(mask)
    pixels = np.array(COLOURS)[values] + rng.integers(-30, 31, (*values.shape, 3))
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(image_path)
    mask.save(mask_path)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Forty scenes with their masks, and a file of classes."""
    folder = tmp_path / "scenes"
    for number in range(40):
        draw(folder / "images" / f"{number:02}.png", folder / "masks" / f"{number:02}.png", number)
    (folder / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return folder


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum() for k in range(3)]))


def test_pixels_are_classified_from_a_folder_of_masks_to_a_folder_of_masks(
    tlstudio: Tlstudio, scenes: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    assert tlstudio("new", project).code == 0
    imported = tlstudio("import", project, scenes, "--name", "scenes", "--json")
    assert imported.code == 0, imported.err
    values = {
        "backbone.weights": "random",
        "backbone.image_size": 64,
        "training.epochs": 12,
        "training.learning_rate": 0.003,
        "training.batch_size": 8,
        "training.threads": 1,
        "head.width": 16,
    }
    options = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
    told = tlstudio("train", project, "--backbone", "test_resnet", "--strategy", "full", *options, "--json")
    assert told.code == 0, told.err
    metrics = told.json["metrics"]["test"]
    assert metrics["mean_iou"] > 0.7
    assert 0.0 < metrics["mean_dice"] <= 1.0
    shown = tlstudio("evaluate", project, "latest", "--json").json
    assert {row["name"] for row in shown["per_class"]} == set(NAMES)
    assert np.mean([row["iou"] for row in shown["per_class"]]) == pytest.approx(metrics["mean_iou"], abs=1e-6)
    assert sum(row["support"] for row in shown["per_class"]) == 72 * 54 * shown["items"]
    assert "iou" in tlstudio("evaluate", project, "latest").out

    assert tlstudio("export", project, "latest", tmp_path / "model").code == 0
    new = tmp_path / "new"
    for number in range(3):
        draw(new / f"{number}.png", tmp_path / "truth" / f"{number}.png", 100 + number)
    (new / "note.png").write_bytes(b"no image")
    done = tlstudio("predict", tmp_path / "model", new, "--output", tmp_path / "out.csv", "--json")
    assert done.code == 0, done.err
    assert [item["source"] for item in done.json["rejected"]] == ["note.png"]
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mask"] for row in rows] == [f"out_masks/{number}.png" for number in range(3)]
    with (tmp_path / "out_masks" / "classes.csv").open(encoding="utf-8", newline="") as file:
        order = [line["name"] for line in csv.DictReader(file)]
    for number, row in enumerate(rows):
        with Image.open(tmp_path / row["mask"]) as image:
            assert image.mode == "P"
            found = np.array([NAMES.index(name) for name in order])[np.asarray(image)]
        with Image.open(tmp_path / "truth" / f"{number}.png") as image:
            truth = np.asarray(image)
        assert found.shape == truth.shape
        assert overlap(found, truth) > 0.6
        shares = json.loads(row["prediction"])
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-4)
        assert shares["disc"] == pytest.approx((found == 1).mean(), abs=1e-5)
    one = ("predict", tmp_path / "model", new / "0.png")
    assert tlstudio(*one, "--json").json["predictions"][0]["prediction"] == json.loads(rows[0]["prediction"])
    assert "disc " in tlstudio(*one).out
    by_run = tlstudio("predict", project, new, "--output", tmp_path / "run.csv")
    assert by_run.code == 0, by_run.err
    for number in range(3):
        both = [(tmp_path / f"{name}_masks" / f"{number}.png").read_bytes() for name in ("out", "run")]
        assert both[0] == both[1], "the export predicts what the run predicts"
    again = tlstudio("predict", tmp_path / "model", new, "--output", tmp_path / "out.csv")
    assert again.code != 0
    assert "out_masks, where the masks would go, is not empty" in again.err

    # What was predicted is a data set again.
    (tmp_path / "out_masks").rename(new / "masks")
    anew = tlstudio("import", project, new, "--name", "again", "--json")
    assert anew.code == 0, anew.err
    assert set(anew.json["classes"]) <= set(NAMES)
