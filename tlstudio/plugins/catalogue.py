"""What the studio can do, as its plugins say it: tables for the README, the help and the command line.

Nothing heavy is loaded for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tlstudio.api import MODALITIES, TASKS, Component, Modality, TaskHead
from tlstudio.plugins.ready_recipes import ready_recipes
from tlstudio.plugins.registry import Registry

METHOD_KINDS: Sequence[str] = ("regularisation", "data", "two domains", "few labels", "without labels")
"""The order in which methods are listed."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the catalogue.

    Attributes:
        title: What it lists.
        headers: One for each column.
        rows: Cells.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def catalogue(registry: Registry) -> tuple[Table, ...]:
    """List tasks, backbones, formats of data, heads, strategies, methods and ready recipes."""
    return (
        Table("Tasks", ("data", "task", "what it does", "heads", "formats"), tuple(_tasks(registry))),
        Table("Backbones", ("name", "takes", "what it is"), tuple(_backbones(registry))),
        Table("Formats of data", ("name", "gives", "what it reads"), tuple(_formats(registry))),
        Table("Task heads", ("name", "task", "what it does", "source"), tuple(_heads(registry))),
        Table("Strategies", ("name", "what it does", "source"), tuple(_strategies(registry))),
        Table("Methods beside a strategy", ("name", "for", "what it does", "source"), tuple(_methods(registry))),
        Table("Recipes", ("name", "task", "what it does"), tuple(_recipes(registry))),
    )


def as_markdown(tables: Sequence[Table], *, level: int = 3) -> str:
    """Write tables in Markdown, each under a heading.

    Args:
        tables: The tables.
        level: Level of the headings.
    """
    return "\n\n".join("\n".join(_lines(table, "#" * level)) for table in tables) + "\n"


def _lines(table: Table, mark: str) -> Iterable[str]:
    yield f"{mark} {table.title}"
    yield ""
    yield f"| {' | '.join(table.headers)} |"
    yield f"|{'---|' * len(table.headers)}"
    for row in table.rows:
        yield f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in row)} |"


def _tasks(registry: Registry) -> Iterable[tuple[str, ...]]:
    for modality, words in MODALITIES.items():
        for task, info in TASKS.items():
            formats = [one for one in registry.formats.values() if one.modality == modality and task in one.every_task]
            heads = [head.name for head in registry.heads.values() if head.task == task and _takes(head, modality)]
            if formats and heads:
                names = ", ".join(one.name for one in formats)
                yield words.items, info.title, info.description, ", ".join(heads), names


def _takes(head: TaskHead, modality: Modality) -> bool:
    # Parts are what two joined backbones give; words and columns can only be hidden where there are such.
    only: Mapping[str, Modality] = {"parts": "image+text", "masked": "text", "values": "table"}
    return only.get(head.requires, modality) == modality


def _backbones(registry: Registry) -> Iterable[tuple[str, ...]]:
    for backbone in registry.backbones.values():
        takes = MODALITIES[backbone.modality].items
        yield backbone.name, takes, f"{_titled(backbone)}{backbone.description}"
    for family in registry.families.values():
        yield f"any of {family.title}", MODALITIES[family.modality].items, "By the name that it has there."
    yield "any two joined by +", MODALITIES["image+text"].items, "One for the images and one for the texts."
    yield "any finished run", "what it was trained on", "Its backbone, with all that it has learned (`--start-from`)."


def _formats(registry: Registry) -> Iterable[tuple[str, ...]]:
    for one in registry.formats.values():
        yield one.name, MODALITIES[one.modality].items, f"{_titled(one)}{one.description}"


def _heads(registry: Registry) -> Iterable[tuple[str, ...]]:
    for head in registry.heads.values():
        task = TASKS[head.task].title
        yield head.name, task, f"{_titled(head) if head.title != task else ''}{head.description}", head.source


def _strategies(registry: Registry) -> Iterable[tuple[str, ...]]:
    for strategy in registry.strategies.values():
        yield strategy.name, f"{_titled(strategy)}{strategy.description}", strategy.source


def _methods(registry: Registry) -> Iterable[tuple[str, ...]]:
    order = {kind: number for number, kind in enumerate(METHOD_KINDS)}
    for method in sorted(registry.methods.values(), key=lambda one: order.get(one.kind, len(order))):
        yield method.name, method.kind, f"{_titled(method)}{method.description}", method.source


def _recipes(registry: Registry) -> Iterable[tuple[str, ...]]:
    for recipe in ready_recipes():
        head = registry.heads.get(recipe.values["head"]["name"])
        if head is not None:
            yield recipe.name, TASKS[head.task].title, f"{recipe.title}. {recipe.description}"


def _titled(component: Component) -> str:
    return "" if component.title == component.name else f"{component.title}. "
