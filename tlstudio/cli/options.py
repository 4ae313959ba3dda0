"""``options``: what there is to choose from by name, and the options of each."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry
from tlstudio.cli.output import Output, StatusLine

if TYPE_CHECKING:
    from tlstudio.api import Component, OptionField
    from tlstudio.plugins import Registry
    from tlstudio.plugins.ready_recipes import ReadyRecipe

KINDS = {
    "format": "Formats of data",
    "backbone": "Backbones",
    "head": "Task heads",
    "strategy": "Strategies",
    "methods": "Methods beside a strategy",
}
"""What has options, by the section that they are given in."""
OF_RUNS = ("training", "dataset")
"""Sections with options of their own."""
_TYPES = {"bool": "true or false", "int": "a whole number", "float": "a number", "text": "a text"}
_CHOSEN = {
    "file": "a file",
    "folder": "a folder",
    "any": "a file or folder",
    "dataset": "a data set",
    "datasets": "data sets with commas between them",
    "run": "the id of a run, latest or best",
}
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@command(
    "options",
    example="tlstudio options\ntlstudio options methods\ntlstudio options lora\ntlstudio options training --json",
)
@click.argument("name", metavar="[NAME]", default="")
def options(output: Output, *, name: str) -> None:
    """List formats, backbones, heads, strategies, methods and recipes, or the options of one.

    NAME is one of them, or a section of a recipe: format, backbone, head, strategy, methods, training or dataset. Of
    another word (dora, ulmfit), those are shown that speak of it.
    """
    with StatusLine() as status:
        status.update("Reading the catalogue ...", "")
        registry = find_registry(output)
        if name.startswith("methods."):  # as recipes name it
            name = name.split(".")[1]
        found = _found(registry, name) if name and name not in KINDS else []
    if found and all(one["name"] != name for one in found):
        output.say(f"Nothing has '{name}' as its name; it is a word of:\n")
    if not found:
        _list(output, registry, name)
        return
    for one in found:
        _show(output, one)
    output.result({"found": found})


def _components(registry: Registry) -> Mapping[str, Mapping[str, Component]]:
    tables = (registry.formats, registry.backbones, registry.heads, registry.strategies, registry.methods)
    return dict(zip(KINDS, tables, strict=True))


def _list(output: Output, registry: Registry, only: str) -> None:
    """List all names with their titles, or those of one kind."""
    from tlstudio.plugins.ready_recipes import ready_recipes

    named: dict[str, Iterable[Component | ReadyRecipe]] = {
        section: table.values() for section, table in _components(registry).items() if only in ("", section)
    }
    if not only:
        named["recipe"] = ready_recipes()
    listed = [
        {"section": section, "name": one.name, "title": one.title, "description": one.description}
        for section, found in named.items()
        for one in found
    ]
    for section, title in {**KINDS, "recipe": "Recipes"}.items():
        if titles := [(f"  {one['name']}", one["title"]) for one in listed if one["section"] == section]:
            output.say(title, bold=True)
            output.facts(titles)
            output.say()
    if only in ("", "backbone"):
        output.hint("Many more backbones by name: tlstudio backbones --search TEXT")
    output.hint(f"Options of one: tlstudio options NAME; of every run: tlstudio options {' or '.join(OF_RUNS)}")
    output.result({"catalogue": listed})


def _found(registry: Registry, name: str) -> list[dict[str, Any]]:
    """All that is called so, of whatever kind, with its options; where nothing is, all that speaks of it.

    Raises:
        PluginError: Neither is there one nor does any speak of it; the sentence names near ones.
    """
    from tlstudio.api import PluginError
    from tlstudio.api.wording import did_you_mean
    from tlstudio.engine.recipe import DatasetChoice, TrainingOptions
    from tlstudio.plugins.ready_recipes import ready_recipes

    of_runs = dict(zip(OF_RUNS, (TrainingOptions, DatasetChoice), strict=True))
    if name in of_runs:
        return [{"section": name, "name": name, "options": _options(name, of_runs[name])}]
    recipes = {one.name: one for one in ready_recipes()}
    if recipe := recipes.get(name):
        facts = {"section": "recipe", "name": name, "title": recipe.title, "description": recipe.description}
        return [{**facts, "values": recipe.values, "options": []}]
    tables = _components(registry)
    found = [_facts(section, table[name]) for section, table in tables.items() if name in table]
    if found:
        return found
    try:
        return [_facts("backbone", registry.backbone(name))]  # of a family, whose library is asked only now
    except PluginError:
        spoken = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        told = [(section, one) for section, table in tables.items() for one in table.values()]
        if found := [_facts(*each) for each in told if spoken.search(f"{each[1].title} {each[1].description}")]:
            return found
        known = [*KINDS, *of_runs, *recipes, *(one for table in tables.values() for one in table)]
        remedy = did_you_mean(name, known, "")
        what = f"Nothing that can be chosen is called '{name}'."
        raise PluginError(what, remedy if "?" in remedy else "tlstudio options lists all names.") from None


def _facts(section: str, one: Component) -> dict[str, Any]:
    from tlstudio.api import Backbone

    facts = {"section": section, "name": one.name, "title": one.title, "description": one.description}
    facts["source"] = one.info().source if isinstance(one, Backbone) else one.source
    place = f"{section}.{one.name}" if section == "methods" else section
    return {**facts, "options": _options(place, one.Options)}


def _options(place: str, model: type[Any]) -> list[dict[str, Any]]:
    from tlstudio.api import describe

    return [
        {
            "option": f"{place}.{field.name}",
            "title": field.title,
            "help": field.help,
            "type": field.kind,
            "allowed": _allowed(field),
            "choices": field.choices,
            **field.limits,
            "default": field.default,
            "required": field.required,
        }
        for field in describe(model)
        if field.help
    ]


def _allowed(field: OptionField) -> str:
    """Say in words which values are allowed."""
    kind = ", ".join(field.choices[:-1]) + f" or {field.choices[-1]}" if len(field.choices) > 1 else ""
    kind = kind or _CHOSEN.get(field.browse) or _TYPES.get(field.kind, "a text")
    limits = [f"{_LIMITS[name]} {_number(bound)}" for name, bound in field.limits.items()]
    empty = ["or none"] if field.nullable and "none" not in field.choices else []
    return ", ".join([kind, *limits, *empty])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _show(output: Output, one: Mapping[str, Any]) -> None:
    """Print what a component is and how each of its options is given."""
    if "title" in one:
        flag = "method" if one["section"] == "methods" else one["section"]
        output.say(f"{one['name']}: {one['title']} (--{flag} {one['name']})", bold=True)
        _paragraph(output, one["description"])
        if one.get("source"):
            _paragraph(output, f"Source: {one['source']}")
        output.say()
    if "values" in one:
        import tomli_w

        output.say(tomli_w.dumps(one["values"]).rstrip())
        output.hint(f"\nNext: tlstudio train PROJECT --dataset NAME --recipe {one['name']}")
    elif not one["options"]:
        output.say("It has no options.")
    for option in one["options"]:
        default = "required" if option["required"] else f"{_value(option['default'])} if left out"
        if one.get("section") == "format":
            default += " and the data suggest nothing else"
        output.say(f"-o {option['option']}=VALUE", bold=True)
        _paragraph(output, f"{option['allowed']}; {default}", indent=4)
        _paragraph(output, f"{option['title']}: {option['help']}", indent=4)
        output.say()
    if one["name"] == "training":
        output.hint("Strategies and task heads recommend other values: tlstudio train --dry-run prints those of a run.")


def _value(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return _number(default)
    return "nothing" if default in (None, "") else str(default)


def _paragraph(output: Output, text: str, *, indent: int = 0) -> None:
    room = max(40, min(120, shutil.get_terminal_size((100, 24)).columns) - indent)
    for line in _wrapped(text, room):
        output.say(" " * indent + line)


def _wrapped(text: str, room: int) -> Iterable[str]:
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
