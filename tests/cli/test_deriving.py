"""``tlstudio wise-ft``, ``soup`` and ``prune``: curves, and runs that are made of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Tlstudio
from tests.conftest import draw_folder
from tests.engine.conftest import draw_rare, late_gap
from tlstudio.store.project import Project

QUICK = ("-o", "training.epochs=1", "-o", "training.batch_size=16", "--json")


@pytest.fixture
def shapes(tlstudio: Tlstudio, tmp_path: Path) -> Path:
    """A project with drawn shapes, and nothing trained."""
    project = tmp_path / "project"
    assert tlstudio("new", project).code == 0
    assert tlstudio("import", project, draw_folder(tmp_path / "shapes", 8), "--name", "shapes").code == 0
    return project


def test_from_a_run_with_its_start_to_averages_soups_and_zeros(tlstudio: Tlstudio, shapes: Path) -> None:
    trained = tlstudio("train", shapes, *TINY, "--strategy", "lp_ft", "--method", "wise_ft", *QUICK)
    assert trained.code == 0, trained.err
    first = trained.json["run"]
    with Project.open(shapes, program="another"):
        curve = tlstudio("wise-ft", shapes, first, "--curve", "--json")
        zeros = tlstudio("prune", shapes, first, "--curve", "--json")
        refused = tlstudio("wise-ft", shapes, first, "--alpha", 0.5)
    assert (curve.code, zeros.code) == (0, 0), "what only measures needs no right to write"
    assert "another" in refused.err
    assert [point["alpha"] for point in curve.json["curve"]] == [number / 10 for number in range(11)]
    assert curve.json["curve"][-1]["metrics"]["test"] == trained.json["metrics"]["test"]
    assert "run" not in curve.json
    made = tlstudio("wise-ft", shapes, first, "--alpha", 0.5, "--json").json
    soup = tlstudio("soup", shapes, first, made["run"], "--greedy", "--json")
    assert soup.code == 0, soup.err
    assert {one["run"] for one in soup.json["runs"]} == {first, made["run"]}
    pruned = tlstudio("prune", shapes, soup.json["run"], "--sparsity", 0.5, "--json")
    assert pruned.code == 0, pruned.err
    (row,) = pruned.json["curve"]
    assert row["zeros"] == round(row["prunable"] / 2)
    shown = tlstudio("runs", shapes, pruned.json["run"])
    assert shown.code == 0, shown.err
    assert "50.0% of the weights" in shown.out
    listed = tlstudio("runs", shapes, "--json").json["runs"]
    assert [run["made_by"] for run in listed] == ["pruned", "soup", "wise_ft", ""]
    by_accuracy = tlstudio("runs", shapes, "--sort", "accuracy", "--json").json["runs"]
    assert {run["run"] for run in by_accuracy} == {run["run"] for run in listed}


def test_folds_are_trained_and_predict_together(tlstudio: Tlstudio, shapes: Path, tmp_path: Path) -> None:
    trained = tlstudio("train", shapes, *TINY, "--strategy", "linear_probe", "--folds", 2, *QUICK)
    assert trained.code == 0, trained.err
    runs = [fold["run"] for fold in trained.json["folds"]]
    assert len(runs) == 2
    values = [fold["metrics"]["validation"]["accuracy"] for fold in trained.json["folds"]]
    assert trained.json["validation"]["accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    told = tlstudio("ensemble", shapes, *runs, "--json")
    assert told.code == 0, told.err
    assert told.json["together"]["test"] == trained.json["ensemble"]["together"]["test"]
    image = next((tmp_path / "shapes" / "square").iterdir())
    predicted = tlstudio("ensemble", shapes, *runs, "--predict", image, "--json")
    assert predicted.code == 0, predicted.err
    assert sum(predicted.json["predictions"][0]["scores"].values()) == pytest.approx(1.0, abs=1e-5)
    queued = tlstudio("train", shapes, *TINY, "--folds", 3, "--queue", *QUICK)
    assert len(queued.json["runs"]) == 3


def test_every_fold_is_checked_before_the_first_is_trained_or_queued(
    tlstudio: Tlstudio, shapes: Path, tmp_path: Path
) -> None:
    assert tlstudio("import", shapes, draw_rare(tmp_path / "rare"), "--name", "rare").code == 0
    with Project.open(shapes) as project:
        folds = late_gap(project.dataset("rare"))
    asked = ("--dataset", "rare", *TINY, "--strategy", "linear_probe", "--folds", folds, *QUICK)
    for more in ((), ("--queue",)):
        told = tlstudio("train", shapes, *asked, "--shots", 1, *more)
        assert told.code == 2
        assert "Not every fold can be learned from." in told.err
        assert f" of {folds}: There are not 1 samples of each class in the train split of 'rare'" in told.err
    assert tlstudio("runs", shapes, "--json").json["runs"] == []
    queued = tlstudio("train", shapes, *asked, "--queue")
    assert len(queued.json["runs"]) == folds, "a class that a fold does not have keeps nothing from starting"
    assert "Note: No sample of 'square' is in the train split of fold " in queued.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("wise-ft", "latest", "--alpha", 1.5), "from 0 to 1; 1.5 is not"),
        (("wise-ft", "latest", "--curve", "--alpha", 0.5), "does not go with --alpha"),
        (("wise-ft", "latest"), "has no run yet"),
        (("prune", "latest"), "Give --sparsity, or --curve"),
        (("wise-ft", "latest", "--alpha", 1.0000001), "from 0 to 1; 1.0000001 is not"),
        (("prune", "latest", "--sparsity", 1), "from 0 to below 1; 1 is not"),
        (("prune", "latest", "--sparsity", 1.0000001), "from 0 to below 1; 1.0000001 is not"),
    ],
)
def test_what_cannot_be_done_is_said(
    tlstudio: Tlstudio, shapes: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    command, *rest = arguments
    result = tlstudio(str(command), shapes, *map(str, rest))
    assert result.code == 2
    assert sentence in result.err
