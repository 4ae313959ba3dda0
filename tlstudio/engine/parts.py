"""From a recipe to the components of a run, with their options checked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tlstudio.api import (
    Backbone,
    FineTuningStrategy,
    Options,
    PluginError,
    Problem,
    ProblemsError,
    RunError,
    TaskHead,
    problems_of,
)
from tlstudio.api.components import Component
from tlstudio.engine.derivation import AsItIs
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.recipe import Recipe, mistakes
from tlstudio.plugins import Registry


@dataclass(frozen=True, slots=True)
class Parts:
    """The components of a recipe with their checked options."""

    backbone: Backbone
    backbone_options: Options
    head: TaskHead
    head_options: Options
    strategy: FineTuningStrategy
    strategy_options: Options
    methods: tuple[ChosenMethod, ...] = ()


@dataclass(frozen=True, slots=True)
class Incomplete:
    """What is known of the components of a recipe where there are no `Parts`; `None` where one is not known."""

    backbone: Backbone | None = None
    head: TaskHead | None = None
    strategy: FineTuningStrategy | None = None
    methods: tuple[ChosenMethod, ...] = ()


def find_parts(recipe: Recipe, registry: Registry) -> Parts:
    """Look up the components of a recipe and check their options.

    Raises:
        ProblemsError: With every unknown name and every wrong option.
    """
    problems: list[Problem] = []
    parts = possible_parts(recipe, registry, problems)
    if isinstance(parts, Incomplete) or problems:
        raise ProblemsError(mistakes(len(problems)), problems)
    return parts


def parts_from(choices: Mapping[str, Any], registry: Registry) -> Parts:
    """Do the same for a stored recipe, where a missing plugin is the likeliest trouble.

    Raises:
        RunError: A component is gone or its options have changed.
    """
    try:
        recipe = Recipe.model_validate(choices)
        return find_parts(recipe, registry)
    except (ProblemsError, ValidationError) as error:
        raise RunError(
            f"The run's recipe does not work with the plugins that are installed now: {error}",
            "Install the plugins that it was made with.",
        ) from error


def possible_parts(recipe: Recipe, registry: Registry, problems: list[Problem]) -> Parts | Incomplete:
    """Look them up as far as it goes, so that all else can be checked beside what is wrong.

    An option that is wrong is at its default, an unknown strategy changes nothing, an unknown method is left out.

    Args:
        recipe: The recipe.
        registry: The components.
        problems: Where to tell what is wrong.

    Returns:
        The components; `Incomplete` where the backbone or the head is unknown, or lacks an option that it requires.
    """
    found: dict[str, Any] = {}
    known: dict[str, Any] = {}
    for section, choice, look_up in (
        ("backbone", recipe.backbone, registry.backbone),
        ("head", recipe.head, registry.head),
        ("strategy", recipe.strategy, registry.strategy),
    ):
        options: Options | None = None
        try:
            component: Component = look_up(choice.name)
        except PluginError as error:
            problems.append(Problem(f"{section}.name", error.what, error.remedy))
        else:
            known[section] = component
            wrong: list[Problem] = []
            options = _possible_options(component, choice.options, f"{section}.", wrong)
            problems += [_whose_option(one, section, component, registry) for one in wrong]
        if options is not None:
            found |= {section: component, f"{section}_options": options}
    chosen = _own_method(found) + _possible_methods(recipe, registry, problems)
    methods = tuple(sorted(chosen, key=lambda one: not one.method.changes_samples))
    if "backbone" not in found or "head" not in found:
        return Incomplete(**known, methods=methods)
    return Parts(**{"strategy": AsItIs(), "strategy_options": Options(), **found}, methods=methods)


def _possible_options(
    component: Component, values: Mapping[str, Any], prefix: str, problems: list[Problem]
) -> Options | None:
    """Check the options of a component; those that are wrong are told and left at their defaults, if possible."""
    try:
        return component.Options.model_validate(values)
    except ValidationError as error:
        told = problems_of(error, component.Options, prefix)
    problems += told
    wrong = {problem.where for problem in told}
    with contextlib.suppress(ValidationError):  # one is required, or they do not go together
        right = {name: value for name, value in values.items() if f"{prefix}{name}" not in wrong}
        return component.Options.model_validate(right)
    return None


def _whose_option(problem: Problem, section: str, component: Component, registry: Registry) -> Problem:
    """Say of an option that is not there which component was asked for it, and which ones of its kind have it."""
    if not problem.what.endswith("there is no such option."):
        return problem
    alike: Mapping[str, Component] = {"head": registry.heads, "strategy": registry.strategies}.get(section, {})
    name = problem.where.removeprefix(f"{section}.")
    owners = [other.name for other in alike.values() if name in other.Options.model_fields]
    remedy = problem.remedy
    if owners:
        remedy = f"It is one of {' or '.join(owners[:3])}{' or others' if len(owners) > 3 else ''}. {remedy}"
    return Problem(problem.where, f"{component.name} has no such option.", remedy.strip())


def _own_method(found: Mapping[str, Any]) -> tuple[ChosenMethod, ...]:
    """The method that is part of the strategy."""
    if "strategy_options" not in found:
        return ()
    own = found["strategy"].method(found["strategy_options"])
    return () if own is None else (ChosenMethod(*own),)


def _possible_methods(recipe: Recipe, registry: Registry, problems: list[Problem]) -> tuple[ChosenMethod, ...]:
    """The methods of a recipe that are known, with their options as far as these are right."""
    chosen = []
    for name, values in recipe.methods.items():
        try:
            method = registry.method(name)
        except PluginError as error:
            problems.append(Problem(f"methods.{name}", error.what, error.remedy))
            continue
        options = _possible_options(method, values, f"methods.{name}.", problems)
        if options is not None:
            chosen.append(ChosenMethod(method, options))
    return tuple(chosen)
