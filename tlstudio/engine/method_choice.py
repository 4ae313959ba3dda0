"""What cannot be chosen in a recipe that may be unfinished: methods, and runs that they learn from."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tlstudio.api import PluginError, TLStudioError, describe
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import fill_in
from tlstudio.engine.assemble import Parts
from tlstudio.engine.method_checks import method_problems, misfits
from tlstudio.engine.methods import ChosenMethod
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


def unfit_runs(
    values: Mapping[str, Any], runs: Collection[str], revision: Revision, registry: Registry
) -> dict[str, dict[str, str]]:
    """Say of each option of a chosen method that names a run which runs it cannot name, and why.

    Args:
        values: As in a recipe file; anything may be left out.
        runs: Ids of the runs that are offered.
        revision: The data.
        registry: The components.

    Returns:
        By the option's place in a recipe (``"methods.distillation.teacher"``) a sentence for each run that does not
        fit; nothing where the components do not work.
    """
    chosen = values.get("methods", {})
    asked = {
        name: field.name
        for name in chosen
        if name in registry.methods
        for field in describe(registry.methods[name].Options)
        if field.browse == "run"
    }
    if not asked:
        return {}
    without = _without_methods(values, revision, registry)
    if without is None:
        return {}
    recipe, parts, few = without
    target = target_of(recipe, few)
    found: dict[str, dict[str, str]] = {}
    for name, option in asked.items():
        method, where = registry.methods[name], f"methods.{name}.{option}"
        found[where] = {}
        for run in runs:
            options = {**chosen[name], option: run}
            try:
                one = ChosenMethod(method, method.Options.model_validate(options))
            except ValidationError:
                break  # another of its options is wrong, which is told where the recipe is checked
            alone = recipe.model_copy(update={"methods": {name: options}})
            try:
                problems = method_problems(alone, replace(parts, methods=(one,)), few, target, registry)
            except TLStudioError:
                continue  # told when it is chosen
            against = [f"{each.what} {each.remedy}".strip() for each in problems if each.where == where]
            if against:
                found[where][run] = " ".join(against)
    return found


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
