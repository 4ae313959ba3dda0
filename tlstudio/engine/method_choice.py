"""What cannot be chosen in a recipe that may be unfinished: methods, and runs and data sets that they learn from."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tlstudio.api import PluginError, Problem, TargetInfo, TLStudioError, describe
from tlstudio.api.methods import written_names
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import fill_in
from tlstudio.engine.method_building import dataset_beside
from tlstudio.engine.method_checks import method_problems, misfits, other_items
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.parts import Parts
from tlstudio.engine.recipe import Recipe, learned_from, parse_recipe, target_of
from tlstudio.engine.source import runs_beside
from tlstudio.engine.start_from import starting_parts
from tlstudio.plugins import Registry


def misfits_in(values: Mapping[str, Any], revision: Revision, registry: Registry) -> dict[str, str]:
    """As `misfits`, for the values of a recipe that may be unfinished; nothing where its components do not work.

    Args:
        values: As in a recipe file; anything may be left out.
        revision: The data.
        registry: The components.
    """
    without = _without_methods(values, revision, registry)
    if without is None:
        return {}
    recipe, parts, few = without
    whole = []
    for name, options in values.get("methods", {}).items():
        with contextlib.suppress(ValidationError, PluginError):  # those are told where the recipe is checked
            method = registry.method(name)
            whole.append(ChosenMethod(method, method.Options.model_validate(options)))
    return misfits(recipe, replace(parts, methods=(*parts.methods, *whole)), few, few.target_info(), registry)


def unfit_choices(
    values: Mapping[str, Any], offered: Mapping[str, Collection[str]], revision: Revision, registry: Registry
) -> dict[str, dict[str, str]]:
    """Say of each option of a chosen method that names runs or data sets which ones it cannot name, and why.

    Args:
        values: As in a recipe file; anything may be left out.
        offered: What is offered, by what an option browses: ids of ``"run"``, names of ``"dataset"``, with or without
            their revisions, and names of ``"datasets"``.
        revision: The data.
        registry: The components.

    Returns:
        By the option's place in a recipe (``"methods.distillation.teacher"``) a sentence for each one that does not
        fit; nothing where the components do not work.
    """
    chosen = values.get("methods", {})
    asked = [
        (name, field)
        for name in chosen
        if name in registry.methods
        for field in describe(registry.methods[name].Options)
        if field.browse in offered
    ]
    if not asked:
        return {}
    without = _without_methods(values, revision, registry)
    if without is None:
        return {}
    recipe, parts, few = without
    target = target_of(recipe, few)
    found: dict[str, dict[str, str]] = {}
    for name, field in asked:
        where = f"methods.{name}.{field.name}"
        found[where] = {}
        for one in offered[field.browse]:
            options = {**chosen[name], field.name: written_names([one]) if field.browse == "datasets" else one}
            try:
                problems = _unlike(one, few) if field.browse != "run" else []
                problems = problems or _alone(name, options, recipe, parts, few, target, registry)
            except TLStudioError:
                continue  # told when it is chosen
            against = [f"{each.what} {each.remedy}".strip() for each in problems if each.where in ("", where)]
            if against:
                found[where][one] = " ".join(against)
    return found


def _unlike(dataset: str, revision: Revision) -> list[Problem]:
    """Say that a data set has other items than the one that is learned."""
    other = dataset_beside(revision, dataset)
    problem = other_items(other.dataset, other.modality, revision)
    return [problem] if problem is not None else []


def _alone(
    name: str,
    options: Mapping[str, Any],
    recipe: Recipe,
    parts: Parts,
    revision: Revision,
    target: TargetInfo,
    registry: Registry,
) -> list[Problem]:
    """Say what speaks against a method with these options beside no other one."""
    method = registry.methods[name]
    try:
        one = ChosenMethod(method, method.Options.model_validate(options))
    except ValidationError:
        return []  # another of its options is wrong, which is told where the recipe is checked
    alone = recipe.model_copy(update={"methods": {name: dict(options)}})
    return method_problems(alone, replace(parts, methods=(one,)), revision, target, registry)


def _without_methods(
    values: Mapping[str, Any], revision: Revision, registry: Registry
) -> tuple[Recipe, Parts, Revision] | None:
    """Fill in a recipe without its methods: its components, and what is learned from; None where they do not work."""
    filled, _ = fill_in({**values, "methods": {}}, revision, registry)
    try:
        recipe = parse_recipe(filled)
        return recipe, starting_parts(recipe, registry, runs_beside(revision)), learned_from(recipe, revision)
    except TLStudioError:
        return None
