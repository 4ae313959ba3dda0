"""Everything that speaks against a recipe, found before a run is made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from tlstudio.api import MODALITIES, TASKS, Problem, ProblemsError, TargetInfo, TLStudioError
from tlstudio.data.folds import MOST_SENTENCES, classes_left_out
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import build_model, caches_features, fitted, preprocessor_of
from tlstudio.engine.devices import device_problems
from tlstudio.engine.measuring import monitored
from tlstudio.engine.memory import is_out_of_memory
from tlstudio.engine.method_checks import (
    NOTHING_MADE,
    damaged_models,
    method_problems,
    problems_beside,
    unreadable,
)
from tlstudio.engine.parts import Incomplete, Parts, possible_parts
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.recipe import Recipe, TrainingOptions, learned_from, target_of
from tlstudio.engine.source import find_source, runs_beside
from tlstudio.engine.start_from import started
from tlstudio.plugins import Registry


def check(
    recipe: Recipe,
    revision: Revision,
    registry: Registry,
    *,
    build: bool = False,
    made: Mapping[str, TargetInfo] = NOTHING_MADE,
) -> list[Problem]:
    """Find everything that is wrong with a recipe.

    Args:
        recipe: The recipe.
        revision: The data.
        registry: The components.
        build: Also build the model for real, which reads all weights: it takes seconds.
        made: What runs that are still to be made will have learned, by id: the recipe may start from these.
    """
    problems: list[Problem] = []
    with _told(problems, "dataset"):
        revision = learned_from(recipe, revision)
    target = target_of(recipe, revision)
    more = [*_check_target(revision, target), *device_problems(recipe.training)]
    parts = possible_parts(recipe, registry, problems)
    defaults = {problem.where for problem in problems}  # stand where something is wrong: nothing is told of these
    found: list[Problem] = []
    if isinstance(parts, Incomplete):
        with _told(found, "recipe"):
            found += _check_the_rest(parts, recipe, revision, registry)
        return problems + [problem for problem in found if problem.where not in defaults] + more
    to_be_made = recipe.backbone.start_from in made
    with _told(found, "recipe"):
        if not to_be_made:
            parts = started(parts, recipe, registry, runs_beside(revision))
        with _told(found, "backbone.name"):
            sentences = registry.why_not(
                parts.backbone, parts.head, parts.strategy, modality=revision.modality, task=revision.task
            )
            found += [Problem("recipe", sentence) for sentence in sentences]
            refused = None if sentences else parts.backbone.why_not(revision.sample(0))
            if refused:
                found.append(Problem("backbone.name", refused, "Choose another backbone."))
                build = False  # it cannot even look at the data
        with _told(found, "methods"):
            found += method_problems(recipe, parts, revision, target, registry, made)
        with _told(found, "training.monitor"):
            _check_monitor(parts, target, recipe.training)
        found += [] if to_be_made else _check_take_over(recipe, revision)
        found += _check_augmentation(parts, recipe.training)
        found += _check_views(parts, recipe.training)
        found += _check_lasting(parts)
        fits = not problems and not found and not more
        with _told(found, "backbone.weights"):
            if not to_be_made and not any(place.startswith("backbone.") for place in defaults):
                parts.backbone.find_weights(parts.backbone_options)
                if build:
                    parts = fitted(parts, revision)
                    _build(parts, target if fits else None)
                    for one in parts.methods if fits else ():
                        found += unreadable(preprocessor_of(parts), one, revision)
        if build:
            told = {problem.where for problem in found}
            found += [
                problem for problem in damaged_models(recipe, parts.methods, revision) if problem.where not in told
            ]
    return problems + [problem for problem in found if problem.where not in defaults] + more


def check_folds(recipe: Recipe, revision: Revision) -> list[str]:
    """Find what keeps some fold of a recipe from being learned from, before the first one is.

    Args:
        recipe: A recipe with folds.
        revision: The data.

    Returns:
        Sentences on classes that some folds lack, which keep nothing from starting.

    Raises:
        ProblemsError: With everything that speaks against some folds.
    """
    folds, shots, seed = recipe.dataset.folds, recipe.dataset.shots, recipe.training.seed
    problems: list[Problem] = []
    views = dict(enumerate(revision.in_folds(folds, seed), start=1))
    for number, view in views.items():
        found: list[Problem] = []
        with _told(found, "dataset"):
            learned = view.few(shots, seed) if shots else view
            found += _check_target(learned, target_of(recipe, learned))
        problems += [replace(one, what=f"Fold {number} of {folds}: {one.what}") for one in found]
    if problems:
        raise ProblemsError("Not every fold can be learned from.", problems[:MOST_SENTENCES])
    return classes_left_out(views, folds)


@contextlib.contextmanager
def _told(problems: list[Problem], where: str) -> Iterator[None]:
    """Put what the block raises among the problems, so that the others are found as well."""
    try:
        yield
    except ProblemsError as error:
        problems += error.problems
    except TLStudioError as error:
        problems.append(Problem(error.field or where, error.what, error.remedy))


def _check_target(revision: Revision, target: TargetInfo) -> list[Problem]:
    """Say what speaks against learning from this revision."""
    problems = []
    for split, least in (("train", 2), ("validation", 1)):
        count = len(revision.indices("train" if split == "train" else "validation"))
        if count < least:
            what = f"the {split} split of '{revision.dataset}' has {count} samples, at least {least} are needed."
            problems.append(Problem("dataset", what, "Import more data, or other shares for the splits."))
    kind = TASKS[target.task].label
    classified = kind == "name" and target.task != "anomaly_detection"  # what is normal can be learned alone
    values = revision.values()[revision.indices("train")] if kind == "number" else np.empty(0)
    if len(values) and values.min() == values.max():
        what = f"all values in the train split of '{revision.dataset}' are {values[0]:g}."
        problems.append(Problem("dataset", what, "Import data with other splits, so that there is something to learn."))
    if classified and sum(count > 0 for count in target.class_counts) == 1 < len(target.classes):
        only = next(name for name, count in zip(target.classes, target.class_counts, strict=True) if count)
        what = f"the train split of '{revision.dataset}' has only the class '{only}'."
        problems.append(Problem("dataset", what, "Import data with other splits: each class must be in train."))
    if classified and len(target.classes) < 2:
        what = f"'{revision.dataset}' has only the class '{''.join(target.classes)}'."
        problems.append(Problem("dataset", what, "Classification needs at least two classes."))
    return problems


def _check_the_rest(known: Incomplete, recipe: Recipe, revision: Revision, registry: Registry) -> list[Problem]:
    """Say what is wrong with what is known, where the backbone or the head is not."""
    sentences = registry.why_not(
        known.backbone, known.head, known.strategy, modality=revision.modality, task=revision.task
    )
    found = [Problem("recipe", sentence) for sentence in sentences]
    refused = known.backbone.why_not(revision.sample(0)) if known.backbone is not None and not sentences else None
    if refused:
        found.append(Problem("backbone.name", refused, "Choose another backbone."))
    return found + problems_beside(known.methods, recipe, revision, registry)


def _check_take_over(recipe: Recipe, revision: Revision) -> list[Problem]:
    """Say why the head cannot begin with that of an earlier run."""
    start_from = recipe.backbone.start_from
    if not recipe.head.take_over:
        return []
    if not start_from:
        what = "the head can take over only from the run that the backbone starts from, and it starts from none."
        return [Problem("head.take_over", what, "Set backbone.start_from, or switch it off.")]
    try:
        found = find_source(start_from, runs_beside(revision)).head_name
    except TLStudioError:
        return []  # told where it belongs
    if found == recipe.head.name:
        return []
    what = f"the run that it starts from has the head {found}, not {recipe.head.name}."
    return [Problem("head.take_over", what, "Choose the same head, or switch it off.")]


def _check_lasting(parts: Parts) -> list[Problem]:
    """Say that of pretraining only the backbone lasts."""
    if TASKS[parts.head.task].label != "none" or not parts.strategy.keeps_backbone(parts.strategy_options):
        return []
    what = (
        f"{parts.strategy.title} leaves the backbone as it is, and what the head learns without labels does not last."
    )
    return [Problem("strategy.name", what, "Choose a strategy under which the backbone learns, such as full.")]


def _check_augmentation(parts: Parts, options: TrainingOptions) -> list[Problem]:
    """Say that samples cannot be varied so."""
    possible = parts.backbone.augmentations(parts.head.requires)
    if options.augmentation in possible or caches_features(parts):
        return []
    items = MODALITIES[parts.backbone.modality].items
    what = f"{items} cannot be varied by {options.augmentation} with {parts.backbone.title} and {parts.head.title}."
    return [Problem("training.augmentation", what, f"Choose {' or '.join(possible)}.")]


def _check_views(parts: Parts, options: TrainingOptions) -> list[Problem]:
    """Say that views of images and sounds differ only where these are varied; of texts, dropout makes them differ.

    Views of one item alone are told from nothing, unless a method knows others.
    """
    problems = []
    if parts.head.views > 1 and options.batch_size == 1 and not parts.methods:
        what = f"{parts.head.title} tells views of an item from those of others in its batch, and there are none."
        problems.append(Problem("training.batch_size", what, "Set it to 8 or more."))
    varied = options.augmentation != "none" or parts.backbone.modality not in ("image", "audio")
    if parts.head.views > 1 and not varied:
        what = f"{parts.head.title} compares views of a sample, and without augmentation they are all the same."
        problems.append(Problem("training.augmentation", what, "Set it to contrastive or strong."))
    return problems


def _check_monitor(parts: Parts, target: TargetInfo, options: TrainingOptions) -> None:
    if not options.monitor:
        return
    shape = parts.backbone.info().shape
    with random_state_aside():
        try:
            head = parts.head.build(shape, target, parts.head_options)
        except TLStudioError:
            return  # told where it belongs
    monitored(head, options)


def _build(parts: Parts, target: TargetInfo | None) -> None:
    """Build what a run builds; without a target, the backbone alone."""
    with random_state_aside():
        try:
            backbone = parts.backbone.load(parts.backbone_options)
            preprocessor_of(parts)
            if target is not None:
                build_model(parts, backbone, target)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise  # memory may be there again when the run begins; if not, it says what to do
