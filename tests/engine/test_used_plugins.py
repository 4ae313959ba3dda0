"""A run names the plugin that made it fail, and the one that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import RunError
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.recipe import parse_recipe
from tlstudio.engine.used_plugins import missing_plugins, used_plugins
from tlstudio.plugins import PluginManager, Registry
from tlstudio.selftest.plugin_sources import BAD_PLUGINS
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def failed_run(project: Project, folder: Path, heard: Heard) -> Run:
    """Train with a plugin of the user's folder that raises while gradients are computed."""
    next(bad for bad in BAD_PLUGINS if bad.name == "raises_in_backward").write(folder)
    manager = PluginManager(folder)
    manager.discover()
    recipe = complete(
        {"backbone": TINY_VISION, "strategy": "raises_in_backward", "training": {"epochs": 1, "device": "cpu"}},
        project.dataset("shapes"),
        manager.registry,
    )
    return execute_run(recipe, project, manager.registry, on_event=heard, control=heard.control)


def test_a_plugin_that_fails_in_training_is_named_and_so_is_one_that_is_gone(
    shapes_project: Project, registry: Registry, tmp_path: Path, heard: Heard
) -> None:
    run = failed_run(shapes_project, tmp_path, heard)
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.error == (
        "Something went wrong inside the plugin 'raises_in_backward': RuntimeError: boom in backward"
    )
    assert run.read_json("environment.json")["plugins"]["head"] == {
        "component": "classification",
        "plugin": "heads",
        "distribution": "tlstudio",
        "version": "0.1.0",
        "file": "tlstudio_heads",
    }
    sentences = missing_plugins(run, registry)
    assert len(sentences) == 1
    assert "the file raises_in_backward.py of the plugin folder, which is not loaded here" in sentences[0]
    with pytest.raises(RunError, match=r"cannot be built.*the file raises_in_backward\.py of the plugin folder"):
        load_run_model(run, registry)
    with pytest.raises(RunError, match=r"cannot go on.*the file raises_in_backward\.py of the plugin folder"):
        resume_run(run.id, shapes_project, registry, on_event=heard, control=heard.control)
    assert run.status == "failed"
    assert run.summary().error == ended.error


def test_of_two_joined_backbones_the_plugin_of_each_is_known(project: Project, registry: Registry) -> None:
    name = "test_resnet+birds_and_words"
    run = project.new_run(
        f'[backbone]\nname = "{name}"\n[head]\nname = "classification"\n[strategy]\nname = "full"\n',
        dataset="birds",
        revision="r1",
        backbone=name,
        head="classification",
        strategy="full",
    )
    names = {"backbone": "test_resnet+auto_model", "head": "classification", "strategy": "full"}
    made = {"dataset": {"name": "birds", "revision": "r1"}, **{kind: {"name": one} for kind, one in names.items()}}
    used = used_plugins(parse_recipe(made), registry)
    assert {place: one["plugin"] for place, one in used.items()} == {
        "image backbone": "vision",
        "text backbone": "text",
        "head": "heads",
        "strategy": "strategies",
    }
    gone = {"plugin": "nests", "distribution": "tlstudio-birds", "version": "1.2", "file": "birds"}
    run.write_json("environment.json", {"plugins": {**used, "text backbone": gone}})
    (sentence,) = missing_plugins(run, registry)
    assert sentence.startswith("The backbone 'birds_and_words' comes from the plugin 'nests' of the package")


def test_of_a_plugin_from_a_wheel_the_wheel_and_its_version_are_named(project: Project, registry: Registry) -> None:
    run = project.new_run(
        '[backbone]\nname = "nest"\n[head]\nname = "classification"\n[strategy]\nname = "hatch"\n',
        dataset="birds",
        revision="r1",
        backbone="nest",
        head="classification",
        strategy="hatch",
    )
    used = {"plugin": "nests", "distribution": "tlstudio-birds", "version": "1.2", "file": "birds"}
    run.write_json("environment.json", {"plugins": {"backbone": used}})
    backbone, strategy = missing_plugins(run, registry)
    assert "The backbone 'nest' comes from the plugin 'nests' of the package tlstudio-birds 1.2" in backbone
    assert "pip install tlstudio-birds==1.2" in backbone
    assert strategy.startswith("No plugin that is loaded here brings the strategy 'hatch'")
