"""Each command by what it prints, what it leaves behind and how it exits."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Tlstudio
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.main import COMMANDS
from tlstudio.store import Project

BUGGY_FORMAT = """
from tlstudio.api import DatasetFormat, hookimpl

TLSTUDIO_API = "1.0"


class Buggy(DatasetFormat):
    name, title, description, modality = "buggy", "Buggy", "Divides by zero.", "text"

    def detect(self, path):
        return 0.0

    def preview(self, path, options=None):
        return 1 / 0

    def read(self, path, options, task):
        return iter(())


@hookimpl
def register_dataset_formats():
    return [Buggy()]
"""
BROKEN_PLUGIN = 'TLSTUDIO_API = "1.0"\n\nraise RuntimeError("broken on purpose")\n'


@pytest.fixture
def folder(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """A project made on the command line."""
    assert tlstudio("new", tmp_path / "my project").code == 0
    return tmp_path / "my project"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(tlstudio: Tlstudio, name: str) -> None:
    result = tlstudio(name, "--help")
    assert result.code == 0
    assert f"tlstudio {name}" in result.out.split("Example:")[1]
    assert "--json" in result.out
    assert f"  {name}" in tlstudio("--help").out


def test_new_makes_a_project_that_opens(tlstudio: Tlstudio, tmp_path: Path) -> None:
    result = tlstudio("new", tmp_path / "鳥", "--name", "Vögel", "--json")
    assert result.json == {"project": str(tmp_path / "鳥"), "name": "Vögel"}
    assert len(result.out.splitlines()) == 1
    with Project.open(tmp_path / "鳥") as project:
        assert project.name == "Vögel"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["new"], "Missing argument 'PROJECT'"),
        (["runs", "no such folder"], "does not exist"),
        (["train", "no such folder", "--dataset", "d"], "does not exist"),
        (["import", "PROJECT", "no such file"], "There is no file or folder"),
        (["import", "PROJECT", ".", "--splits", "70,30"], "three shares"),
        (["import", "PROJECT", ".", "--splits", "1,-1,1"], "three shares"),
        (["import", "PROJECT", ".", "-o", "format.x"], "format.OPTION=VALUE"),
        (["import", "PROJECT", ".", "--task", "guessing"], "guessing"),
        (["import", "PROJECT", __file__], "What can be read: images"),
        (["train", "PROJECT"], "no data set yet"),
        (["train", "PROJECT", "--dataset", "d"], "There is no data set 'd'"),
        (["train", "PROJECT", "--recipe", "missing.toml"], "missing.toml cannot be read"),
        (["evaluate", "PROJECT", "latest"], "has no run yet"),
        (["evaluate", "PROJECT", "best"], "has no finished run yet"),
        (["runs", "PROJECT", "2026-01-01-001-x"], "There is no run"),
        (["export", "PROJECT", "latest", "out"], "has no run yet"),
        (["predict", "PROJECT"], "either a SOURCE or --text"),
        (["predict", "no such model", "--text", "x"], "There is no folder"),
        (["backbones", "--family", "none"], "there is no family"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(
    tlstudio: Tlstudio, folder: Path, arguments: list[str], words: str
) -> None:
    arguments = [str(folder) if word == "PROJECT" else word for word in arguments]
    result = tlstudio(*arguments)
    assert result.code == 2
    assert words in result.err
    assert "Traceback" not in result.err
    as_json = tlstudio(*arguments, "--json")
    assert as_json.code == 2
    assert len(as_json.out.splitlines()) == 1
    assert words in as_json.json["error"]


def test_a_task_is_given_as_it_is_printed_or_with_hyphens(tlstudio: Tlstudio, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "words.conll").write_text("".join(f"Mr O\nNo{n} B-PER\nsang O\n\n" for n in range(9)), "utf-8")
    for task in ("token_classification", "token-classification"):
        planned = tlstudio("import", folder, tmp_path / "words.conll", "--task", task, "--dry-run")
        assert "token_classification" in planned.out, planned.err


def test_an_adapter_says_that_it_is_no_model_by_itself(tlstudio: Tlstudio, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    refused = tlstudio("predict", tmp_path, "--text", "x")
    assert refused.code == 2
    assert "is an adapter without its backbone" in refused.err
    assert "without --adapter" in refused.err


def test_a_folder_without_labels_is_told_the_tasks_that_need_none(
    tlstudio: Tlstudio, folder: Path, shapes_folder: Path
) -> None:
    refused = tlstudio("import", folder, shapes_folder / "circle")
    assert refused.code == 2
    assert "--task pretraining" in refused.err
    assert "the task anomaly_detection" in refused.err
    assert tlstudio("import", folder, shapes_folder / "circle", "--task", "pretraining").code == 0


def test_a_bug_prints_its_traceback_and_asks_for_a_report(tlstudio: Tlstudio, folder: Path, home: Path) -> None:
    (home / "plugins").mkdir(parents=True)
    (home / "plugins" / "buggy.py").write_text(BUGGY_FORMAT)
    result = tlstudio("import", folder, home, "--format", "buggy", "--json")
    assert result.code == 1
    assert "ZeroDivisionError" in result.err
    assert "Please report it" in result.err
    assert result.json["bug"] is True


def test_runs_lists_newest_first_and_tells_all_about_one(tlstudio: Tlstudio, folder: Path) -> None:
    with Project.open(folder) as project:
        for number, strategy in enumerate(("linear_probe", "full", "lora")):
            names: dict[str, Any] = {"dataset": "鳥", "revision": "r1", "backbone": "b", "head": "h"}
            names["methods"] = ["coral", "ema"] if strategy == "full" else []
            run = project.new_run("[training]\nepochs = 3\n", strategy=strategy, **names)
            values = {"loss": 1.0, "accuracy": 0.5, "f1_macro": (0.3, 0.9, float("nan"))[number]}
            run.finish("done", {"validation": values, "test": values}, 2, 61.0, "")
        project.set_note(run.id, "a note", ["keep"])
    result = tlstudio("runs", folder)
    lines = result.out.splitlines()
    assert " ".join(lines[0].split()) == "run status data set backbone strategy metric validation test epoch time note"
    assert [line.split()[0].split("-", 4)[-1] for line in lines[1:]] == ["lora", "full", "linear_probe"]
    assert "b         full + coral + ema  accuracy" in lines[2]
    assert "#keep a note" in lines[1]
    assert "1:01" in lines[1]
    listed = tlstudio("runs", folder, "--json").json["runs"]
    assert listed[0]["tags"] == ["keep"]
    assert listed[0]["metrics"]["test"]["f1_macro"] is None
    best = tlstudio("runs", folder, "best", "--json").json
    assert best["strategy"] == "full"
    assert best["recipe"] == {"training": {"epochs": 3}}
    assert "epochs = 3" in tlstudio("runs", folder, "latest").out


def test_runs_are_sorted_by_any_metric_of_their_best_epoch_also_while_they_run(
    tlstudio: Tlstudio, folder: Path
) -> None:
    with Project.open(folder) as project:
        for recall in ((0.2, 0.4), (0.9, 0.1), (float("nan"),), (0.5,)):
            run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
            for epoch, value in enumerate(recall, 1):
                measured = {"loss": value + 1, "recall": value}
                values = {"epoch": epoch, "step": epoch, "train_loss": 0.5, "validation": measured}
                is_best = epoch == 1 or value > recall[0]
                run.append_event(json.dumps({"event": "EpochEnded", "time": 0.0, **values, "is_best": is_best}))
            run.close()
        runs = [summary.id for summary in reversed(project.runs())]

        def order(*arguments: str) -> list[int]:
            listed = tlstudio("runs", folder, *arguments, "--json").json["runs"]
            return [runs.index(run["run"]) for run in listed]

        assert order("--sort", "recall") == [1, 3, 0, 2]
        assert order("--sort", "loss", "--limit", "2") == [0, 3]
        lines = tlstudio("runs", folder, "--sort", "recall").out.splitlines()
        assert lines[0].split() == ["run", "status", "data", "set", "backbone", "strategy", "recall", "epoch"]
        assert lines[1].split()[-2:] == ["0.900", "1"]
        unknown = tlstudio("runs", folder, "--sort", "speed")
        assert unknown.code == 2
        assert "there are loss, recall" in unknown.err


def test_a_run_tells_its_epochs_and_which_is_kept(tlstudio: Tlstudio, folder: Path) -> None:
    with Project.open(folder) as project:
        run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
        for epoch in range(1, 31):
            values = {"epoch": epoch, "step": epoch, "train_loss": 0.5, "validation": {"accuracy": 0.25}}
            run.append_event(json.dumps({"event": "EpochEnded", "time": 0.0, **values, "is_best": epoch <= 3}))
        run.finish("done")
    lines = [line.split() for line in tlstudio("runs", folder, run.id).out.splitlines()]
    epochs = lines[lines.index(["epoch", "training", "loss", "accuracy"]) + 1 :]
    assert epochs[0] == ["3", "kept", "0.500", "0.250"]
    assert [line[0] for line in epochs[1:11]] == [str(epoch) for epoch in range(21, 31)]
    assert len(tlstudio("runs", folder, run.id, "--json").json["epochs"]) == 30
    assert len(tlstudio("runs", folder, "--limit", "1").out.splitlines()) == 2


def test_a_project_that_is_open_elsewhere_is_read_but_not_written(
    tlstudio: Tlstudio, folder: Path, reviews_csv: Path
) -> None:
    with Project.open(folder, program="the window"):
        assert tlstudio("runs", folder).code == 0
        assert tlstudio("import", folder, reviews_csv, "--dry-run").code == 0
        result = tlstudio("import", folder, reviews_csv)
    assert result.code == 2
    assert "already open for writing in the window (user " in result.err


def test_a_dry_import_shows_the_columns_and_imports_nothing(
    tlstudio: Tlstudio, folder: Path, reviews_csv: Path
) -> None:
    result = tlstudio("import", folder, reviews_csv, "--label-column", "sentiment", "--dry-run")
    assert result.code == 0
    assert "sentiment" in result.out
    assert "No. 0: " in result.out
    assert list((folder / "datasets").iterdir()) == []
    assert "70% train, 15% validation, 15% test" in result.out
    shown = tlstudio("import", folder, reviews_csv, "--label-column", "sentiment", "--dry-run", "--json").json
    assert shown["options"]["label_column"] == "sentiment"
    assert shown["task"] == "classification"


def test_an_import_tells_splits_classes_and_what_was_left_out(
    tlstudio: Tlstudio, folder: Path, shapes_folder: Path, tmp_path: Path
) -> None:
    import shutil

    source = tmp_path / "shapes"
    shutil.copytree(shapes_folder, source)
    (source / "circle" / "broken.png").write_bytes(b"no image")
    result = tlstudio("import", folder, source, "--name", "shapes", "--splits", "50,25,25", "--seed", "3", "--json")
    assert result.code == 0
    assert result.json["splits"] == {"train": 24, "validation": 12, "test": 12}
    assert sorted(result.json["classes"]) == ["circle", "square", "圆环"]
    assert [Path(item["source"]).name for item in result.json["rejected"]] == ["broken.png"]
    assert "broken.png" in result.err
    assert "圆环" in result.err
    assert result.err.count("left out") == 1
    again = tlstudio("import", folder, source, "--name", "shapes", "--reference")
    assert again.code == 0
    assert "revision r2" in again.out
    same = tlstudio("import", folder, source, "--name", "shapes", "--reference", "--json")
    assert "are those of shapes, revision r2" in same.err
    assert (same.json["revision"], same.json["unchanged"]) == ("r2", True)


def test_an_import_says_what_its_preview_has_noted(tlstudio: Tlstudio, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "ratings.csv"
    table.write_text("text;label\n" + "".join(f"a text, number {n};{n % 2}\n" for n in range(20)))
    preview = tlstudio("import", folder, table, "--dry-run", "--json").json["notes"]
    assert any("The delimiter is the semicolon" in note for note in preview)
    imported = tlstudio("import", folder, table, "--json")
    assert imported.json["notes"][: len(preview)] == preview
    assert all(note in imported.err for note in preview)
    assert "Columns: text from 'text', label from 'label'." in imported.err


def test_all_mistakes_of_an_import_are_told_at_once(tlstudio: Tlstudio, folder: Path, reviews_csv: Path) -> None:
    result = tlstudio(
        "import", folder, reviews_csv, "--name", "a/b", "-o", "format.nonsense=1", "-o", "other=2", "--json"
    )
    assert result.code == 2
    assert len(result.json["problems"]) == 3


def test_all_mistakes_of_a_recipe_are_told_at_once(tlstudio: Tlstudio, folder: Path, reviews_csv: Path) -> None:
    assert tlstudio("import", folder, reviews_csv, "--name", "r", "--label-column", "sentiment").code == 0
    mistakes = ["training.epochs=0", "training.nonsense=1", "training.device=toaster", "head.nonsense=1"]
    words = [word for mistake in mistakes for word in ("-o", mistake)]
    result = tlstudio("train", folder, "--backbone", "resnet-18", *words, "--json")
    assert result.code == 2
    assert len(result.json["problems"]) == 5
    assert tlstudio("runs", folder, "--json").json["runs"] == []


def test_plugins_are_listed_and_a_broken_one_only_says_so(tlstudio: Tlstudio, home: Path, folder: Path) -> None:
    (home / "plugins").mkdir(parents=True)
    (home / "plugins" / "broken.py").write_text(BROKEN_PLUGIN)
    result = tlstudio("plugins")
    assert result.code == 0
    assert "linear_probe" in result.out
    assert "broken" in result.out
    assert "Traceback" not in result.out
    assert "RuntimeError: broken on purpose" in tlstudio("plugins", "--tracebacks").out
    records = {record["name"]: record for record in tlstudio("plugins", "--json").json["plugins"]}
    assert records["broken"]["state"] == "failed"
    assert "head classification" in records["heads"]["provides"]
    warned = tlstudio("import", folder, home, "--dry-run")
    assert "the plugin broken is left out" in warned.err


def test_a_plugin_that_is_switched_off_is_not_loaded(tlstudio: Tlstudio, home: Path) -> None:
    home.mkdir()
    (home / "disabled_plugins.json").write_text('["heads"]')
    records = {record["name"]: record for record in tlstudio("plugins", "--json").json["plugins"]}
    assert records["heads"]["state"] == "disabled"


def test_backbones_are_found_by_name_with_their_facts(tlstudio: Tlstudio) -> None:
    found = tlstudio("backbones", "--search", "efficientnet_lite0", "--json").json["backbones"]
    assert [one["name"] for one in found] == ["tf_efficientnet_lite0", "efficientnet_lite0"]
    assert [one["num_features"] for one in found] == [1280, 1280]
    listed = tlstudio("backbones", "--search", "efficientnet_lite0").out.splitlines()
    assert listed[0].startswith("backbone ")
    assert tlstudio("backbones", "--family", "torchvision", "--json").code == 0


def test_what_is_not_known_of_a_backbone_is_left_empty_and_the_wait_is_told(tlstudio: Tlstudio) -> None:
    (generic,) = tlstudio("backbones", "--search", "auto_model", "--json").json["backbones"]
    assert generic["num_parameters"] is None
    result = tlstudio("backbones", "--search", "resnet18.a1_in1k")
    assert result.err.startswith("Reading the catalogue of models ...")
    result = tlstudio("backbones", "--search", "auto_model")
    assert "0.0 M" not in result.out
    assert "unknown" not in tlstudio("backbones", "--search", "mobilenet_v3_s").out


def test_the_first_interrupt_asks_and_the_second_stops_at_once() -> None:
    asked: list[bool] = []
    before = signal.getsignal(signal.SIGINT)
    with stop_gently(lambda: asked.append(True)):
        signal.raise_signal(signal.SIGINT)
        assert asked == [True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert asked == [True]
    assert signal.getsignal(signal.SIGINT) is before
