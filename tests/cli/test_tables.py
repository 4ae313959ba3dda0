"""Rows of tables and time series, from the user's files to predictions, and from one table to the next."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Result, Tlstudio
from tlstudio.api import Prediction, Sample
from tlstudio.cli.prediction import predictions_json

SMALL = ("-o", "backbone.width=32", "-o", "backbone.layers=1", "-o", "training.threads=1")
TOWNS = {"Berlin": 1.0, "Oslo": 0.0, "New York": -1.0}


@pytest.fixture
def project(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    assert tlstudio("new", folder).code == 0
    return folder


def write_people(path: Path, count: int, seed: int, *, columns: Sequence[str], label: str = "outcome") -> Path:
    """People whose outcome follows from age, town and month, whatever columns the file has besides."""
    made = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, label])
        for _ in range(count):
            age, town, month = made.uniform(18, 90), made.choice(list(TOWNS)), made.randrange(1, 13)
            score = (age - 54) / 20 + TOWNS[town] + math.sin(month / 2)
            cells = {
                "age": "" if made.random() < 0.05 else f"{age:.1f}",
                "town": town,
                "joined": f"2023-{month:02}-{made.randrange(1, 29):02}",
                "noise": f"{made.random():.3f}",
                "height": f"{made.gauss(170, 9):.0f}",
            }
            told = f"{10 * score:.2f}" if label == "score" else "high" if score > 0 else "low"
            writer.writerow([*(cells[name] for name in columns), told])
    return path


def train(tlstudio: Tlstudio, project: Path, *arguments: str | Path) -> Any:
    result = tlstudio("train", project, *arguments, *SMALL, "--json")
    assert result.code == 0, result.err
    return result.json


def imported(tlstudio: Tlstudio, project: Path, *arguments: str | Path) -> Result:
    result = tlstudio("import", project, *arguments)
    assert result.code == 0, result.err
    return result


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_is_learned_exported_and_predicted_the_same_by_run_and_export(
    tlstudio: Tlstudio, project: Path, tmp_path: Path
) -> None:
    columns = ("age", "town", "joined", "noise")
    told = imported(tlstudio, project, write_people(tmp_path / "people.csv", 600, 0, columns=columns))
    assert "Numbers: age, noise." in told.err + told.out
    result = train(tlstudio, project, "-o", "training.epochs=12", "-o", "training.batch_size=32")
    assert result["metrics"]["test"]["accuracy"] > 0.85
    model = tmp_path / "model"
    assert tlstudio("export", project, "latest", model).code == 0
    new = tmp_path / "new.csv"
    new.write_text(
        "remark,joined,town,age,noise,outcome\nhi,2023-04-01,Berlin,80,0.5,low\nho,,Atlantis,,0.1,\nno,,,,,low\n"
    )
    for source, output in ((model, "a.csv"), (project, "b.csv")):
        predicted = tlstudio("predict", source, new, "--output", tmp_path / output)
        assert predicted.code == 0, predicted.err
        assert 'does not know "remark":' in predicted.err
        assert '"outcome" is what the model predicts: what is there is not looked at.' in predicted.err
        assert '1 row has what the model has not learned of: "Atlantis".' in predicted.err
        assert (
            "1 item was not predicted:\n  new.csv, row 4: It is empty in all that the model looks at." in predicted.err
        )
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    first, second = table_of(tmp_path / "a.csv")
    assert first["prediction"] == "high"
    assert second["prediction"] in ("high", "low"), "a new town and missing values are no reason to give up"
    for place in (("--run", "latest"), ("--dataset", "people", "--backbone", "table_mlp")):
        near = tlstudio("similar", project, new, *place, "-k", "3")
        assert near.code == 0, near.err
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("town,joined,noise\nBerlin,2023-04-01,0.5\nOslo,2023-04-01,0.5\n", encoding="utf-8")
    rejected = tlstudio("predict", model, lacking, "--json").json["rejected"]
    assert 'lacks "age", which the model takes' in rejected[0]["reason"]


def test_a_number_is_learned_with_the_small_network(tlstudio: Tlstudio, project: Path, tmp_path: Path) -> None:
    columns = ("age", "town", "joined")
    imported(tlstudio, project, write_people(tmp_path / "p.csv", 600, 1, columns=columns, label="score"))
    result = train(tlstudio, project, "--backbone", "table_mlp", "-o", "training.epochs=15")
    assert result["metrics"]["test"]["r2"] > 0.8


def test_what_one_table_taught_goes_on_in_the_next_by_column(tlstudio: Tlstudio, project: Path, tmp_path: Path) -> None:
    first = write_people(tmp_path / "first.csv", 800, 2, columns=("age", "town", "joined", "noise"))
    imported(tlstudio, project, first)
    train(tlstudio, project, "--dataset", "first", "--backbone", "table_mlp", "-o", "training.epochs=10")
    model = tmp_path / "model"
    assert tlstudio("export", project, "latest", model).code == 0
    second = write_people(tmp_path / "second.csv", 300, 3, columns=("height", "joined", "town", "age"))
    imported(tlstudio, project, second, "--splits", "10,10,80")
    options = (
        "--dataset",
        "second",
        "-o",
        "training.epochs=4",
        "-o",
        "training.learning_rate=0.0005",
        "-o",
        "training.keep=last",
    )
    alone = train(tlstudio, project, "--backbone", "table_mlp", *options)
    for source in (alone["run"].replace("002", "001"), model):
        result = tlstudio("train", project, "--start-from", source, *options, "-o", "training.threads=1")
        assert result.code == 0, result.err
        assert "3 of 4 columns go on with what was learned of them." in result.err + result.out
        assert "New columns begin anew: height." in result.err + result.out
        continued = tlstudio("evaluate", project, "latest", "--json").json
        assert continued["metrics"]["accuracy"] > alone["metrics"]["test"]["accuracy"] + 0.05
    assert tlstudio("export", project, "latest", tmp_path / "model2").code == 0
    assert tlstudio("predict", tmp_path / "model2", second, "--output", tmp_path / "out.csv").code == 0


def test_a_series_is_forecast_and_what_follows_the_last_known_value_is_predicted(
    tlstudio: Tlstudio, project: Path, tmp_path: Path
) -> None:
    made = random.Random(0)
    lines = ["date,sales"]
    for day in range(500):
        date = f"{2020 + day // 336}-{1 + day // 28 % 12:02}-{1 + day % 28:02}"
        lines.append(f"{date},{100 + 0.1 * day + 20 * math.sin(2 * math.pi * day / 7) + made.gauss(0, 1):.2f}")
    source = tmp_path / "sales.csv"
    source.write_text("\n".join(lines), encoding="utf-8")
    imported(tlstudio, project, source, "--format", "series", "-o", "length=28", "-o", "horizon=7")
    result = train(tlstudio, project, "--backbone", "patch_transformer", "-o", "training.epochs=12")
    assert result["metrics"]["test"]["mase"] < 0.35, "far better than that nothing changes"
    model = tmp_path / "model"
    assert tlstudio("export", project, "latest", model).code == 0
    recent = tmp_path / "recent.csv"
    recent.write_text("\n".join([lines[0], *lines[-60:]]), encoding="utf-8")
    for place, output in ((model, "a.csv"), (project, "b.csv")):
        assert tlstudio("predict", place, recent, "--output", tmp_path / output).code == 0
    (row,) = table_of(tmp_path / "a.csv")
    assert row == table_of(tmp_path / "b.csv")[0]
    assert (row["last time"], row["time +1"], row["time +7"]) == ("2021-06-24", "2021-06-25", "2021-07-01")
    values = [float(row[f"sales +{step}"]) for step in range(1, 8)]
    truth = [100 + 0.1 * day + 20 * math.sin(2 * math.pi * day / 7) for day in range(500, 507)]
    assert max(abs(value - true) for value, true in zip(values, truth, strict=True)) < 12
    short = tmp_path / "short.csv"
    short.write_text("\n".join([lines[0], *lines[-12:]]), encoding="utf-8")
    (told,) = tlstudio("predict", model, short, "--json").json["rejected"]
    assert told["reason"].endswith("has 12 rows, and the model needs 28 at least.")


def test_forecasts_for_programs_have_their_times() -> None:
    sample = Sample("a", times=("2024-01-30", "2024-01-31"))
    (told,) = predictions_json([(sample, Prediction((1.0, 2.0)))], [])["predictions"]
    assert (told["last_time"], told["times"]) == ("2024-01-31", ["2024-02-01", "2024-02-02"])


def test_series_with_labels_are_told_apart_from_ts_files(tlstudio: Tlstudio, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "waves"
    folder.mkdir()
    made = random.Random(0)
    for split, count in (("TRAIN", 60), ("TEST", 40)):
        lines = ["@problemName waves", "@timeStamps false", "@classLabel true slow fast", "@data"]
        for number in range(count):
            pace, shift = (0.3, 0.8)[number % 2], made.random() * 6
            wave = (math.sin(pace * place + shift) + made.gauss(0, 0.2) for place in range(40))
            lines.append(",".join(f"{value:.3f}" for value in wave) + f":{('slow', 'fast')[number % 2]}")
        (folder / f"waves_{split}.ts").write_text("\n".join(lines), encoding="utf-8")
    imported(tlstudio, project, folder)
    result = train(tlstudio, project, "--backbone", "series_resnet", "-o", "training.epochs=8")
    assert result["metrics"]["test"]["accuracy"] > 0.95
    assert "takes rows, and a request brings an image, a recording or texts" in tlstudio("serve", project).err
    out = tmp_path / "out.csv"
    assert tlstudio("predict", project, folder / "waves_TEST.ts", "--output", out).code == 0
    assert sum(row["prediction"] == ("slow", "fast")[n % 2] for n, row in enumerate(table_of(out))) > 38


def test_a_backbone_for_rows_is_not_tried_on_series(tlstudio: Tlstudio, project: Path, tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("t,x\n" + "\n".join(f"{n},{math.sin(n)}" for n in range(200)), encoding="utf-8")
    told = imported(tlstudio, project, source, "--format", "series", "-o", "length=10", "-o", "horizon=2")
    assert "Imported 167 windows as x" in told.out
    refused = tlstudio("train", project, "--backbone", "ft_transformer")
    assert refused.code != 0
    assert 'FT-Transformer takes one value a column, and "x" holds a series.' in refused.err
    assert "mistakes" not in refused.err
