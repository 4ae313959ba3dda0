"""Recipes that come with the studio: settings that together make a known task of a general head."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import resources
from typing import Any

from tlstudio.api import Backbone
from tlstudio.plugins.registry import Registry


@dataclass(frozen=True, slots=True)
class ReadyRecipe:
    """A part of a recipe, under a name.

    Attributes:
        name: What it is called on the command line.
        title: What the user reads.
        description: What it does and what to look at.
        values: As in a recipe file, without data.
    """

    name: str
    title: str
    description: str
    values: Mapping[str, Any]

    def suits(self, task: str, registry: Registry) -> bool:
        """Whether its head is for a task."""
        head = registry.heads.get(self.values["head"]["name"])
        return head is not None and head.task == task

    def with_backbone(self, backbone: Backbone | None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return its values with a backbone that was chosen before, where that one takes the options.

        Args:
            backbone: The chosen one, if any.
            options: What the user has set of it; those of the recipe go before them.
        """
        values = deepcopy(dict(self.values))
        own: dict[str, Any] = values["backbone"]
        if backbone is not None and set(own["options"]) <= set(backbone.Options.model_fields):
            own.update(name=backbone.name, options={**(options or {}), **own["options"]})
        return values


@functools.cache
def ready_recipes() -> tuple[ReadyRecipe, ...]:
    """Read them: files of TOML whose first line of remarks is the title and whose others are the description."""
    folder = resources.files("tlstudio_resources") / "recipes"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple(_read(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8")) for file in files)


def _read(name: str, text: str) -> ReadyRecipe:
    title, *description = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    return ReadyRecipe(name, title, " ".join(description), tomllib.loads(text))
