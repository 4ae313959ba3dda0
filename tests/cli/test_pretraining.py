"""From data without labels to predictions, through the command line: images, texts and rows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Tlstudio
from tests.cli.test_tables import write_people
from tests.conftest import draw_folder
from tests.plugins.test_text import WORDS, write_model
from tlstudio.store.run import Run

QUICK = ("-o", "training.threads=1", "-o", "training.epochs=2", "-o", "training.batch_size=8", "--json")


def _images(folder: Path) -> tuple[Path, Path, tuple[str, ...]]:
    source = draw_folder(folder / "shapes", 8)
    plain = folder / "plain"
    plain.mkdir()
    for number, file in enumerate(sorted(source.rglob("*.png"))):
        (plain / f"{number}.png").write_bytes(file.read_bytes())
    return plain, source, TINY


def _texts(folder: Path) -> tuple[Path, Path, tuple[str, ...]]:
    plain, source, model = folder / "plain.csv", folder / "labelled.csv", folder / "model"
    model.mkdir()
    write_model(model, "bert")
    openings = [f"{a} {b} film {c}" for a in ("the", "a", "very") for b in ("great", "dull") for c in WORDS[3:8]]
    rows = [(f"{text} and I loved it", "good" if "great" in text else "bad") for text in openings]
    for path, header in ((plain, ["text"]), (source, ["text", "label"])):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *(row[: len(header)] for row in rows)])
    return plain, source, ("--backbone", "auto_model", "-o", f"backbone.weights={model}")


def _rows(folder: Path) -> tuple[Path, Path, tuple[str, ...]]:
    columns = ("age", "town", "joined", "height")
    source = write_people(folder / "labelled.csv", 40, 0, columns=columns)
    plain = folder / "plain.csv"
    with source.open(encoding="utf-8", newline="") as file, plain.open("w", encoding="utf-8", newline="") as unlabelled:
        csv.writer(unlabelled).writerows(row[:-1] for row in csv.reader(file))
    return plain, source, ("--backbone", "table_mlp", "-o", "backbone.width=16", "-o", "backbone.layers=1")


@pytest.mark.parametrize(
    ("make", "head"),
    [(_images, "contrastive"), (_texts, "masked_language_model"), (_rows, "masked_values")],
    ids=["images", "texts", "rows"],
)
def test_data_without_labels_are_learned_from_and_a_run_with_labels_starts_from_that(
    make: Callable[[Path], tuple[Path, Path, tuple[str, ...]]], head: str, tlstudio: Tlstudio, tmp_path: Path
) -> None:
    plain, labelled, backbone = make(tmp_path)
    project = tmp_path / "project"
    assert tlstudio("new", project).code == 0
    found = tlstudio("import", project, plain, "--name", "plain", "--task", "pretraining", "--json")
    assert found.code == 0, found.err
    assert (found.json["task"], found.json["classes"]) == ("pretraining", [])
    assert tlstudio("import", project, labelled, "--name", "labelled", "--json").code == 0

    first = tlstudio("train", project, "--dataset", "plain", *backbone, *QUICK)
    assert first.code == 0, first.err
    run = first.json["run"]
    recipe = Run(project / "runs" / run).read_recipe()
    assert (recipe["head"]["name"], recipe["strategy"]["name"]) == (head, "full")
    assert tlstudio("evaluate", project, run).code == 0
    refused = tlstudio("predict", project, plain, "--run", run, "--output", tmp_path / "none.csv")
    assert refused.code != 0
    assert "learned without labels" in refused.err

    second = tlstudio("train", project, "--dataset", "labelled", "--start-from", run, *QUICK)
    assert second.code == 0, second.err
    output = tmp_path / "predictions.csv"
    assert tlstudio("predict", project, plain, "--output", output).code == 0
    with output.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) >= 24
