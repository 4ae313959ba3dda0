"""Where what a run holds out is met elsewhere: in data sets of its methods, and in what earlier runs have learned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import numpy as np

from tlstudio.api import DataError, TLStudioError
from tlstudio.data.overlap import in_common
from tlstudio.data.revision import Revision
from tlstudio.engine.events import Note
from tlstudio.engine.method_building import dataset_beside, held_out, run_beside
from tlstudio.engine.methods import ChosenMethod
from tlstudio.engine.recipe import Recipe, learned_from, parse_recipe
from tlstudio.engine.source import find_source, runs_beside
from tlstudio.engine.used_data import check_unchanged, recorded_data


def notes_on_overlaps(recipe: Recipe, methods: Sequence[ChosenMethod], own: Revision) -> list[Note]:
    """Say both of a run.

    Args:
        recipe: Its recipe.
        methods: Its methods.
        own: The data that it learns from.
    """
    warnings = [Note(sentence, "warning") for sentence in seen_before(recipe, methods, own)]
    return [*warnings, *map(Note, left_out(methods, own))]


def left_out(methods: Iterable[ChosenMethod], own: Revision) -> list[str]:
    """Say how many samples of other data sets a run leaves out because it validates or tests them.

    Args:
        methods: Its methods.
        own: The data that it learns from.
    """
    found = []
    for one in methods:
        for stream in one.streams().values():
            if not stream.dataset:
                continue
            if count := int(held_out(stream, dataset_beside(own, stream.dataset), own).sum()):
                what = f"{count:,} of the samples of '{stream.dataset}' are validated or tested by this run"
                found.append(f"{what}: {one.method.title} leaves them out.")
    return found


def seen_before(recipe: Recipe, methods: Iterable[ChosenMethod], own: Revision) -> list[str]:
    """Say how much of what a run validates or tests earlier runs have learned from that it starts from or learns from.

    Args:
        recipe: Its recipe.
        methods: Its methods.
        own: The data that it learns from.
    """
    named = [recipe.backbone.start_from]
    named += [run for one in methods for run in one.method.models(one.options).values()]
    earlier: dict[str, None] = {}
    for source in filter(None, named):
        with contextlib.suppress(TLStudioError):  # told where it is loaded
            earlier |= dict.fromkeys(one.run for one in find_source(source, runs_beside(own)).lineage())
    held = np.concatenate([own.indices("validation"), own.indices("test")])
    found = []
    for run_id in earlier:
        with contextlib.suppress(TLStudioError):  # the run is gone
            run = run_beside(own, run_id).run
            before = parse_recipe(run.read_recipe())
            try:
                data = dataset_beside(own, before.dataset.reference)
                check_unchanged(data, recorded_data(run))
            except DataError:
                what = f"Whether run {run_id} has learned from samples that this run validates or tests cannot be told"
                found.append(f"{what}: its data set is gone or another one now.")
                continue
            data = learned_from(before, data)
            if data.label_kind != "none" and (count := int(in_common(own, held, data, data.indices("train")).sum())):
                what = f"Run {run_id} has learned from {count:,} of the {len(held):,} samples that this run validates"
                found.append(f"{what} or tests: it will look better than it is.")
    return found
