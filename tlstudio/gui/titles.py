"""What people read for a component or a run: titles, where recipes and folders have names."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime

from pydantic import ValidationError
from PySide6.QtCore import QCoreApplication

from tlstudio.api import MODALITIES, BackboneFamily, Component, Modality, Task, item_words
from tlstudio.plugins import Registry
from tlstudio.plugins.joined import PLUS


def item_word(modality: Modality) -> str:
    """What one sample is called: ``"image"``."""
    return QCoreApplication.translate("Modality", MODALITIES[modality].item)


def items_word(modality: Modality, task: Task | None = None) -> str:
    """What several samples are called: ``"images"``; for a task, as in data that are for it."""
    known = MODALITIES[modality] if task is None else item_words(modality, task)
    return QCoreApplication.translate("Modality", known.items)


def component_title(registry: Registry, kind: str, name: str) -> str:
    """Give the title of a component; its name where no library-free list has it.

    Members of a family are told by their name: to look them up would import the library behind it.

    Args:
        registry: The components.
        kind: ``"backbone"``, ``"family"``, ``"head"``, ``"strategy"``, ``"method"`` or ``"format"``; any other gives
            the name.
        name: Its name in recipes.
    """
    tables: dict[str, Mapping[str, Component | BackboneFamily]] = {
        "backbone": registry.backbones,
        "family": registry.families,
        "head": registry.heads,
        "strategy": registry.strategies,
        "method": registry.methods,
        "format": registry.formats,
    }
    if kind == "backbone" and (joined := registry.joined_names(name)):
        return f" {PLUS} ".join(component_title(registry, kind, part) for part in joined)
    found = tables.get(kind, {}).get(name)
    return name if found is None else found.title


def quantity_title(registry: Registry, name: str) -> str:
    """Write a quantity of a run with the title of the method that tells it: ``"Mixed samples (mixup) · lambda"``.

    A method that is part of a strategy, and no choice of its own, has the title of that.

    Args:
        registry: The components.
        name: As in the events: ``"mixup/lambda"``, or without a method what the strategy tells.
    """
    method, slash, what = name.partition("/")
    if not slash:
        return name[:1].upper() + name[1:]
    for strategy in registry.strategies.values() if method not in registry.methods else ():
        with contextlib.suppress(ValidationError):  # it has a required option
            if (part := strategy.method(strategy.Options())) is not None and part[0].name == method:
                return f"{strategy.title} · {what}"
    return f"{component_title(registry, 'method', method)} · {what}"


def run_title(run_id: str, registry: Registry) -> str:
    """Write a run's id as people tell runs apart: ``"22 Nov · 001 Linear probe"``."""
    return " · ".join(part for part in run_words(run_id, registry) if part)


def run_words(run_id: str, registry: Registry) -> tuple[str, str]:
    """Split the title of a run: ``("22 Nov", "001 Linear probe")``; an id of another shape has no day."""
    made = {"wise_ft": "WiSE-FT", "soup": _tr("Soup"), "pruned": _tr("Pruned")}
    parts = run_id.split("-", 4)
    try:
        day = datetime(int(parts[0]), int(parts[1]), int(parts[2]))
    except (ValueError, IndexError):
        return "", run_id
    number = " ".join(parts[3:4])
    how = [made.get(name) or component_title(registry, "strategy", name) for name in parts[4:]]
    return f"{day.day} {day.strftime('%b')}", " ".join([number, *how]).strip()


def _tr(text: str) -> str:
    return QCoreApplication.translate("Titles", text)
