"""Which plugins a run was made with: written down when it begins, to be named when one is gone or has failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tlstudio.api import RunError
from tlstudio.engine.recipe import Recipe
from tlstudio.plugins import Registry
from tlstudio.startup import plugins_folder
from tlstudio.store.run import Run

ENVIRONMENT_NAME = "environment.json"
_WORDS = {"backbone": "backbone", "head": "task head", "strategy": "strategy", "method": "method"}


def used_plugins(recipe: Recipe, registry: Registry) -> dict[str, dict[str, str]]:
    """Say where each component of a recipe comes from, as JSON values."""
    used = {}
    for place, kind, name in _components(recipe.model_dump(), registry):
        plugin = registry.plugin_of(kind, name)
        if plugin is not None:
            used[place] = {
                "component": name,
                "plugin": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "file": plugin.file,
            }
    return used


def missing_plugins(run: Run, registry: Registry, *, trains: bool = False) -> list[str]:
    """Say in a sentence for each component of a run that no plugin brings here which one did, and how to get it.

    Args:
        run: The run.
        registry: The plugins that are loaded.
        trains: Whether the run is to go on; else methods are not needed, of which nothing stays in the model.
    """
    try:
        recipe = run.read_recipe()
    except RunError:
        return []
    used = _used_by(run)
    return [
        _sentence(_WORDS[kind], name, used.get(place, {}))
        for place, kind, name in _components(recipe, registry)
        if (trains or kind != "method") and not _is_here(kind, name, used.get(place, {}), registry)
    ]


def _components(recipe: Mapping[str, Any], registry: Registry) -> Iterator[tuple[str, str, str]]:
    """Where each component stands, its kind and its name; two joined backbones are two."""
    methods = recipe.get("methods")
    for name in methods if isinstance(methods, dict) else ():
        yield f"method {name}", "method", str(name)
    for kind in _WORDS:
        choice = recipe.get(kind)
        name = choice.get("name") if isinstance(choice, dict) else None
        if not isinstance(name, str):
            continue
        if kind == "backbone" and (joined := registry.joined_names(name)):
            yield from ((f"{side} {kind}", kind, part) for side, part in zip(("image", "text"), joined, strict=True))
        else:
            yield kind, kind, name


def plugin_to_blame(run: Run, trace: str) -> str:
    """Name the plugin whose own lines are in a traceback or in what a crash has left; the bundled ones are not named.

    Args:
        run: The run that failed.
        trace: The traceback, with file names in quotes.
    """
    for plugin in _used_by(run).values():
        file = re.escape(plugin["file"])
        if plugin["distribution"] != "tlstudio" and file and re.search(rf'File "[^"]*[\\/]{file}["\\/]', trace):
            return plugin["plugin"]
    return ""


def _used_by(run: Run) -> Mapping[str, Mapping[str, str]]:
    try:
        values: Any = run.read_json(ENVIRONMENT_NAME)
    except RunError:
        return {}
    plugins = values.get("plugins") if isinstance(values, dict) else None
    if not isinstance(plugins, dict):
        return {}
    keys = ("plugin", "distribution", "version", "file")
    return {
        kind: {key: str(plugin.get(key, "")) for key in keys}
        for kind, plugin in plugins.items()
        if isinstance(plugin, dict)
    }


def _is_here(kind: str, name: str, plugin: Mapping[str, str], registry: Registry) -> bool:
    tables: dict[str, Mapping[str, object]] = {
        "backbone": registry.backbones,
        "head": registry.heads,
        "strategy": registry.strategies,
        "method": registry.methods,
    }
    if name in tables[kind] or kind != "backbone":
        return name in tables[kind]
    if not plugin:
        return registry.plugin_of(kind, name) is not None
    # Asking a family for a member loads its library, which takes seconds.
    brought = (registry.plugin_of("family", family) for family in registry.families)
    return any(one is not None and one.name == plugin["plugin"] for one in brought)


def _sentence(word: str, name: str, plugin: Mapping[str, str]) -> str:
    if not plugin:
        return f"No plugin that is loaded here brings the {word} '{name}', and the run does not say which one did."
    what = f"The {word} '{name}' comes from the plugin '{plugin['plugin']}'"
    if plugin["distribution"]:
        package, version = plugin["distribution"], plugin["version"]
        return (
            f"{what} of the package {package} {version}, which is not loaded here. "
            f"Install its wheel (pip install {package}=={version}), or see on the Plugins page why it is left out."
        )
    return (
        f"{what}, the file {plugin['file']} of the plugin folder, which is not loaded here. "
        f"Put it back into {plugins_folder()}, or see on the Plugins page why it is left out."
    )
