"""What will happen in a run, found out before it: the model is built for real, and steps of it are measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tlstudio.api import SPLITS, Problem, TLStudioError, WeightsInfo, item_words
from tlstudio.api.nn import LayerGroup, ParamGroup, TransferModel, numbers_of
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import (
    all_parameters,
    build_model,
    caches_features,
    fitted,
    learning_parameters,
    preprocessor_of,
)
from tlstudio.engine.checking import check
from tlstudio.engine.devices import free_memory, resolve_device
from tlstudio.engine.feature_cache import CACHE_FOLDER, cache_path, load_features
from tlstudio.engine.looking import notes_on_fold
from tlstudio.engine.memory import MemoryNeed, is_out_of_memory
from tlstudio.engine.method_checks import damaged_models
from tlstudio.engine.overlaps import notes_on_overlaps
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.recipe import Recipe, learned_from, target_of
from tlstudio.engine.source import runs_beside
from tlstudio.engine.start_from import ContinuedBackbone, starting_parts
from tlstudio.engine.timing import Rehearsal, estimate_seconds
from tlstudio.plugins import Registry


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What will learn in a part of the model.

    Attributes:
        name: The part: a layer group of the backbone, ``"head"``, or what a method brings.
        trainable: Parameters that learn, be it in later epochs only.
        total: All of its parameters.
        added: Parameters among those that learn that the strategy has put in, such as adapters.
        learning_rate: The highest peak rate in it; 0 where nothing learns.
        perhaps: Whether it learns only if it is in the block that is chosen when the run begins.
    """

    name: str
    trainable: int
    total: int
    added: int = 0
    learning_rate: float = 0.0
    perhaps: bool = False


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of a run before it starts.

    Attributes:
        sentence: What will happen, for people.
        problems: What keeps it from starting; empty: it can.
        notes: Sentences worth reading that keep nothing from starting.
        trainable: Parameters that learn, be it in later epochs only; where one of several blocks is chosen when the
            run begins, with the largest of these.
        total: All parameters, with those that methods bring.
        seconds: Estimate of the wall time, measured on this machine with this data; `None` where unknown.
        weights: Where the pretrained weights are.
        groups: The parts of the model from input to output, and what learns in each.
        memory: Estimate of what a step holds in memory; `None` where unknown.
    """

    sentence: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    trainable: int = 0
    total: int = 0
    seconds: float | None = None
    weights: WeightsInfo | None = None
    groups: tuple[GroupPlan, ...] = ()
    memory: MemoryNeed | None = None


def preflight(
    recipe: Recipe, revision: Revision, registry: Registry, *, project_folder: Path | None = None
) -> Preflight:
    """Build the model for real, measure steps on samples of the data, and say what will happen.

    Takes a few seconds: to be called off the window's thread.

    Args:
        recipe: The recipe.
        revision: The data.
        registry: The components.
        project_folder: The project; with it, features that an earlier run has kept are taken into account.
    """
    problems = check(recipe, revision, registry)
    if problems:
        return Preflight("This cannot start yet.", tuple(problems))
    revision = learned_from(recipe, revision)
    parts, options = starting_parts(recipe, registry, runs_beside(revision)), recipe.training
    if damaged := damaged_models(recipe, parts.methods, revision):
        return Preflight("This cannot start yet.", tuple(damaged))
    cached = caches_features(parts)
    seconds: float | None = None
    memory: MemoryNeed | None = None
    kept = False
    overlaps = notes_on_overlaps(recipe, parts.methods, revision)
    notes = [note.text for note in (*notes_on_fold(recipe, revision), *overlaps)]
    try:
        parts = fitted(parts, revision)
        weights = parts.backbone.find_weights(parts.backbone_options)
        with random_state_aside():
            backbone = parts.backbone.load(parts.backbone_options)
            pretrained = {id(parameter) for parameter in backbone.parameters()}
            model = build_model(parts, backbone, target_of(recipe, revision))
        groups = parts.strategy.param_groups(
            model,
            parts.strategy_options,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        notes += parts.strategy.notes(model, parts.strategy_options, options.epochs)
        plain = preprocessor_of(parts)
        if cached and project_folder is not None:
            path = cache_path(
                project_folder / CACHE_FOLDER,
                revision,
                parts.backbone,
                parts.backbone_options,
                weights,
                plain,
                options.seed,
            )
            kept = load_features(path, len(revision), backbone.num_features) is not None
        blocks = parts.strategy.alternatives(model, parts.strategy_options)
        plan = what_learns(model, groups, pretrained, blocks)
        try:
            rehearsal = Rehearsal(parts, model, groups, revision, registry, options, cached=cached)
            # What methods bring learns as well, and belongs to no part of the model.
            groups = rehearsal.groups
            plan = what_learns(model, groups, pretrained, blocks)
            costs, memory = rehearsal.measure(kept=kept)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            notes.append("Memory is short right now, so the time could not be measured; a run may not fit.")
        else:
            counts = tuple(len(revision.indices(split)) for split in SPLITS)
            seconds = estimate_seconds(costs, options, (counts[0], counts[1], counts[2]), cached=cached, kept=kept)
    except TLStudioError as error:
        problem = Problem(error.field or "recipe", error.what, error.remedy)
        return Preflight("This cannot start yet.", (problem,))
    trainable, total = learning_parameters(groups, blocks), all_parameters(model, groups)
    device = resolve_device(options.device)
    started = ""
    if isinstance(parts.backbone, ContinuedBackbone):
        started = f"Starts from {weights.origin}. "
        notes += parts.backbone.notes
    learns = f"Trains {amount(trainable)} of {amount(total)} parameters" if groups else "Fits the head"
    if blocks:
        learns = f"Trains at most {amount(trainable)} of {amount(total)} parameters"
        notes.append(
            f"Of the backbone, one of {len(blocks)} blocks of layers learns, which is chosen when the run begins. Time "
            "and memory are those of the costliest."
        )
    beside = " and ".join(one.method.title for one in parts.methods if one.name in recipe.methods)
    sentence = (
        f"{started}{learns} on {len(revision.indices('train')):,} {item_words(revision.modality, revision.task).items}"
        f"{f' with {beside}' if beside else ''}"
        f"{f', {duration(seconds)}' if seconds is not None else ''} on this {'GPU' if device != 'cpu' else 'CPU'}. "
        "Needs no network."
    )
    if memory is not None and (free := free_memory(device)) and memory.total > free:
        notes.append(
            f"It needs about {gigabytes(memory.total)} of memory, and {gigabytes(free)} are free now: choose a smaller "
            "batch size with accumulation, 'recompute', or a strategy that trains less."
        )
    anew = [one.method.title for one in parts.methods if one.needs_backbone]
    if anew and not cached and parts.strategy.caches_features(parts.strategy_options):
        notes.append(f"Beside {' and '.join(anew)}, kept features cannot be used: each epoch computes them anew.")
    if cached and options.augmentation != "none":
        notes.append("Augmentation has no effect where the features are kept.")
    if cached:
        notes.append(
            "The features of an earlier run are used again; each epoch takes a moment."
            if kept
            else "Features are computed once and kept; each epoch then takes a moment."
        )
    return Preflight(sentence, (), tuple(notes), trainable, total, seconds, weights, plan, memory)


def what_learns(
    model: TransferModel,
    groups: Sequence[ParamGroup],
    pretrained: Collection[int],
    blocks: Sequence[Sequence[LayerGroup]] = (),
) -> tuple[GroupPlan, ...]:
    """Say of each part of a model, from input to output, what learns in it.

    Args:
        model: The model, prepared by its strategy.
        groups: Everything that will ever learn, of methods as well.
        pretrained: Ids of the backbone's parameters before the strategy has prepared it.
        blocks: Of these one will learn, see `FineTuningStrategy.alternatives`.
    """
    rates = {id(parameter): group.lr for group in groups for parameter in group.params}
    open_to_choice = {id(one) for block in blocks for layer in block for one in layer.parameters()}
    seen: set[int] = set()

    def plan(name: str, parameters: Sequence[torch.nn.Parameter], *, head: bool = False) -> GroupPlan:
        own = list({id(one): one for one in parameters if id(one) not in seen}.values())
        seen.update(id(one) for one in own)
        learning = [one for one in own if id(one) in rates]
        added = [one for one in learning if not head and id(one) not in pretrained]
        return GroupPlan(
            name,
            trainable=sum(one.numel() for one in learning),
            total=sum(numbers_of(one) for one in own),
            added=sum(one.numel() for one in added),
            learning_rate=max((rates[id(one)] for one in learning), default=0.0),
            perhaps=any(id(one) in open_to_choice for one in learning),
        )

    around = _around_layers(model)
    layers = [
        plan(layer.name, [*layer.parameters(), *around.get(n, ())]) for n, layer in enumerate(model.layer_groups())
    ]
    beside = plan("beside the layers", list(model.backbone.parameters()))
    head = plan("head", list(model.head.parameters()), head=True)
    found = [beside, *layers, head] if beside.total else [*layers, head]
    for group in groups:
        if (rest := plan(group.name, group.params, head=True)).total:
            same = next((n for n, one in enumerate(found) if one.name == rest.name), None)
            if same is None:
                found.append(rest)
            else:
                total, trainable = found[same].total + rest.total, found[same].trainable + rest.trainable
                found[same] = replace(found[same], total=total, trainable=trainable)
    return tuple(found)


def _around_layers(model: TransferModel) -> dict[int, list[torch.nn.Parameter]]:
    """What a strategy has put around a module of a layer group, by the number of the group."""
    groups = {id(module): number for number, layer in enumerate(model.layer_groups()) for module in layer.modules}
    found: dict[int, list[torch.nn.Parameter]] = {}
    for module in model.backbone.modules():
        inside = {groups[id(one)] for one in module.modules() if id(one) in groups}
        if len(inside) == 1:
            found.setdefault(inside.pop(), []).extend(module.parameters())
    return found


def amount(number: int) -> str:
    """Write a number of parameters for people: ``"10,250"``, ``"4.0 M"``."""
    return f"{number:,}" if number < 100_000 else f"{number / 1e6:.1f} M"


def gigabytes(size: int) -> str:
    """Write a size of memory for people: ``"1.2 GB"``, ``"300 MB"``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB"


def duration(seconds: float) -> str:
    """Write an estimated duration for people: ``"about 40 s"``, ``"about 12 min"``, ``"about 3 h"``."""
    if seconds < 90:
        return f"about {max(1, round(seconds / 5) * 5 if seconds > 10 else round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
