"""From a folder to predictions on the command line, as real processes where that matters."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Tlstudio
from tlstudio.engine.events import EpochEnded, RunEnded, RunStarted, from_json
from tlstudio.store import Project

WITHOUT_QT = """
import sys
from tlstudio.__main__ import main
code = main(sys.argv[1:])
assert "torch" in sys.modules
assert not [name for name in sys.modules if name.startswith(("PySide6", "shiboken6", "pyqtgraph"))]
sys.exit(code)
"""


def test_from_a_folder_to_an_exported_model(
    tlstudio: Tlstudio, folder: Path, shapes_folder: Path, tmp_path: Path
) -> None:
    trained = tlstudio("train", folder, *TINY, "--strategy", "full", "-o", "training.epochs=2", "--json")
    assert trained.code == 0, trained.err
    result = trained.json
    assert result["status"] == "done"
    assert set(result["metrics"]) == {"validation", "test"}
    assert {"accuracy", "f1_macro", "loss"} <= set(result["metrics"]["test"])
    assert result["best_epoch"] in (1, 2)
    assert Path(result["folder"]).is_dir()
    assert "Epoch 2 of 2" in trained.err

    evaluated = tlstudio("evaluate", folder, "latest")
    assert evaluated.code == 0
    assert "圆环" in evaluated.out
    assert "Confusion" in evaluated.out
    numbers = tlstudio("evaluate", folder, "best", "--json").json
    assert numbers["metrics"] == result["metrics"]["test"]
    assert sum(map(sum, numbers["confusion"])) == sum(row["support"] for row in numbers["per_class"])
    again = tlstudio("evaluate", folder, "latest", "--again", "--json")
    assert again.json["metrics"]["accuracy"] == pytest.approx(numbers["metrics"]["accuracy"])

    image = shapes_folder / "circle" / "circle_00.png"
    one = tlstudio("predict", folder, image, "--run", "latest", "--json")
    assert one.code == 0, one.err
    assert set(one.json["predictions"][0]["scores"]) == {"circle", "square", "圆环"}

    exported = tlstudio("export", folder, "best", tmp_path / "model", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["max_difference"] < 1e-4
    table = tmp_path / "predictions.csv"
    written = tlstudio("predict", tmp_path / "model", shapes_folder, "--output", table, "--json")
    assert written.code == 0, written.err
    assert written.json["rows"] == 48
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    by_id = {row["id"]: row["prediction"] for row in rows}
    shown = tlstudio("predict", tmp_path / "model", image, "--json").json["predictions"][0]
    assert shown["prediction"] == one.json["predictions"][0]["prediction"] == by_id["circle/circle_00.png"]

    for arguments, words in (
        (("predict", tmp_path / "model", image, "--run", "best"), "is none"),
        (("predict", folder, "--text", "a text"), "takes images, not texts. The model is that of run"),
        (("export", folder, "best", tmp_path / "model"), "not empty"),
    ):
        refused = tlstudio(*arguments)
        assert refused.code == 2
        assert words in refused.err

    # Told before the model is loaded: a damaged one makes no difference.
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "notes.txt").write_text("a text")
    wrong: list[tuple[tuple[str | Path, ...], str]] = [
        (("--text", "a text"), "takes images, not texts"),
        ((tmp_path / "notes.txt",), "There are no images to predict"),
        ((shapes_folder, "--output", tmp_path / "notes.txt"), "is no .csv file; it would be lost"),
        ((shapes_folder, "--output", tmp_path / "model" / "config.json"), "belongs to the exported model"),
        ((shapes_folder, "--output", folder / "runs" / "new.csv"), "belongs to the project"),
    ]
    for sources, words in wrong:
        refused = tlstudio("predict", tmp_path / "model", *sources)
        assert refused.code == 2
        assert words in refused.err
    into_project = tlstudio("export", folder, "best", folder / "runs" / "model")
    assert "belongs to the project" in into_project.err


def test_a_dry_run_prints_a_recipe_that_trains_the_same(tlstudio: Tlstudio, folder: Path, tmp_path: Path) -> None:
    planned = tlstudio("train", folder, *TINY, "--strategy", "linear_probe", "-o", "training.epochs=3", "--dry-run")
    assert planned.code == 0, planned.err
    assert planned.out.startswith("# Trains ")
    assert "# What learns, from input to output:" in planned.out
    assert "# Memory: about " in planned.out
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(planned.out, encoding="utf-8")
    assert tomllib.loads(planned.out)["training"]["epochs"] == 3
    assert tlstudio("runs", folder, "--json").json["runs"] == []
    trained = tlstudio("train", folder, "--recipe", recipe, "-o", "training.epochs=2", "--json")
    assert trained.code == 0, trained.err
    used = tlstudio("runs", folder, "latest", "--json").json["recipe"]
    assert used == {**tomllib.loads(planned.out), "training": {**used["training"], "epochs": 2}}
    assert used["strategy"]["name"] == "linear_probe"


def test_a_failed_run_exits_with_1_and_says_why(tlstudio: Tlstudio, folder: Path) -> None:
    for image in (folder / "datasets").glob("*/*/media/*/*"):
        image.write_bytes(b"this is no image any more")
    result = tlstudio("train", folder, *TINY, "-o", "training.epochs=1", "--json")
    assert (result.code, result.json["status"]) == (1, "failed")
    assert "is not an image that can be read" in result.json["error"]


def test_weights_that_cannot_be_read_are_told_before_the_run(tlstudio: Tlstudio, folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"these are no weights")
    words = ("--backbone", "mobilenet_v3_small", "-o", f"backbone.weights={weights}")
    result = tlstudio("train", folder, *words, "--json")
    assert result.code == 2
    assert "weights.pth" in result.json["error"]
    assert tlstudio("runs", folder, "--json").json["runs"] == []


def test_training_streams_events_and_loads_no_qt(tlstudio_process: Tlstudio, folder: Path) -> None:
    words = ("train", folder, "--dataset", "shapes", *TINY, "--strategy", "linear_probe", "-o", "training.epochs=2")
    result = tlstudio_process(*words, "--events", "-", "--json", command=(sys.executable, "-c", WITHOUT_QT))
    assert result.code == 0, result.err
    *lines, last = result.out.splitlines()
    events = [from_json(line)[0] for line in lines]
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2]
    assert sum(isinstance(event, RunStarted) for event in events) == 1
    assert isinstance(events[-1], RunEnded)
    assert json.loads(last)["run"] == events[-1].run
    with Project.open(folder) as project:
        assert [run.status for run in project.runs()] == ["done"]
        assert list(project.run(events[-1].run).event_lines()) != []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl+C to one process")
def test_ctrl_c_cancels_at_the_next_step(folder: Path) -> None:
    words = ["train", str(folder), *TINY, "--strategy", "full", "-o", "training.epochs=10000", "--events", "-"]
    with subprocess.Popen(
        [sys.executable, "-m", "tlstudio", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if isinstance(from_json(line)[0], EpochEnded):
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopping at the next step" in errors
    end = from_json(rest.splitlines()[-1])[0]
    assert isinstance(end, RunEnded)
    assert end.status == "cancelled"
    with Project.open(folder) as project:
        assert [run.status for run in project.runs()] == ["cancelled"]


@pytest.mark.starter
def test_a_text_is_predicted_by_a_run_that_chose_everything_itself(
    tlstudio: Tlstudio, tmp_path: Path, reviews_csv: Path
) -> None:
    folder = tmp_path / "reviews"
    assert tlstudio("new", folder).code == 0
    imported = tlstudio("import", folder, reviews_csv, "--name", "reviews", "--label-column", "sentiment")
    assert imported.code == 0, imported.err
    trained = tlstudio("train", folder, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["metrics"]["test"]["accuracy"] > 0.8
    predicted = tlstudio("predict", folder, "--text", "a wonderful and moving film", "--json")
    assert predicted.json["predictions"][0]["prediction"] == "good"
    assert "probability" in tlstudio("predict", folder, "--text", "poor and dull").out
