"""Mistakes are told before anything is trained, and all of them at once."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from tests.engine.conftest import TINY_VISION, Heard, assert_each_told_once
from tlstudio.api import Problem, ProblemsError, RunError
from tlstudio.cli.main import cli
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.execute import execute_run
from tlstudio.engine.preflight import preflight
from tlstudio.engine.sequence_plan import plan_sequence
from tlstudio.engine.sequences import Protection
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

QUICK = {"epochs": 1, "batch_size": 4, "augmentation": "none", "device": "cpu"}


def against_sequence(
    project: Project, registry: Registry, protection: Protection = "nothing", **values: Any
) -> list[str]:
    """What is said of a sequence of shapes and other shapes, each with its place."""
    recipe = {"backbone": TINY_VISION, "strategy": "full", "training": QUICK, **values}
    revisions = [project.dataset(name) for name in ("shapes", "others")]
    try:
        plan_sequence(revisions, recipe, registry, protection=protection)
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_later_run_of_a_sequence_is_checked_whole_before_the_first_whatever_protects(
    two_projects: Project, registry: Registry
) -> None:
    (told,) = against_sequence(two_projects, registry, dataset={"shots": 7})
    assert "There are not 7 samples of each class in the train split of 'others'" in told
    coral = {"coral": {"target": "others"}}
    for protection in ("nothing", "replay"):
        (told,) = against_sequence(two_projects, registry, protection, methods=coral)
        assert told.startswith("methods.coral.target: 'others' is what the run itself learns from.")
    (told,) = against_sequence(two_projects, registry, "replay", strategy="nearest_mean")
    assert told.startswith("strategy: Nothing learns in Nearest mean, so that nothing can come of replay.")
    vit = {"name": "test_vit", "options": {"weights": "random", "image_size": 32}}
    (told,) = against_sequence(two_projects, registry, backbone=vit, strategy="vpt")
    assert told.startswith("strategy.name: Visual prompts (VPT) cannot be taken out of the backbone")
    assert against_sequence(two_projects, registry, "replay") == []


def test_what_is_wrong_with_the_first_run_of_a_sequence_hides_nothing_of_the_later_ones(
    two_projects: Project, registry: Registry
) -> None:
    values: dict[str, Any] = {"dataset": {"shots": 99}, "training": {**QUICK, "epochs": 0}}
    methods = {"coral": {"target": "others"}, "replay": {"kept": -1}, "nothing": {}}
    told = against_sequence(two_projects, registry, "replay", methods=methods, **values)
    assert_each_told_once(
        told,
        "train split of 'shapes'",
        "train split of 'others'",
        "training.epochs: 0 is",
        "methods.coral.target: 'others' is what the run itself learns from",
        "methods.replay.kept: -1 is",
        "methods.nothing: ",
    )
    assert len(told) == 6, told
    told = against_sequence(two_projects, registry, backbone="test_resnet19", dataset={"shots": 7})
    assert [one.partition(":")[0] for one in told] == ["backbone.name", "dataset.shots"]


def values(**more: Any) -> dict[str, Any]:
    """A recipe of one step."""
    training = {**QUICK, "batch_size": 6}
    return {"dataset": {"shots": 2}, "backbone": TINY_VISION, "strategy": "full", "training": training, **more}


def problems_of(project: Project, registry: Registry, *, build: bool = False, **more: Any) -> list[Problem]:
    """What is wrong with a recipe."""
    try:
        complete(values(**more), project.dataset("shapes"), registry, build=build)
    except ProblemsError as error:
        return list(error.problems)
    return []


def trained(project: Project, registry: Registry, dataset: str) -> Run:
    """A run of one step."""
    heard = Heard()
    recipe = complete(values(), project.dataset(dataset), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert run.status == "done"
    return run


def test_a_damaged_model_of_an_earlier_run_is_told_before_the_run_and_a_lost_one_as_what_it_is(
    shapes_project: Project, registry: Registry
) -> None:
    run = trained(shapes_project, registry, "shapes")
    best = run.folder / "checkpoints" / "best"
    taught = {"methods": {"distillation": {"teacher": run.id}}}
    recipe = complete(values(**taught), shapes_project.dataset("shapes"), registry, build=True)
    path = best / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-50] ^= 255
    path.write_bytes(content)

    (told,) = problems_of(shapes_project, registry, build=True, **taught)
    assert (told.where, told.remedy) == (
        "methods.distillation.teacher",
        "Choose another run, or train that one again.",
    )
    assert told.what.endswith("is damaged: its hash is not the recorded one.")
    assert preflight(recipe, shapes_project.dataset("shapes"), registry).problems == (told,)
    (again,) = problems_of(shapes_project, registry, build=True, backbone={"start_from": run.id})
    assert (again.where, again.what) == ("backbone.start_from", told.what)
    assert again.remedy == "Start from another one, or make this one anew."

    (best / "manifest.json").unlink()
    with pytest.raises(RunError) as caught:
        load_run_model(run, registry)
    assert str(caught.value) == (
        f"Run {run.id} is done, but its model cannot be used any more: {best / 'manifest.json'} is missing. Put "
        f"checkpoints/best back from a copy, or train it again: tlstudio train PROJECT --recipe {run.recipe_path}."
    )


def test_an_unknown_backbone_or_head_hides_nothing_that_does_not_hang_on_it(
    two_projects: Project, registry: Registry
) -> None:
    methods = {"mixup": {}, "cutmix": {}, "dann": {"target": "gone"}, "ewc": {"run": "gone", "dataset": "others"}}
    unknown: tuple[dict[str, Any], ...] = ({"backbone": "resnet19"}, {"head": "clasification"})
    for wrong in unknown:
        told = [str(problem) for problem in problems_of(two_projects, registry, methods=methods, **wrong)]
        places = [f"{name}.name" for name in wrong]
        places += ["methods.cutmix", "methods.dann.target", "methods.ewc.run"]
        assert [one.partition(":")[0] for one in told] == places
        assert "exclude each other" in told[1]
    told = [str(problem) for problem in problems_of(two_projects, registry, backbone="resnet19", head="regression")]
    assert told[1] == "recipe: Regression solves regression, the data set is for classification."
    fixmatch = {"fixmatch": {"dataset": "others"}}  # its 18 samples are enough for some batch
    assert len(problems_of(two_projects, registry, backbone="resnet19", methods=fixmatch, training={})) == 1


def test_names_that_are_not_there_hide_nothing_of_the_others(two_projects: Project, registry: Registry) -> None:
    first, second = (trained(two_projects, registry, name) for name in ("shapes", "others"))
    folder = str(two_projects.folder)
    two_projects.close()

    def told(*words: str) -> list[str]:
        done = CliRunner().invoke(cli, list(words))
        assert isinstance(done.exception, ProblemsError), done.output
        return [str(problem) for problem in done.exception.problems]

    for command in ("soup", "ensemble"):
        nope, nix, other = told(command, folder, first.id, "nope", second.id, "nix")
        assert nope.startswith("There is no run 'nope'")
        assert nix.startswith("There is no run 'nix'")
        assert other.startswith(f"{second.id}: It has another data set than run {first.id}")
    options = [f"backbone.{name}={value}" for name, value in TINY_VISION["options"].items()]
    options += ["dataset.shots=7", "training.augmentation=none"]
    words = [word for option in options for word in ("-o", option)]
    sequence = ["continual", folder, "shapes", "nope", "others", "--backbone", TINY_VISION["name"], *words]
    gone, few = told(*sequence)
    assert gone.startswith("datasets: There is no data set 'nope'")
    assert "There are not 7 samples of each class in the train split of 'others'" in few
    (gone,) = told("continual", folder, "shapes", "nope", "--backbone", TINY_VISION["name"], *words)
