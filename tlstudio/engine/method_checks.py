"""What speaks for and against methods beside what else is chosen, before anything is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tlstudio.api import MODALITIES, DataError, PluginError, Problem, TargetInfo, TLStudioError
from tlstudio.api.methods import Setting, StreamInfo
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import Parts
from tlstudio.engine.method_building import dataset_beside, heads_beside, run_beside, stream_batch, stream_rows
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.recipe import Recipe, learned_from, parse_recipe
from tlstudio.engine.source import runs_beside
from tlstudio.engine.start_from import starting_parts
from tlstudio.engine.target import read_target
from tlstudio.plugins import Registry


def method_problems(
    recipe: Recipe, parts: Parts, revision: Revision, target: TargetInfo, registry: Registry
) -> list[Problem]:
    """Say everything that speaks against the methods of a recipe, before anything is loaded."""
    problems: list[Problem] = []
    for one in parts.methods:
        where = f"methods.{one.name}" if one.name in recipe.methods else "strategy"
        for other in parts.methods:
            if other.name in one.method.excludes:
                what = f"{one.method.title} and {other.method.title} exclude each other."
                problems.append(Problem(where, what, "Take one of them out."))
        for problem in _problems_of(one, recipe, parts, revision, target, registry):
            full = f"{where}.{problem.where}" if problem.where else where
            problems.append(Problem(full, problem.what, problem.remedy))
    return problems


def misfits(recipe: Recipe, parts: Parts, revision: Revision, target: TargetInfo, registry: Registry) -> dict[str, str]:
    """Say of each method that cannot stand beside what is chosen why not; of those that are chosen as well.

    Each is asked with the options that the recipe gives it, else with its defaults. What a setting of its own would
    mend, such as the name of a data set, does not speak against it.
    """
    chosen = {one.name: one for one in parts.methods}
    found: dict[str, str] = {}
    for name, method in registry.methods.items():
        others = [one for one in parts.methods if one.name != name]
        excluding = [one.method.title for one in others if one.name in method.excludes or name in one.method.excludes]
        if excluding:
            found[name] = f"Not together with {' and '.join(excluding)}."
            continue
        try:
            one = chosen[name] if name in chosen else ChosenMethod(method, method.Options())
        except ValidationError:
            continue  # it has a required option
        beside = replace(parts, methods=(*others, one))
        against = _problems_of(one, recipe, beside, revision, target, registry, own=False)
        if sentences := [f"{problem.what} {problem.remedy}".strip() for problem in against if not problem.where]:
            found[name] = " ".join(sentences)
    return found


def misfits_in(values: Mapping[str, Any], revision: Revision, registry: Registry) -> dict[str, str]:
    """As `misfits`, for the values of a recipe that may be unfinished; nothing where its components do not work.

    Args:
        values: As in a recipe file; anything may be left out.
        revision: The data.
        registry: The components.
    """
    from tlstudio.engine.advise import fill_in  # which looks at the checks of a whole recipe

    chosen = values.get("methods", {})
    filled, _ = fill_in({**values, "methods": {}}, revision, registry)
    try:
        recipe = parse_recipe(filled)
        parts = starting_parts(recipe, registry, runs_beside(revision))
        few = learned_from(recipe, revision)
    except TLStudioError:
        return {}
    whole = []
    for name, options in chosen.items():
        with contextlib.suppress(ValidationError, PluginError):  # those are told where the recipe is checked
            method = registry.method(name)
            whole.append(ChosenMethod(method, method.Options.model_validate(options)))
    return misfits(recipe, replace(parts, methods=(*parts.methods, *whole)), few, few.target_info(), registry)


def _problems_of(
    one: ChosenMethod,
    recipe: Recipe,
    parts: Parts,
    revision: Revision,
    target: TargetInfo,
    registry: Registry,
    *,
    own: bool = True,
) -> list[Problem]:
    """Ask one method; what is wrong with its streams and models comes first, and is left out where `own` is false."""
    streams, found = _stream_infos(one, recipe, revision)
    models, wrong = _model_targets(one, revision, registry)
    if found or wrong:  # what it would say of them cannot be known
        return [Problem("", problem.what, problem.remedy) for problem in (*found, *wrong)] if own else []
    setting = Setting(
        modality=revision.modality,
        target=target,
        num_train=len(revision.indices("train")),
        batch_size=recipe.training.batch_size,
        backbone=parts.backbone.info(),
        head=parts.head,
        head_options=parts.head_options,
        strategy=parts.strategy,
        strategy_options=parts.strategy_options,
        methods=[method.name for method in parts.methods],
        streams=streams,
        models=models,
        starts_from=recipe.backbone.start_from,
        head_taken_over=recipe.head.take_over,
        heads=heads_beside(parts.head, registry),
    )
    return list(one.method.problems(setting, one.options))


def _model_targets(
    one: ChosenMethod, revision: Revision, registry: Registry
) -> tuple[dict[str, TargetInfo], list[Problem]]:
    targets, problems = {}, []
    for name, run_id in one.method.models(one.options).items():
        try:
            source = run_beside(revision, run_id)
            if gone := source.why_not(registry):
                problems.append(Problem(name, f"Run {run_id} cannot be used: {' '.join(gone)}"))
                continue
            targets[name] = read_target(source.run)
            modality = registry.backbone(source.backbone.name).modality
        except TLStudioError as error:
            problems.append(Problem(name, error.what, error.remedy))
            continue
        if modality != revision.modality:
            taken, has = MODALITIES[modality].items, MODALITIES[revision.modality].items
            problems.append(Problem(name, f"The model of run {run_id} takes {taken}, the data set has {has}."))
    return targets, problems


def _stream_infos(one: ChosenMethod, recipe: Recipe, revision: Revision) -> tuple[dict[str, StreamInfo], list[Problem]]:
    infos, problems = {}, []
    for name, stream in one.streams().items():
        try:
            data = dataset_beside(revision, stream.dataset)
        except DataError as error:
            problems.append(Problem(name, error.what, error.remedy))
            continue
        count = len(stream_rows(stream, data, recipe.training.seed))
        least = stream_batch(stream, recipe.training.batch_size)
        least = min(least, stream.limit or least)  # what was asked to be few may come more than once in a batch
        if data.modality != revision.modality:
            mine, other = MODALITIES[revision.modality].items, MODALITIES[data.modality].items
            what = f"The data set '{data.dataset}' has {other}, the one that is learned has {mine}."
            problems.append(Problem(name, what, f"Choose a data set of {mine}."))
        elif count < least:
            kind = {"train": "training", "unshown": "unlabelled", "all": "usable"}[stream.rows]
            what = f"'{data.dataset}' has {count} {kind} samples for {one.method.title}, fewer than a batch of {least}."
            smaller = (
                "training.batch_size, or fewer for each sample of the run,"
                if stream.ratio > 1
                else "training.batch_size,"
            )
            remedy = f"Choose a smaller {smaller} or another data set."
            if stream.rows == "unshown" and not count:
                remedy = "Set dataset.shots, or name a data set of unlabelled samples."
            problems.append(Problem(name, what, remedy))
        infos[name] = StreamInfo(
            data.dataset, data.modality, count, data.target_info() if stream.labelled and not problems else None
        )
    return infos, problems
