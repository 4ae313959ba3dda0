"""What is wrong with a recipe is told before a run is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.cli.conftest import TINY, Tlstudio
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


def test_an_option_of_another_strategy_is_told_whose_it_is(tlstudio: Tlstudio, shapes_project: Project) -> None:
    shapes_project.close()
    refused = tlstudio("train", shapes_project.folder, *TINY, "--strategy", "linear_probe", "-o", "strategy.rank=4")
    assert refused.code == 2
    assert "strategy.rank: linear_probe has no such option. It is one of " in refused.err
    assert "lora" in refused.err


def test_an_option_that_names_a_run_takes_the_latest_and_the_best(tlstudio: Tlstudio, shapes_project: Project) -> None:
    names: dict[str, Any] = {"backbone": "test_resnet", "head": "classification", "strategy": "full"}
    recipe = '[dataset]\nname = "shapes"\nrevision = "r1"\n'
    recipe += "".join(f'[{section}]\nname = "{name}"\n' for section, name in names.items())
    made = shapes_project.new_run(recipe, dataset="shapes", revision="r1", **names)
    made.finish("done", {"validation": {"loss": 1.0}})
    shapes_project.close()
    words = ["--method", "distillation", "--strategy", "full", *TINY, "--dry-run"]
    for name in ("latest", "best", "best:shapes"):
        told = tlstudio("train", shapes_project.folder, *words, "-o", f"methods.distillation.teacher={name}")
        assert "There is no run" not in told.err
        assert made.id in told.err  # the run is found, and has no model that could teach
    wrong = tlstudio("train", shapes_project.folder, *words, "-o", "methods.distillation.teacher=other")
    assert "There is no run 'other' in this project." in wrong.err


def test_beside_a_method_the_batch_is_no_larger_than_the_samples_that_are_learned_from(
    tlstudio: Tlstudio, shapes_project: Project
) -> None:
    shapes_project.close()
    words = [*TINY, "--strategy", "full", "--shots", "1", "--method", "ema", "--dry-run", "--json"]
    values = tlstudio("train", shapes_project.folder, *words).json["recipe"]
    assert values["training"]["batch_size"] == 3
