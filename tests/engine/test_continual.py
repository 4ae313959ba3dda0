"""Data sets learned one after another: the classes, the matrix, what is forgotten."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import ProblemsError, RunError
from tlstudio.cli.main import cli
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.continual import go_on_in_sequence, learn_in_sequence
from tlstudio.engine.events import EpochEnded
from tlstudio.engine.sequence_plan import plan_sequence
from tlstudio.engine.sequences import SequenceResult, is_to_go_on, read_begun, read_sequence, unfinished_sequence
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def test_forgetting_is_the_best_that_was_reached_minus_what_is_left() -> None:
    matrix = ((0.9, 0.2, 0.1), (0.6, 0.8, 0.3), (0.7, 0.5, 0.9))
    result = SequenceResult("nothing", "accuracy", "max", ("a", "b", "c"), ("1", "2", "3"), matrix)
    assert result.average == pytest.approx((0.7 + 0.5 + 0.9) / 3)
    assert result.forgetting == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)
    errors = tuple(tuple(1 - value for value in row) for row in matrix)
    turned = SequenceResult("nothing", "mae", "min", ("a", "b", "c"), ("1", "2", "3"), errors)
    assert turned.forgetting == pytest.approx(result.forgetting)
    untested = SequenceResult("nothing", "mae", "min", ("a", "b"), ("1", "2"), ((None, None), (None, None)))
    assert math.isnan(untested.average)
    assert untested.forgetting == 0


@pytest.fixture
def seasons(shapes_project: Project, registry: Registry, tmp_path: Path) -> Project:
    """Shapes, and the same in negative."""
    folder = draw_folder(tmp_path / "negative", 16, seed=3)
    for path in folder.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path).convert("RGB"))).save(path)
    request, _ = plan_import(registry.formats.values(), folder, name="negative", task="classification")
    import_dataset(request, shapes_project.datasets_folder)
    return shapes_project


def test_a_sequence_is_learned_from_the_command_line_and_its_matrix_is_kept(seasons: Project) -> None:
    seasons.close()
    options = ["training.epochs=2", "training.batch_size=8", "training.augmentation=none", "training.device=cpu"]
    options += [f"backbone.{name}={value}" for name, value in TINY_VISION["options"].items()]
    arguments = [part for option in options for part in ("-o", option)]
    command = ["continual", str(seasons.folder), "shapes", "negative", "--backbone", TINY_VISION["name"], *arguments]
    done = CliRunner().invoke(cli, [*command, "--protect", "replay", "-o", "methods.replay.kept=6", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["datasets"] == ["shapes@r1", "negative@r1"]
    assert np.asarray(told["matrix"]).shape == (2, 2)
    with Project.open(seasons.folder) as again:
        first, second = (again.run(run_id) for run_id in told["runs"])
        assert second.read_recipe()["methods"]["replay"] == {"datasets": "shapes@r1", "kept": 6}
        assert second.read_recipe()["backbone"]["start_from"] == first.id
        assert second.read_recipe()["head"]["take_over"] is True
        found = read_sequence(second)
        assert found is not None
        assert found.forgetting == pytest.approx(told["forgetting"])
        assert found.matrix[1][1] == pytest.approx(second.metrics()["test"]["accuracy"])
        assert read_sequence(first) is None


QUICK = {"epochs": 2, "batch_size": 8, "augmentation": "none", "device": "cpu"}
RECIPE = {"backbone": TINY_VISION, "strategy": "full", "training": QUICK}


def test_a_sequence_that_was_cancelled_goes_on_where_it_was(
    seasons: Project, registry: Registry, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions = [seasons.dataset(name) for name in ("shapes", "negative")]
    recipe = {**RECIPE, "methods": {"lwf": {"strength": 0.5}}}
    plan = plan_sequence(revisions, recipe, registry, protection="lwf")

    def cancel_the_second(event: object) -> None:
        heard(event)  # type: ignore[arg-type]  # it is told events alone
        if isinstance(event, EpochEnded) and len(heard.of(EpochEnded)) == 3:
            heard.control.cancel()

    with pytest.raises(RunError, match="cancelled"):
        learn_in_sequence(seasons, registry, plan, on_event=cancel_the_second, control=heard.control)
    last, first = (seasons.run(row.id) for row in seasons.runs())
    found = unfinished_sequence(seasons)
    assert found is not None
    assert found.id == last.id
    assert is_to_go_on(last)
    begun = read_begun(last)
    assert begun is not None
    assert (begun.result.runs, len(begun.result.matrix)) == ((first.id, last.id), 1)
    again = Heard()
    result = go_on_in_sequence(last.id, seasons, registry, on_event=again, control=again.control)
    assert result.runs == (first.id, last.id), "no run was made anew"
    assert len(again.of(EpochEnded)) == 2
    assert last.read_recipe()["methods"]["lwf"] == {"teacher": first.id, "strength": 0.5}
    assert read_sequence(last) == result
    assert unfinished_sequence(seasons) is None
    with pytest.raises(RunError, match="not the last one"):
        go_on_in_sequence(last.id, seasons, registry, on_event=again, control=again.control)


def test_after_a_stop_the_next_data_set_waits_until_the_sequence_goes_on(
    seasons: Project, registry: Registry, heard: Heard
) -> None:
    plan = plan_sequence([seasons.dataset(name) for name in ("shapes", "negative")], RECIPE, registry)

    def stop(event: object) -> None:
        if isinstance(event, EpochEnded):
            heard.control.stop()

    result = learn_in_sequence(seasons, registry, plan, on_event=stop, control=heard.control)
    assert (len(result.runs), len(result.matrix), result.complete) == (1, 1, False)
    only = unfinished_sequence(seasons)
    assert only is not None
    assert read_sequence(only) is None
    seasons.close()
    words = ["continual", str(seasons.folder), "--go-on", "latest", "--json"]
    other = CliRunner().invoke(cli, [*words, "--protect", "lwf", "-o", "training.epochs=1"])
    assert other.exit_code == 2
    assert "leave --protect, -o out" in other.output
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["runs"][0] == only.id
    assert len(json.loads(done.stdout)["matrix"]) == 2


def test_all_that_is_wrong_with_a_sequence_is_told_at_once(seasons: Project, registry: Registry) -> None:
    shapes, negative = seasons.dataset("shapes"), seasons.dataset("negative")

    def told(*revisions: object, **values: object) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            plan_sequence(revisions, {**RECIPE, **values}, registry, protection="replay")  # type: ignore[arg-type]
        return [str(problem) for problem in caught.value.problems]

    assert told(shapes) == [
        "datasets: A sequence needs two data sets or more. Name them in the order in which they are learned."
    ]
    (twice,) = told(shapes, negative, shapes)
    assert "shapes: it is named twice" in twice
    options = {"training": {**QUICK, "epochs": 0}, "methods": {"replay": {"kept": -1}}}
    found = " ".join(told(shapes, shapes, **options))
    assert "named twice" in found
    assert "training.epochs" in found
    assert seasons.runs() == []
    plan = plan_sequence([shapes, negative], RECIPE, registry, protection="replay")
    assert plan.classes == list(shapes.classes)


def test_a_data_set_that_is_named_twice_is_refused_on_the_command_line(seasons: Project) -> None:
    seasons.close()
    command = ["continual", str(seasons.folder), "shapes", "shapes", "--backbone", "test_resnet"]
    done = CliRunner().invoke(cli, command)
    assert "shapes: it is named twice" in str(done.exception)
    assert not list((seasons.folder / "runs").glob("*/run.json"))
    assert CliRunner().invoke(cli, ["continual", str(seasons.folder)]).exit_code == 2
