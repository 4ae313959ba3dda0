"""Data sets learned one after another: the classes, the matrix, what is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION
from tlstudio.api import DataError
from tlstudio.cli.main import cli
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.continual import SequenceResult, classes_of, read_sequence
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


def test_data_sets_that_do_not_go_together_are_refused(seasons: Project) -> None:
    shapes = seasons.dataset("shapes")
    with pytest.raises(DataError, match="two data sets or more"):
        classes_of([shapes])
    assert classes_of([shapes, seasons.dataset("negative")]) == list(shapes.classes)
