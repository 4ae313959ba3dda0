"""Advice before a run: what a knowing person would choose, and what is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any

from tlstudio.api import (
    TASKS,
    Backbone,
    FeatureKind,
    Modality,
    PluginError,
    Problem,
    ProblemsError,
    Sample,
    Situation,
    TargetInfo,
    TLStudioError,
    WeightsError,
    describe,
)
from tlstudio.data.revision import Revision
from tlstudio.engine.recipe import Recipe, TrainingOptions, mistakes, parse_recipe
from tlstudio.engine.source import FIELD, ExportSource, find_source, runs_beside
from tlstudio.plugins import Registry
from tlstudio.plugins.joined import PLUS

HEAD_FIELDS = ("head.take_over", "head.classes")
SECTIONS = ("dataset", "backbone", "head", "strategy", "training", "methods")


def set_values(values: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Apply assignments such as ``"backbone.weights=FILE"`` or ``"training.epochs=5"`` to the values of a recipe.

    Args:
        values: As in a recipe file; not changed.
        assignments: ``section.option=value``; values are read as TOML where they are that, else as text.

    Raises:
        ProblemsError: With every assignment that is not of that form.
    """
    result = deepcopy(dict(values))
    problems = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot and name) or section not in SECTIONS:
            what = f"'{assignment}' is not of the form SECTION.OPTION=VALUE with one of {', '.join(SECTIONS)}."
            problems.append(Problem("-o", what, "For example: -o training.epochs=5."))
            continue
        table = result.setdefault(section, {})
        if not isinstance(table, dict):
            problems.append(Problem(section, "must be a table of settings."))
            continue
        if section == "methods":
            method, dot, name = name.partition(".")
            table[method] = target = dict(_table(table.get(method)))
            if not dot:
                problems.append(Problem("-o", f"'{assignment}' does not say which option of {method} it is."))
                continue
        else:
            own = section in ("training", "dataset") or f"{section}.{name}" in (FIELD, *HEAD_FIELDS)
            target = table if own else table.setdefault("options", {})
        target[name] = read_value(text)
    if problems:
        raise ProblemsError(mistakes(len(problems)), problems)
    return result


