"""What is wrong with a recipe is told before a run is made of it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.cli.conftest import Tlstudio
from tlstudio.store.project import Project


def test_a_recipe_that_would_fail_in_the_run_leaves_no_run(
    tlstudio: Tlstudio, shapes_project: Project, tmp_path: Path
) -> None:
    shapes_project.close()
    weights = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(1)}, weights)
    words = ["--backbone", "mobilenet_v3_small", "--strategy", "full"]
    options = [f"backbone.weights={weights}", "training.monitor=rmse"]
    result = tlstudio("train", shapes_project.folder, *words, *(word for each in options for word in ("-o", each)))
    assert result.code == 2
    assert "The recipe has 2 mistakes" in result.err
    assert "do not fit this backbone" in result.err
    assert "There is no metric 'rmse'" in result.err
    with Project.open(shapes_project.folder, write=False) as project:
        assert project.runs() == []


def test_an_option_of_the_training_that_is_taken_for_one_of_the_command_is_shown_its_place(
    tlstudio: Tlstudio, tmp_path: Path
) -> None:
    result = tlstudio("train", tmp_path, "--batch-size", "8")
    assert result.code == 2
    assert "it is given as -o training.batch_size=VALUE" in result.err


def test_an_option_that_is_missing_is_told_as_it_is_given(tlstudio: Tlstudio, shapes_project: Project) -> None:
    shapes_project.close()
    words = ["--backbone", "mobilenet_v3_small", "-o", "backbone.weights=random", "--strategy", "full"]
    refused = tlstudio("train", shapes_project.folder, *words, "--method", "coral")
    assert refused.code == 2
    assert "An option is given as -o methods.coral.target=VALUE" in refused.err
    wrong = tlstudio("train", shapes_project.folder, *words, "-o", "training.epochs=x")
    assert "An option is given as" not in wrong.err
