"""A recipe is checked whole: every mistake is told at once."""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import ProblemsError, TLStudioError
from tlstudio.engine.advise import complete, fill_in, set_values
from tlstudio.engine.execute import execute_run
from tlstudio.engine.parts import find_parts
from tlstudio.engine.preflight import preflight
from tlstudio.engine.recipe import TrainingOptions, parse_recipe, read_recipe_file
from tlstudio.engine.said_again import command_line
from tlstudio.engine.timing import Costs, estimate_seconds
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project


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


def test_a_section_that_is_no_table_is_told_and_not_left_out(shapes_project: Project, registry: Registry) -> None:
    told = []
    for values in ({"methods": ["mixup"], "training": 5}, {"methods": {"mixup": 0.3}}, {"methods": "mixup"}):
        with pytest.raises(ProblemsError) as caught:
            complete({"backbone": TINY_VISION, **values}, shapes_project.dataset("shapes"), registry)
        told.append([problem.where for problem in caught.value.problems if "must be a table" in problem.what])
    assert told == [["training", "methods"], ["methods.mixup"], ["methods"]]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"training": {"epochs": True}}, "training.epochs: 'true' is not allowed: a whole number is needed."),
        ({"training": {"learning_rate": math.nan}}, "training.learning_rate: nan is not allowed: a finite number"),
        ({"dataset": {"shots": True}}, "dataset.shots: 'true' is not allowed: a whole number is needed."),
        ({"head": {"classes": "fourth"}}, "head.classes: 'fourth' is not allowed: a list is needed."),
        ({"head": {"classes": ["a", "b", "a"]}}, "is not allowed: 'a' is there more than once."),
        ({"head": {"classes": ["a", " "]}}, "is not allowed: each class needs a name."),
        ({"methods": {"joint": {"source": ["others"]}}}, "['others'] is not allowed: names of data sets are needed"),
    ],
)
def test_a_value_of_another_kind_is_told_in_plain_words(
    shapes_project: Project, registry: Registry, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ProblemsError) as caught:
        complete({"backbone": TINY_VISION, **values}, shapes_project.dataset("shapes"), registry)
    assert sentence in str(caught.value)


def test_no_augmentation_can_be_asked_for_on_the_command_line(shapes_project: Project, registry: Registry) -> None:
    values = set_values({"backbone": TINY_VISION}, ["training.augmentation=none"])
    assert complete(values, shapes_project.dataset("shapes"), registry).training.augmentation == "none"


@pytest.mark.starter
def test_what_is_left_out_gets_what_a_knowing_person_would_choose(
    shapes_project: Project, reviews_csv: Path, registry: Registry
) -> None:
    recipe = complete({}, shapes_project.dataset("shapes"), registry)
    assert recipe.backbone.name == "tf_efficientnet_lite0"
    assert recipe.head.name == "classification"
    assert recipe.strategy.name == "linear_probe"


@pytest.mark.parametrize(
    ("head", "strategy"),
    [
        ("classification", "linear_probe"),
        ("segmentation", "full"),
        ("detection", "full"),
        ("token_classification", "full"),
    ],
)
def test_a_probe_is_recommended_only_where_features_are_kept(
    head: str, strategy: str, shapes_project: Project, registry: Registry
) -> None:
    filled, _ = fill_in({"backbone": TINY_VISION, "head": head}, shapes_project.dataset("shapes"), registry)
    assert filled["strategy"]["name"] == strategy


def test_a_written_recipe_reads_back_the_same(shapes_project: Project, registry: Registry, tmp_path: Path) -> None:
    values = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 3, "learning_rate": 2e-4}}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
    assert parse_recipe(read_recipe_file(tmp_path / "recipe.toml")) == recipe
    assert parse_recipe(read_recipe_file(tmp_path / "recipe.json")) == recipe


@pytest.mark.starter
def test_an_option_that_is_left_empty_on_purpose_stays_empty_in_a_written_recipe(
    reviews_project: Project, registry: Registry, tmp_path: Path
) -> None:
    backbone = {"name": "all-MiniLM-L6-v2", "options": {"max_length": None}}  # its default is a number
    recipe = complete({"backbone": backbone}, reviews_project.dataset("reviews"), registry)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    again = find_parts(parse_recipe(read_recipe_file(path)), registry)
    assert again.backbone_options == find_parts(recipe, registry).backbone_options
    assert again.backbone_options.model_dump()["max_length"] is None


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


