"""A recipe is checked whole: every mistake is told at once."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlstudio.api import ProblemsError, TLStudioError
from tlstudio.engine.advise import command_line, complete, preflight, set_values
from tlstudio.engine.recipe import TrainingOptions, parse_recipe, read_recipe_file
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

from tests.engine.conftest import TINY_VISION


def test_five_mistakes_are_told_at_once(shapes_project: Project, registry: Registry) -> None:
    values = {
        "backbone": {"name": "resnet19"},
        "head": {"name": "classification", "options": {"dropout": 7}},
        "strategy": {"name": "lorra"},
        "training": {"epochs": 0, "optimiser": "adam"},
    }
    with pytest.raises(ProblemsError) as caught:
        complete(values, shapes_project.dataset("shapes"), registry)
    where = {problem.where for problem in caught.value.problems}
    assert where == {"backbone.name", "head.dropout", "strategy.name", "training.epochs", "training.optimiser"}
    assert "5 mistakes" in str(caught.value)
    assert "resnet18" in str(caught.value)


@pytest.mark.starter
def test_what_is_left_out_gets_what_a_knowing_person_would_choose(
    shapes_project: Project, reviews_csv: Path, registry: Registry
) -> None:
    recipe = complete({}, shapes_project.dataset("shapes"), registry)
    assert recipe.backbone.name == "tf_efficientnet_lite0"
    assert recipe.head.name == "classification"
    assert recipe.strategy.name == "linear_probe"


def test_a_written_recipe_reads_back_the_same(shapes_project: Project, registry: Registry, tmp_path: Path) -> None:
    values = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 3, "learning_rate": 2e-4}}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    assert parse_recipe(read_recipe_file(tmp_path / "recipe.toml")) == recipe
    assert parse_recipe(read_recipe_file(tmp_path / "recipe.json")) == recipe


def test_a_recipe_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[training]\nepochs = = 3\n", encoding="utf-8")
    with pytest.raises(TLStudioError, match="line 2"):
        read_recipe_file(path)


@pytest.mark.parametrize(
    ("assignment", "section", "name", "value"),
    [
        ("training.epochs=5", "training", "epochs", 5),
        ("training.learning_rate=1e-4", "training", "learning_rate", 1e-4),
        ("training.deterministic=true", "training", "deterministic", True),
        ("training.optimizer=sgd", "training", "optimizer", "sgd"),
        ("backbone.weights=/data/my weights.pth", "backbone", "weights", "/data/my weights.pth"),
        ("strategy.rank=8", "strategy", "rank", 8),
    ],
)
def test_assignments_set_one_value(assignment: str, section: str, name: str, value: object) -> None:
    values = set_values({}, [assignment])[section]
    assert (values if section == "training" else values["options"]) == {name: value}


def test_assignments_that_are_none_are_all_told() -> None:
    with pytest.raises(ProblemsError) as caught:
        set_values({}, ["epochs=5", "training.epochs", "rocket.fuel=1"])
    assert len(caught.value.problems) == 3


def test_the_copied_command_line_gives_the_same_recipe(shapes_project: Project, registry: Registry) -> None:
    import shlex

    revision = shapes_project.dataset("shapes")
    values = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 3, "seed": 9}}
    recipe = complete(values, revision, registry)
    words = shlex.split(command_line(recipe, shapes_project.folder))
    flags = {words[i][2:]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}
    assignments = [words[i + 1] for i in range(len(words) - 1) if words[i] == "-o"]
    again = {name: {"name": flags[name]} for name in ("backbone", "head", "strategy")}
    assert complete(set_values(again, assignments), revision, registry) == recipe


def test_preflight_counts_what_learns_and_says_it_in_a_sentence(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    probe = complete({"backbone": TINY_VISION, "strategy": "linear_probe"}, revision, registry)
    told = preflight(probe, revision, registry)
    width = registry.backbone("mobilenet_v3_small").info().num_features
    assert told.trainable == (width + 1) * 3
    assert told.total > told.trainable
    assert told.seconds is not None
    assert f"{len(revision.indices('train'))} images" in told.sentence
    assert "Needs no network" in told.sentence
    assert told.problems == ()


def test_preflight_lists_what_is_missing(shapes_project: Project, registry: Registry, tmp_path: Path) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete({"backbone": TINY_VISION, "strategy": "full"}, revision, registry)
    missing = recipe.backbone.model_copy(update={"options": {"weights": str(tmp_path / "no.pth")}})
    told = preflight(recipe.model_copy(update={"backbone": missing}), revision, registry)
    assert [problem.where for problem in told.problems] == ["backbone.weights"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["format", "dataset", "backbone", "head", "strategy", "training", "other"]), json_values
    )
)
def test_no_value_crashes_the_check_of_a_recipe(values: dict[str, Any]) -> None:
    try:
        recipe = parse_recipe(values)
    except ProblemsError:
        return
    assert tomllib.loads(recipe.to_toml())["training"]["epochs"] == recipe.training.epochs


def test_every_training_option_has_a_title_and_a_help() -> None:
    schema = json.loads(json.dumps(TrainingOptions.model_json_schema()))["properties"]
    assert all(field["title"] and field["description"] for field in schema.values())
