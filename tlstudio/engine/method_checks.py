"""What speaks for and against methods beside what else is chosen, before anything is loaded."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from tlstudio.api import MODALITIES, DataError, Problem, TargetInfo, TLStudioError
from tlstudio.api.methods import Setting, StreamInfo
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import Parts
from tlstudio.engine.method_building import dataset_beside, heads_beside, run_beside, stream_batch, stream_rows
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.recipe import Recipe
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
