"""Images with texts, from a table to a model that is used from the command line."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from tests.cli.conftest import Tlstudio
from tests.cli.test_text_tasks import encoder, rows_of

__all__ = ["encoder"]

COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200)}
PLACES = ("Rome", "Oslo")


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Each of four classes is a colour of the image and a place in the text: neither tells it alone."""
    from PIL import Image

    made = random.Random(0)
    folder = tmp_path / "posts"
    folder.mkdir()
    with (folder / "posts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "caption", "label"])
        for number in range(64):
            colour, place = list(COLOURS)[number % 2], PLACES[number // 2 % 2]
            shade = tuple(value + made.randrange(-30, 31) for value in COLOURS[colour])
            Image.new("RGB", (40, 40), shade).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", f"{made.choice(['Anna', 'Bob'])} loves {place} .", f"{colour} {place}"])
    return folder / "posts.csv"


def test_a_model_learns_from_both_and_predicts_tables_and_single_images_with_a_text(
    tlstudio: Tlstudio, posts: Path, encoder: Path, tmp_path: Path
) -> None:
    project, model = tmp_path / "project", tmp_path / "model"
    assert tlstudio("new", project).code == 0
    imported = tlstudio("import", project, posts, "--name", "posts", "--text-column", "caption")
    assert imported.code == 0, imported.err
    assert "Imported 64 images with texts as posts" in imported.out
    options = {
        "backbone.image_weights": "random",
        "backbone.image_image_size": 32,
        "backbone.text_weights": encoder,
        "training.epochs": 12,
        "training.learning_rate": 0.005,
        "training.batch_size": 16,
        "training.threads": 1,
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    words += ["--backbone", "test_resnet+auto_model", "--head", "gated_fusion", "--strategy", "full"]
    alone = tlstudio("train", project, "--backbone", "test_resnet", "-o", "backbone.weights=random")
    assert alone.code != 0
    assert "Join one for images and one for texts" in alone.err
    told = tlstudio("train", project, *words, "--json")
    assert told.code == 0, told.err
    assert told.json["metrics"]["test"]["accuracy"] > 0.9
    exported = tlstudio("export", project, "latest", model)
    assert exported.code == 0, exported.err

    photo = ("predict", model, posts.parent / "0.png", "--json")
    found = [tlstudio(*photo, "--text", f"Anna loves {place} .").json["predictions"][0] for place in PLACES]
    assert [one["prediction"] for one in found] == ["red Rome", "red Oslo"]
    assert tlstudio("predict", model, posts, "--output", tmp_path / "out.csv").code == 0
    rows = rows_of(tmp_path / "out.csv")
    assert len(rows) == 64
    assert rows[3]["text"].endswith("loves Oslo .")
    assert rows[3]["prediction"] == "blue Oslo"
    in_run = tlstudio("predict", project, posts.parent / "0.png", "--text", "Anna loves Rome .", "--json").json
    assert in_run["predictions"][0]["scores"] == pytest.approx(found[0]["scores"], abs=1e-5)

    assert "no images with texts to predict" in tlstudio(*photo).err
    assert "Give the image as SOURCE" in tlstudio("predict", model, "--text", "Anna loves Rome .").err
    assert "takes images with texts, and a request brings one or the other" in tlstudio("serve", model).err
    similar = tlstudio("similar", project, posts, "--run", "latest", "--json")
    assert similar.code == 0, similar.err


def test_a_text_for_an_image_is_refused_by_a_model_that_takes_images_alone(
    tlstudio: Tlstudio, folder: Path, shapes_folder: Path
) -> None:
    from tests.cli.conftest import TINY

    assert tlstudio("train", folder, *TINY, "-o", "training.epochs=1").code == 0
    image = next(shapes_folder.rglob("*.png"))
    told = tlstudio("predict", folder, image, "--text", "a circle")
    assert told.code != 0
    assert "This model takes images, not images with texts." in told.err