def said_by(line: str) -> tuple[dict[str, Any], list[str]]:
    """Names and assignments of a command line, as `train` reads them."""
    words = shlex.split(line)
    flags = {words[i][2:]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}
    assignments = [words[i + 1] for i in range(len(words) - 1) if words[i] == "-o"]
    return {name: {"name": flags[name]} for name in ("backbone", "head", "strategy") if name in flags}, assignments


def test_the_copied_command_line_gives_the_same_recipe(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    values = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 3, "seed": 9}}
    recipe = complete(values, revision, registry)
    names, assignments = said_by(command_line(recipe, shapes_project.folder))
    assert complete(set_values(names, assignments), revision, registry) == recipe


def test_the_copied_command_line_names_methods_and_samples_per_class(
    shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    values = {
        "dataset": {"shots": 2},
        "backbone": TINY_VISION,
        "strategy": "full",
        "methods": {"l2_sp": {"alpha": 0.3, "beta": 0.01}},
    }
    recipe = complete(values, revision, registry)
    words = shlex.split(command_line(recipe, shapes_project.folder, revision=revision, registry=registry))
    assert words[words.index("--shots") + 1] == "2"
    assert words[words.index("--method") + 1] == "l2_sp"
    assert [word for word in words if word.startswith("methods.")] == ["methods.l2_sp.alpha=0.3"]


@pytest.mark.starter
def test_a_command_line_spells_out_only_what_would_not_be_filled_in(
    shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    values = {
        "backbone": {**TINY_VISION, "options": {"weights": "random", "image_size": 32, "drop_path": None}},
        "strategy": "full",
        "training": {"epochs": 3, "seed": 9, "device": "cpu", "precision": "32"},
    }
    recipe = complete(values, revision, registry)
    line = command_line(recipe, shapes_project.folder, revision=revision, registry=registry)
    names, assignments = said_by(line)
    assert names == {"backbone": {"name": "test_resnet"}, "strategy": {"name": "full"}}
    assert sorted(assignments) == [
        "backbone.image_size=32",
        "backbone.weights=random",
        "training.device=cpu",
        "training.epochs=3",
        "training.seed=9",
    ]
    again = complete(set_values(names, assignments), revision, registry)
    assert again.training == recipe.training
    usual = complete({}, revision, registry)
    line = command_line(usual, shapes_project.folder, revision=revision, registry=registry)
    assert shlex.split(line)[3:] == ["--dataset", "shapes", "--revision", "r1"]


@pytest.mark.parametrize("folder", ["2024", "true", "none", "my weights", "~/a=b", "1e5"])
def test_a_text_that_looks_like_something_else_stays_a_text_on_the_command_line(
    folder: str, shapes_project: Project, registry: Registry
) -> None:
    values = {"backbone": TINY_VISION, "strategy": "full"}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    backbone = recipe.backbone.model_copy(update={"options": {"weights": folder}})
    line = command_line(recipe.model_copy(update={"backbone": backbone}), shapes_project.folder)
    names, assignments = said_by(line)
    assert set_values(names, assignments)["backbone"]["options"] == {"weights": folder}


def test_preflight_counts_what_learns_and_says_it_in_a_sentence(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    probe = complete({"backbone": TINY_VISION, "strategy": "linear_probe"}, revision, registry)
    told = preflight(probe, revision, registry)
    width = registry.backbone("test_resnet").info().num_features
    assert told.trainable == (width + 1) * 3
    assert told.total > told.trainable
    assert told.seconds is not None
    assert f"{len(revision.indices('train'))} images" in told.sentence
    assert "Needs no network" in told.sentence
    assert told.problems == ()


def test_preflight_counts_what_learns_in_later_epochs_only(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete({"backbone": TINY_VISION, "strategy": "gradual_unfreezing"}, revision, registry)
    told = preflight(recipe, revision, registry)
    assert told.trainable == told.total


def test_preflight_knows_that_an_earlier_run_has_kept_the_features(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    revision = shapes_project.dataset("shapes")
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 1}}
    recipe = complete(values, revision, registry)
    before = preflight(recipe, revision, registry, project_folder=shapes_project.folder)
    execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    after = preflight(recipe, revision, registry, project_folder=shapes_project.folder)
    assert "computed once" in before.notes[0]
    assert "earlier run" in after.notes[0]


def test_preflight_tells_a_metric_that_the_task_does_not_have(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete({"backbone": TINY_VISION, "strategy": "linear_probe"}, revision, registry)
    wrong = recipe.model_copy(update={"training": TrainingOptions(monitor="rmse")})
    assert [problem.where for problem in preflight(wrong, revision, registry).problems] == ["training.monitor"]


def test_a_wrong_metric_and_weights_that_do_not_fit_are_told_with_all_else(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    values = {
        "backbone": {"name": "mobilenet_v3_small", "options": {"weights": str(tmp_path / "other.safetensors")}},
        "strategy": "full",
        "training": {"monitor": "rmse", "epochs": 0},
    }
    before = torch.get_rng_state()
    with pytest.raises(ProblemsError) as caught:
        complete(values, shapes_project.dataset("shapes"), registry, build=True)
    where = [problem.where for problem in caught.value.problems]
    assert sorted(where) == ["backbone.weights", "training.epochs", "training.monitor"]
    assert "do not fit this backbone" in str(caught.value)
    assert torch.equal(before, torch.get_rng_state())


SHY_BACKBONE = """
from tlstudio.api import PluginError, TLStudioError, hookimpl
from tlstudio.testing.components import TinyConvNet

TLSTUDIO_API = "1.0"


class Shy(TinyConvNet):
    name = "shy"

    def info(self):
        raise TLStudioError("shy was not made for classification.", "Choose another backbone.")


@hookimpl
def register_backbones():
    return [Shy()]
"""


def test_a_backbone_that_cannot_give_its_facts_hides_no_other_mistake(shapes_project: Project, tmp_path: Path) -> None:
    (tmp_path / "shy.py").write_text(SHY_BACKBONE, encoding="utf-8")
    manager = PluginManager(tmp_path)
    manager.discover()
    values = {"backbone": "shy", "strategy": "full", "training": {"precision": "fp16", "device": "cpu"}}
    with pytest.raises(ProblemsError) as caught:
        complete(values, shapes_project.dataset("shapes"), manager.registry)
    assert [problem.where for problem in caught.value.problems] == ["backbone.name", "training.precision"]
    assert "not made for classification" in str(caught.value)


OPTIONS = TrainingOptions(epochs=10, batch_size=10)
COSTS = Costs(read=2.0, plain=1.0, features=10.0, forward=0.1, learn=0.2, step=3.0)


def test_the_estimate_counts_reading_learning_validating_and_testing() -> None:
    costs = Costs(read=2.0, plain=1.0, features=2.0, forward=2.0, learn=5.0, step=3.0)
    seconds = estimate_seconds(costs, OPTIONS, (100, 20, 10), cached=False, kept=False)
    assert seconds == pytest.approx(10 * (100 * (2 + 5) + 10 * 3 + 20 * (1 + 2)) + 30 * (1 + 2), rel=1e-3)


def test_the_estimate_counts_what_methods_go_through_by_themselves_with_and_without_kept_features() -> None:
    for cached, each in ((False, 1.0 + 10.0), (True, 0.1)):
        costs = COSTS if cached else replace(COSTS, forward=10.0)
        without, probed = (
            estimate_seconds(replace(costs, passed=passed), OPTIONS, (100, 20, 10), cached=cached, kept=True)
            for passed in (0.0, 100.0)
        )
        assert probed - without == pytest.approx(100 * each)


def test_the_estimate_leaves_out_features_that_are_there_already() -> None:
    first = estimate_seconds(COSTS, OPTIONS, (100, 20, 10), cached=True, kept=False)
    again = estimate_seconds(COSTS, OPTIONS, (100, 20, 10), cached=True, kept=True)
    assert first - again == pytest.approx(130 * (1.0 + 10.0))


def test_the_estimate_knows_that_loader_processes_read_beside_the_computing() -> None:
    costs = Costs(read=4.0, plain=4.0, features=0.0, forward=1.0, learn=3.0, step=0.0)
    alone = estimate_seconds(costs, OPTIONS, (100, 0, 0), cached=False, kept=False)
    helped = estimate_seconds(
        costs, OPTIONS.model_copy(update={"num_workers": 2}), (100, 0, 0), cached=False, kept=False
    )
    assert alone == pytest.approx(7000, rel=1e-3)
    assert helped == pytest.approx(3000, rel=1e-3)


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


@pytest.mark.parametrize("name", ["recipe.toml", "recipe.json"])
def test_a_number_of_thousands_of_digits_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    number = "1" + "0" * 6000
    path.write_text(f"seed = {number}" if name.endswith("toml") else f'{{"seed": {number}}}')
    with pytest.raises(TLStudioError, match="is not valid"):
        read_recipe_file(path)