def read_value(text: str) -> Any:  # noqa: ANN401  whatever TOML can say
    """Read the value of an assignment: as TOML where it is that, else as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return {"none": None}.get(text.lower(), text)


def complete(
    values: Mapping[str, Any],
    revision: Revision,
    registry: Registry,
    *,
    build: bool = False,
    made: Mapping[str, TargetInfo] | None = None,
) -> Recipe:
    """Fill in what is left out of a recipe with what suits this data and this machine, and check all of it.

    Args:
        values: As in a recipe file; anything may be left out.
        revision: The data.
        registry: The components.
        build: Also build the model for real, so that weights which do not fit it are told with the rest; this takes
            seconds. `tlstudio.engine.preflight.preflight` does so anyway.
        made: What runs that are still to be made will have learned, by id; what starts from one of these says itself
            what its backbone is.

    Raises:
        ProblemsError: With every mistake found.
    """
    from tlstudio.engine.checking import check

    made = made or {}
    filled, problems = fill_in(values, revision, registry, made)
    try:
        recipe = parse_recipe(filled)
    except ProblemsError as error:
        partial = _lenient(filled, {problem.where for problem in error.problems})
        more = check(partial, revision, registry, build=build, made=made) if partial is not None else []
        problems += [*error.problems, *(p for p in more if p.where not in {q.where for q in problems})]
        raise ProblemsError(mistakes(len(problems)), problems) from None
    told = {problem.where for problem in problems}
    found = check(recipe, revision, registry, build=build, made=made)
    if FIELD in told:  # and no backbone can be said to be wrong
        found = [problem for problem in found if not problem.where.startswith("backbone.")]
    problems += [problem for problem in found if problem.where not in told]
    if problems:
        raise ProblemsError(mistakes(len(problems)), problems)
    return recipe


def fill_in(
    values: Mapping[str, Any], revision: Revision, registry: Registry, made: Collection[str] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    """Fill in what is left out, and say what cannot be; see `complete`."""
    problems: list[Problem] = []
    filled = deepcopy(dict(values))
    filled.setdefault("format", 1)
    problems += _no_tables(filled)
    filled["dataset"] = {"name": revision.dataset, "revision": revision.id, **_table(filled.get("dataset"))}
    for section in ("backbone", "head", "strategy"):
        table = _table(filled.get(section))
        if section == "backbone" and table.get("start_from") and table["start_from"] not in made:
            try:
                table = _continued(table, revision)
            except TLStudioError as error:
                problems.append(Problem(error.field or FIELD, error.what, error.remedy))
        filled[section] = {"options": {}, **table}
        if "name" not in table:
            try:
                provided = _provided(filled, registry) if section == "head" else ()
                if section == "strategy":
                    filled[section]["name"] = _default_strategy(filled, revision, registry)
                else:
                    filled[section]["name"] = _default(section, revision, registry, provided)
            except TLStudioError as error:
                problems.append(Problem(f"{section}.name", error.what, error.remedy))
                filled[section]["name"] = ""
    filled["methods"] = _pinned(_table(filled.get("methods")), revision, registry)
    training = _table(filled.get("training"))
    filled["training"] = {**_recommended(filled, revision, registry), **training}
    return filled, problems


def _no_tables(values: Mapping[str, Any]) -> list[Problem]:
    """Say which sections are no tables, of which nothing could be taken; the name of a component is as good as one."""
    tables = {name: values.get(name) for name in SECTIONS}
    if isinstance(methods := values.get("methods"), Mapping):
        tables |= {f"methods.{name}": options for name, options in methods.items()}
    return [
        Problem(name, "must be a table of settings.", f"Write [{name}] and its settings below.")
        for name, value in tables.items()
        if not (value is None or isinstance(value, Mapping))
        and not (isinstance(value, str) and name in ("dataset", "backbone", "head", "strategy"))
    ]


def _pinned(methods: Mapping[str, Any], revision: Revision, registry: Registry) -> dict[str, Any]:
    """Write the revisions of the data sets that methods name, so that the recipe means the same for good."""
    from tlstudio.engine.method_building import pinned

    result: dict[str, Any] = {}
    for name, values in methods.items():
        result[name] = options = dict(_table(values))
        for field in describe(registry.methods[name].Options) if name in registry.methods else ():
            named = options.get(field.name)
            if field.browse in ("dataset", "datasets") and named and isinstance(named, str | int | float):
                options[field.name] = pinned(revision, str(named), several=field.browse == "datasets")
    return result


def _provided(filled: Mapping[str, Any], registry: Registry) -> Collection[FeatureKind]:
    """The kinds of features that the chosen backbone gives; none where there is no such backbone."""
    try:
        return registry.backbone(str(_table(filled.get("backbone")).get("name"))).info().provides
    except TLStudioError:
        return ()  # told by the check


def _continued(table: Mapping[str, Any], revision: Revision) -> dict[str, Any]:
    """Fill in backbone and options of what a run starts from."""
    source = find_source(str(table["start_from"]), runs_beside(revision))
    options = {**source.backbone.options, **_table(table.get("options"))}
    start_from = str(source.folder) if isinstance(source, ExportSource) else str(table["start_from"])
    return {"name": source.backbone.name, **table, "options": options, "start_from": start_from}


def _table(value: Any) -> dict[str, Any]:  # noqa: ANN401  whatever a recipe file holds
    if isinstance(value, str):
        return {"name": value}  # head = "classification" is as good as a table
    return dict(value) if isinstance(value, Mapping) else {}


def _lenient(filled: Mapping[str, Any], wrong: set[str]) -> Recipe | None:
    """The recipe without the training options that are wrong, so that all else is checked all the same."""
    training = {name: value for name, value in filled["training"].items() if f"training.{name}" not in wrong}
    try:
        return parse_recipe({**filled, "training": training})
    except ProblemsError:
        return None


def _default(section: str, revision: Revision, registry: Registry, provided: Collection[FeatureKind]) -> str:
    """Name what suits; of heads, one that takes what the backbone gives."""
    if section == "backbone":
        sample = revision.sample(0)
        if revision.modality == "image+text":
            first: tuple[Modality, Modality] = ("image", "text")
            return PLUS.join(_default_backbone(modality, sample, registry).name for modality in first)
        needed = {head.requires for head in registry.heads.values() if head.task == revision.task}
        return _default_backbone(revision.modality, sample, registry, needed).name
    if section == "head":
        found = [head for head in registry.heads.values() if head.task == revision.task]
        if not found:
            raise PluginError(f"No plugin brings a head for {TASKS[revision.task].title.lower()}.")
        able = [head for head in found if head.requires in provided]
        return (able or found)[0].name
    raise ValueError(section)


def _default_strategy(filled: Mapping[str, Any], revision: Revision, registry: Registry) -> str:
    """Name the strategy that suits the data and fits the chosen backbone and head."""
    wanted, head = "linear_probe", registry.heads.get(str(filled["head"]["name"]))
    if revision.task != "anomaly_detection":  # normal items alone are nothing that a backbone could learn from
        # The backbones of tables begin with random weights, and a head of pretraining is not for keeps.
        if revision.modality == "table" or revision.label_kind == "none":
            wanted = "full"
        # Features of pixels or words are not kept: each of a probe's many epochs would compute them anew.
        if head is not None and head.requires in ("maps", "tokens"):
            wanted = "full"
        if _on_gpu("auto") and _num_train(filled, revision) >= 1000:
            wanted = "full"
    if not registry.strategies:
        raise PluginError("No plugin brings a fine-tuning strategy.")
    names = [name for name in dict.fromkeys([wanted, "lora", *registry.strategies]) if name in registry.strategies]
    try:
        info = registry.backbone(filled["backbone"]["name"]).info()
    except TLStudioError:
        return names[0]  # told by the check
    fits = (name for name in names if head is not None and registry.strategy(name).why_not(info, head) is None)
    return next(fits, names[0])  # a head that is not there is told by the check


def _default_backbone(
    modality: Modality, sample: Sample, registry: Registry, needed: Collection[FeatureKind] = ()
) -> Backbone:
    """The first backbone for a modality whose weights are on this machine, in the order that plugins list them.

    Args:
        modality: What it takes.
        sample: A sample that it must be able to take.
        registry: The components.
        needed: Kinds of features of which it must give one; empty: any.
    """
    missing: list[tuple[Backbone, WeightsError]] = []
    untrained: Backbone | None = None
    for backbone in registry.backbones.values():
        if backbone.modality != modality or backbone.why_not(sample) is not None:
            continue
        try:
            options = backbone.Options()
            if backbone.find_weights(options).path is not None and _gives(backbone, needed):
                return backbone
            # Of some data there are no pretrained models for all: each begins with one's own.
            untrained = untrained or (backbone if modality == "table" else None)
        except WeightsError as error:
            missing.append((backbone, error))
        except ValueError:
            continue  # it has a required option, so it cannot be a default
    if untrained is not None:
        return untrained
    remedies = (error.remedy for backbone, error in missing if _gives(backbone, needed))
    raise PluginError(
        f"No pretrained backbone for {modality} data is on this machine that this task could be learned with.",
        next(remedies, "Install the starter extra, or choose one with its weights."),
    )


def _gives(backbone: Backbone, needed: Collection[FeatureKind]) -> bool:
    return not needed or not backbone.info().provides.isdisjoint(needed)


def _on_gpu(device: str) -> bool:
    from tlstudio.engine.devices import resolve_device

    return resolve_device(device) != "cpu"


def _num_train(filled: Mapping[str, Any], revision: Revision) -> int:
    """Number of samples that are learned from."""
    count = len(revision.indices("train"))
    shots = _table(filled.get("dataset")).get("shots", 0)
    few = isinstance(shots, int) and shots > 0 and bool(revision.classes)  # anything else is told by the check
    return min(count, shots * len(revision.classes)) if few else count


def _recommended(filled: Mapping[str, Any], revision: Revision, registry: Registry) -> dict[str, Any]:
    try:
        head = registry.head(filled["head"]["name"])
        backbone = registry.backbone(filled["backbone"]["name"])
        info = backbone.info()
    except TLStudioError:
        return {}  # told by the check
    device = str(_table(filled.get("training")).get("device", "auto"))
    situation = Situation(
        modality=revision.modality,
        task=revision.task,
        num_train=_num_train(filled, revision),
        num_parameters=info.num_parameters,
        on_gpu=_on_gpu(device if device in ("cpu", "cuda", "mps") else "auto"),
    )
    name = str(filled["strategy"]["name"])
    strategies = [registry.strategies[name]] if name in registry.strategies else registry.strategies.values()
    # Where there is no such strategy, which is told by the check: what is too few for the smallest batch is so for all.
    advised = (dict(strategy.recommended(situation)) for strategy in strategies)
    values = min(advised, key=lambda one: one.get("batch_size", TrainingOptions().batch_size), default={})
    values |= head.recommended(situation)
    if filled["methods"]:  # of what comes beside the run's samples they take so many for each of its batch
        batch = values.get("batch_size", TrainingOptions().batch_size)
        values["batch_size"] = max(1, min(batch, situation.num_train))
    if values.get("augmentation", TrainingOptions().augmentation) not in backbone.augmentations(head.requires):
        values["augmentation"] = "none"
    return {name: value for name, value in values.items() if name in TrainingOptions.model_fields}
