"""What speaks for and against methods beside what else is chosen, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from tlstudio.api import (
    MODALITIES,
    DataError,
    DataStream,
    Method,
    Modality,
    Preprocessor,
    Problem,
    RunError,
    TargetInfo,
    TLStudioError,
    describe,
)
from tlstudio.api.methods import Setting, StreamInfo
from tlstudio.api.options import Browse
from tlstudio.data.revision import Revision
from tlstudio.engine.checkpoint_reading import check_checkpoint
from tlstudio.engine.method_building import dataset_beside, heads_beside, run_beside, stream_batch, stream_rows
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.parts import Parts
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.target import read_target
from tlstudio.engine.used_data import check_unchanged
from tlstudio.plugins import Registry
from tlstudio.store.format import DATASETS_NAME, RUNS_NAME

NOTHING_MADE: Mapping[str, TargetInfo] = MappingProxyType({})


def method_problems(
    recipe: Recipe,
    parts: Parts,
    revision: Revision,
    target: TargetInfo,
    registry: Registry,
    made: Mapping[str, TargetInfo] = NOTHING_MADE,
) -> list[Problem]:
    """Say everything that speaks against the methods of a recipe, before anything is loaded.

    Args:
        recipe: The recipe.
        parts: Its components.
        revision: The data that are learned from.
        target: What the head is to learn.
        registry: The components that are loaded.
        made: What runs that are still to be made will have learned, by id.
    """
    problems: list[Problem] = []
    refused = parts.strategy.why_not(parts.backbone.info(), parts.head) if parts.methods else None
    for number, one in enumerate(parts.methods):
        if refused and one.name not in recipe.methods:
            continue  # it is a part of the strategy, of which this is said already
        where = _place(one, recipe)
        problems += _excluded(one, parts.methods[:number], where)
        problems += _beneath(where, _problems_of(one, recipe, parts, revision, target, registry, made=made))
    return problems


def what_is_gone(
    recipe: Recipe, parts: Parts, revision: Revision, registry: Registry, recorded: Mapping[str, str]
) -> list[Problem]:
    """Say which data sets and earlier runs methods cannot use any more: they were deleted, or others have their names.

    Args:
        recipe: The recipe of a run that begins or goes on.
        parts: Its components.
        revision: Its data.
        registry: The components that are loaded.
        recorded: Hashes of the data that the run has begun with, see `tlstudio.engine.used_data.recorded_data`.
    """
    problems: list[Problem] = []
    project = revision.folder.absolute().parents[2]
    for one in parts.methods:
        found: list[Problem] = []
        for reference in dict.fromkeys(stream.dataset for stream in one.streams().values()):
            try:
                check_unchanged(dataset_beside(revision, reference), recorded)
            except DataError as error:
                problem = Problem(_naming(one.method, "dataset", "datasets"), error.what, error.remedy)
                found.append(_put_back(problem, project, DATASETS_NAME, *reference.split("@", 1)))
        runs, named = one.method.models(one.options), _naming(one.method, "run")
        _, wrong = _model_targets(one, revision, registry, NOTHING_MADE)
        found += [_put_back(replace(it, where=named), project, RUNS_NAME, runs[it.where]) for it in wrong]
        problems += _beneath(_place(one, recipe), found)
    return problems


def _put_back(problem: Problem, project: Path, *parts: str) -> Problem:
    """Say where a folder of a project belongs if it is gone: the recipe of a run can name no other."""
    if project.joinpath(*parts).is_dir():
        return problem
    return replace(problem, remedy=f"Put it back as {'/'.join(parts)} in the folder of the project.")


def _place(one: ChosenMethod, recipe: Recipe) -> str:
    """Where a method stands in a recipe; that which is not named there is a part of the strategy."""
    return f"methods.{one.name}" if one.name in recipe.methods else "strategy"


def unreadable(preprocessor: Preprocessor, one: ChosenMethod, revision: Revision) -> list[Problem]:
    """Say which other data sets of a method cannot be read, such as a table with other columns, by a sample of each.

    Args:
        preprocessor: That of the run, which has seen its data.
        one: The method, of which nothing else is wrong.
        revision: The data of the run.
    """
    problems = []
    for stream in one.streams().values():
        if stream.dataset and not any(view.prepared_by for view in stream.views.values()):
            data = dataset_beside(revision, stream.dataset)
            row = int(stream_rows(stream, data, revision)[0])
            try:
                preprocessor(data.sample(row), 0)
            except DataError as error:
                where = f"methods.{one.name}.{_naming(one.method, 'dataset', 'datasets')}"
                problems.append(Problem(where, error.what, error.remedy))
    return problems


def damaged_models(recipe: Recipe, methods: Iterable[ChosenMethod], revision: Revision) -> list[Problem]:
    """Say which models of earlier runs are not what was written; each is read whole.

    Args:
        recipe: The recipe.
        methods: Its methods; a run that cannot be used at all is told by `method_problems`.
        revision: The data of the run.
    """
    problems = []
    for one in methods:
        for run_id in dict.fromkeys(one.method.models(one.options).values()):
            try:
                source = run_beside(revision, run_id)
            except TLStudioError:
                continue
            try:
                check_checkpoint(source.folder / "checkpoints", "best")
            except RunError as error:
                where = f"{_place(one, recipe)}.{_naming(one.method, 'run')}"
                problems.append(Problem(where, error.what, "Choose another run, or train that one again."))
    return problems


def problems_beside(
    methods: Sequence[ChosenMethod], recipe: Recipe, revision: Revision, registry: Registry
) -> list[Problem]:
    """Say what speaks against methods whatever the backbone and the head are: each other, and what is not there.

    Args:
        methods: The methods.
        recipe: The recipe.
        revision: The data that are learned from.
        registry: The components that are loaded.
    """
    # What batch suits them depends on the rest: data that are too few for the smallest one are too few for all.
    smallest = recipe.training.model_copy(update={"batch_size": 1})
    recipe = recipe.model_copy(update={"training": smallest})
    problems: list[Problem] = []
    for number, one in enumerate(methods):
        where = _place(one, recipe)
        problems += _excluded(one, methods[:number], where)
        _, found = _stream_infos(one, recipe, revision)
        _, wrong = _model_targets(one, revision, registry, NOTHING_MADE)
        problems += _beneath(where, _by_option(one, found, wrong))
    return problems


def _excluded(one: ChosenMethod, others: Iterable[ChosenMethod], where: str) -> list[Problem]:
    """Say which methods before it a method cannot stand beside."""
    return [
        Problem(where, f"{one.method.title} and {other.method.title} exclude each other.", "Take one of them out.")
        for other in others
        if other.name in one.method.excludes or one.name in other.method.excludes
    ]


def _by_option(one: ChosenMethod, data: Iterable[Problem], runs: Iterable[Problem]) -> list[Problem]:
    """Put what is wrong with other data sets and with earlier runs at the options that name them."""
    gone = [replace(problem, where=_naming(one.method, "dataset", "datasets")) for problem in data]
    return gone + [replace(problem, where=_naming(one.method, "run")) for problem in runs]


def _beneath(where: str, problems: Iterable[Problem]) -> list[Problem]:
    """Put problems under the name of what they are of."""
    return [replace(one, where=f"{where}.{one.where}" if one.where else where) for one in problems]


def misfits(recipe: Recipe, parts: Parts, revision: Revision, target: TargetInfo, registry: Registry) -> dict[str, str]:
    """Say of each method that cannot stand beside what is chosen why not; of those that are chosen as well.

    Each is asked with the options that the recipe gives it, else with its defaults, and with no run or data set where
    it needs one. What a setting of its own would mend, such as the name of a data set, does not speak against it.
    """
    chosen = {one.name: one for one in parts.methods}
    found: dict[str, str] = {}
    for name, method in registry.methods.items():
        others = [one for one in parts.methods if one.name != name]
        excluding = [one.method.title for one in others if one.name in method.excludes or name in one.method.excludes]
        if excluding:
            found[name] = f"Not together with {' and '.join(excluding)}."
            continue
        one = chosen[name] if name in chosen else _not_set(method)
        if one is None:
            continue
        beside = replace(parts, methods=(*others, one))
        against = _problems_of(one, recipe, beside, revision, target, registry, own=False)
        if sentences := [f"{problem.what} {problem.remedy}".strip() for problem in against if not problem.where]:
            found[name] = " ".join(sentences)
    return found


def _not_set(method: Method) -> ChosenMethod | None:
    """A method with its defaults, which names no run and no data set; `None` where another option is required."""
    fields = describe(method.Options)
    named = {field.name: "" for field in fields if field.required and field.browse in ("run", "dataset", "datasets")}
    try:
        return ChosenMethod(method, method.Options.model_validate(named))
    except ValidationError:
        return None


def _problems_of(
    one: ChosenMethod,
    recipe: Recipe,
    parts: Parts,
    revision: Revision,
    target: TargetInfo,
    registry: Registry,
    *,
    own: bool = True,
    made: Mapping[str, TargetInfo] = NOTHING_MADE,
) -> list[Problem]:
    """Ask one method, and look at what it asks for; of a model that is not there, it cannot say anything by itself.

    Args:
        one: The method.
        recipe: The recipe.
        parts: Its components.
        revision: The data that are learned from.
        target: What the head is to learn.
        registry: The components that are loaded.
        own: Whether to tell what is wrong with its streams and models.
        made: What runs that are still to be made will have learned, by id.
    """
    streams, found = _stream_infos(one, recipe, revision)
    models, wrong = _model_targets(one, revision, registry, made)
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
        models=dict.fromkeys(one.method.models(one.options), target) | models,
        starts_from=recipe.backbone.start_from,
        head_taken_over=recipe.head.take_over,
        heads=heads_beside(parts.head, registry),
        epochs=recipe.training.epochs,
        early_stopping=recipe.training.early_stopping,
    )
    gone = _by_option(one, found, wrong)
    said = [problem for problem in one.method.problems(setting, one.options) if not (wrong and problem.where)]
    # That it is for other tasks comes first: no data set would mend it.
    said.sort(key=lambda problem: bool(problem.where))
    whole = sum(not problem.where for problem in said)
    return [*_unvaried(one, parts), *said[:whole], *(gone if own else ()), *said[whole:]]


def _unvaried(one: ChosenMethod, parts: Parts) -> list[Problem]:
    """Say that views of samples would not differ, where the backbone does not vary them so."""
    views = [view for stream in one.streams().values() for view in stream.views.values()]
    views += one.method.views(one.options).values()
    asked = {view.augmentation for view in views if not view.prepared_by} - {"as the run", "none"}
    missing = " or ".join(sorted(asked.difference(parts.backbone.augmentations(parts.head.requires))))
    if not missing:
        return []
    items = MODALITIES[parts.backbone.modality].items
    what = f"{one.method.title} compares variations of a sample, and {items} cannot be varied by {missing} with "
    return [Problem("", f"{what}{parts.backbone.title}.", "Take it out, or choose another variation or backbone.")]


def _model_targets(
    one: ChosenMethod, revision: Revision, registry: Registry, made: Mapping[str, TargetInfo]
) -> tuple[dict[str, TargetInfo], list[Problem]]:
    targets, problems = {}, []
    for name, run_id in one.method.models(one.options).items():
        if run_id in made:
            targets[name] = made[run_id]
            continue
        try:
            source = run_beside(revision, run_id)
            if gone := source.why_not(registry):
                problems.append(Problem(name, f"Run {run_id} cannot be used: {' '.join(gone)}"))
                continue
            source.find_weights()
            modality = registry.backbone(source.backbone.name).modality
            learned = read_target(source.run)
        except TLStudioError as error:
            problems.append(Problem(name, error.what, error.remedy))
            continue
        if modality != revision.modality:
            taken, has = MODALITIES[modality].items, MODALITIES[revision.modality].items
            what = f"The model of run {run_id} takes {taken}, the data set has {has}."
            problems.append(Problem(name, what, f"Choose a run on a data set of {has}."))
        else:
            targets[name] = learned
    return targets, problems


def _stream_infos(one: ChosenMethod, recipe: Recipe, revision: Revision) -> tuple[dict[str, StreamInfo], list[Problem]]:
    """What is known of the samples that a method asks for, without a target where there are no such samples."""
    infos, problems = {}, []
    for name, stream in one.streams().items():
        try:
            data = dataset_beside(revision, stream.dataset)
        except DataError as error:
            problems.append(Problem(name, error.what, error.remedy))
            infos[name] = StreamInfo(stream.dataset, revision.modality, 0)
            continue
        count = len(stream_rows(stream, data, revision, recipe.training.seed))
        target = data.target_info() if stream.labelled and data.modality == revision.modality else None
        infos[name] = StreamInfo(data.dataset, data.modality, count, target, data.sha256 == revision.sha256)
        if against := _against_stream(one, stream, infos[name], recipe, revision):
            problems.append(replace(against, where=name))
    return infos, problems


def _against_stream(
    one: ChosenMethod, stream: DataStream, info: StreamInfo, recipe: Recipe, revision: Revision
) -> Problem | None:
    if other := other_items(info.dataset, info.modality, revision):
        return other
    least = stream_batch(stream, recipe.training.batch_size)
    least = min(least, stream.limit or least)  # what was asked to be few may come more than once in a batch
    if info.count >= least:
        return None
    kind = {"train": "training", "unshown": "unlabelled", "all": "usable"}[stream.rows]
    what = f"'{info.dataset}' has {info.count or 'no'} {kind} sample{'' if info.count == 1 else 's'} "
    what += f"for {one.method.title}"
    left_out = f" Those that '{revision.dataset}' validates or tests are left out." if stream.dataset else ""
    another = "a data set of unlabelled samples" if stream.rows == "unshown" else "another data set"
    if not info.count:
        if stream.rows != "unshown":
            return Problem("", f"{what}.{left_out}", f"Name {another}.")
        shots = f"set dataset.shots{' lower' if recipe.dataset.shots else ''}"
        return Problem("", f"{what}: all are learned with their labels.", f"Name {another}, or {shots}.")
    what += f", fewer than a batch of {least}"
    if stream.ratio > 1:
        what += f" ({stream.ratio:g} times training.batch_size, which is {recipe.training.batch_size})"
    fitting = int(info.count / stream.ratio) if stream.ratio else 0
    ways = [f"training.batch_size to {fitting} or less"] if fitting else []
    if stream.ratio > 1 and "ratio" in one.method.Options.model_fields:
        ways.append(f"methods.{one.name}.ratio lower")
    smaller = f"Set {' or '.join(ways)}, or name" if ways else "Name"
    return Problem("", f"{what}.{left_out}", f"{smaller} {another}.")


def other_items(dataset: str, modality: Modality, revision: Revision) -> Problem | None:
    """Say that a data set cannot stand beside the one that is learned, as it has other items.

    Args:
        dataset: Its name.
        modality: What it has.
        revision: The one that is learned.
    """
    if modality == revision.modality:
        return None
    mine, other = MODALITIES[revision.modality].items, MODALITIES[modality].items
    what = f"The data set '{dataset}' has {other}, the one that is learned has {mine}."
    return Problem("", what, f"Choose a data set of {mine}.")


def _naming(method: Method, *kinds: Browse) -> str:
    """The option by which a method is given data sets or runs, if it has one."""
    return next((field.name for field in describe(method.Options) if field.browse in kinds), "")
