"""Saying a recipe again: as a command, and as the settings that are not what would be chosen anyway."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlstudio.api import Component
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import fill_in, read_value
from tlstudio.engine.recipe import Recipe, TrainingOptions
from tlstudio.plugins import Registry


def command_line(
    recipe: Recipe,
    project_folder: Path,
    *,
    revision: Revision | None = None,
    registry: Registry | None = None,
    every_fold: bool = False,
) -> str:
    """Write the command that does the same.

    Args:
        recipe: A complete recipe.
        project_folder: Its project.
        revision: The data; with it and `registry`, only what `complete` would not fill in by itself on this machine
            is spelled out. Without, everything is.
        registry: The components.
        every_fold: Whether a run is meant for each of its folds, not for its own alone.
    """
    values = recipe.model_dump(mode="json")
    said = _unlike_defaults(values, revision, registry) if revision is not None and registry is not None else values
    words = ["tlstudio", "train", str(project_folder), "--dataset", recipe.dataset.name]
    words += ["--revision", recipe.dataset.revision]
    for section in ("backbone", "head", "strategy"):
        if "name" in said[section]:
            words += [f"--{section}", said[section]["name"]]
    if recipe.dataset.shots:
        words += ["--shots", str(recipe.dataset.shots)]
    if every_fold:
        words += ["--folds", str(recipe.dataset.folds)]
    elif recipe.dataset.folds:
        words += ["-o", f"dataset.folds={recipe.dataset.folds}", "-o", f"dataset.fold={recipe.dataset.fold}"]
    if recipe.backbone.start_from:
        words += ["--start-from", recipe.backbone.start_from]
    for section in ("backbone", "head", "strategy"):
        for name, value in said[section]["options"].items():
            words += ["-o", f"{section}.{name}={_toml(value)}"]
    for method, options in said.get("methods", {}).items():
        words += ["--method", method]
        for name, value in options.items():
            words += ["-o", f"methods.{method}.{name}={_toml(value)}"]
    for name, value in said["training"].items():
        words += ["-o", f"training.{name}={_toml(value)}"]
    return shlex.join(words)


def own_settings(recipe: Recipe, revision: Revision, registry: Registry) -> dict[str, dict[str, Any]]:
    """Return the components of a recipe, and those of its options that are not what `complete` would fill in.

    Args:
        recipe: A complete recipe.
        revision: Its data.
        registry: The components.
    """
    values, said = recipe.model_dump(), _unlike_defaults(recipe.model_dump(mode="json"), revision, registry)
    parts: dict[str, dict[str, Any]] = {"training": {name: values["training"][name] for name in said["training"]}}
    for section in ("backbone", "head", "strategy"):
        options = values[section]["options"]
        own = {name: options[name] for name in said[section]["options"]}
        parts[section] = {**values[section], "options": own}
    return parts


def _unlike_defaults(values: Mapping[str, Any], revision: Revision, registry: Registry) -> dict[str, Any]:
    """Leave out of the values of a recipe what `complete` would fill in."""
    said: dict[str, Any] = {}
    start_from = values["backbone"].get("start_from", "")
    alone, _ = fill_in({"backbone": {"start_from": start_from}} if start_from else {}, revision, registry)
    for section in ("backbone", "head", "strategy"):
        said[section] = {} if values[section]["name"] == alone[section]["name"] else {"name": values[section]["name"]}
        said[section]["options"] = _set_options(section, values[section], registry)
    if start_from:
        filled_in, given = alone["backbone"]["options"], values["backbone"]["options"]
        said["backbone"]["options"] = {name: value for name, value in given.items() if filled_in.get(name) != value}
    # What is recommended depends on the parts and on the device.
    device = values["training"]["device"]
    training = {} if device == TrainingOptions().device else {"device": device}
    filled, _ = fill_in({**values, "training": training}, revision, registry)
    usual = TrainingOptions.model_validate(filled["training"]).model_dump(mode="json")
    unlike = {name: value for name, value in values["training"].items() if value != usual[name]}
    said["training"] = {**training, **unlike}
    methods = values.get("methods", {})
    said["methods"] = {name: _unlike(options, registry.method(name)) for name, options in methods.items()}
    return said


def _set_options(section: str, choice: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Options of a component that are not at their defaults."""
    look_up: Callable[[str], Component] = {
        "backbone": registry.backbone,
        "head": registry.head,
        "strategy": registry.strategy,
    }[section]
    return _unlike(choice["options"], look_up(choice["name"]))


def _unlike(options: Mapping[str, Any], component: Component) -> dict[str, Any]:
    fields = component.Options.model_fields
    return {
        name: value
        for name, value in options.items()
        if name not in fields or fields[name].is_required() or value != fields[name].default
    }


def _toml(value: Any) -> str:  # noqa: ANN401  whatever a recipe can hold
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    text = str(value)
    # A folder called 2024 or true must stay a text.
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and read_value(text) != text else text
