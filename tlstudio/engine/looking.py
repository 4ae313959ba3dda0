"""What is said of the data before a run trains on it: what is left out, and what is learned otherwise than it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tlstudio.api import Preprocessor, Sample, item_words
from tlstudio.api.nn import TargetEncoder
from tlstudio.data.folds import classes_left_out
from tlstudio.data.revision import Revision
from tlstudio.engine.events import Note
from tlstudio.engine.recipe import Recipe

_LOOKED_AT = 2_000
"""Samples that are looked at; reading them all would keep a large run waiting."""


def notes_on_fold(recipe: Recipe, own: Revision) -> list[Note]:
    """Say which classes are missing where a run over a fold learns, or validates.

    Args:
        recipe: Its recipe.
        own: The data that it learns from.
    """
    data = recipe.dataset
    lacking = classes_left_out({data.fold: own}, data.folds) if data.folds else []
    return [Note(sentence, "warning") for sentence in lacking]


def notes_on_data(
    revision: Revision, indices: np.ndarray, preprocessor: Preprocessor, encoder: TargetEncoder
) -> Iterator[Note]:
    """Look at the first training samples.

    Args:
        revision: The data.
        indices: Rows of the train split.
        preprocessor: That of the backbone.
        encoder: That of the head.

    Yields:
        Notes with counts: on samples that are longer than what the backbone takes, on what it says of them besides, and
        on labels that cannot be learned as they are.
    """
    looked_at = indices[:_LOOKED_AT]
    cut, remarks, misfits = 0, _Counted(), _Counted()
    for sample in revision.samples(looked_at):
        cut += bool(preprocessor.limit) and preprocessor.is_cut(sample)
        remarks.add(sample, preprocessor.remark(sample))
        misfits.add(sample, encoder.misfit(sample, preprocessor))
    of_them = f"of the {'' if len(looked_at) == len(indices) else 'first '}{len(looked_at):,}"
    of_them = f"{of_them} {item_words(revision.modality, revision.task).items} in train"
    if cut:
        taken = f"{preprocessor.limit} that the model takes"
        yield Note(f"{cut:,} {of_them} are longer than the {taken}: what comes after is left out.", "warning")
    if remarks.count:
        yield Note(f"Noticed in {remarks.count:,} {of_them}. The first: {remarks.first}")
    if misfits.count:
        said = f"The labels of {misfits.count:,} {of_them} cannot be learned as they are. The first: {misfits.first}"
        yield Note(said, "warning")


@dataclass
class _Counted:
    """What was said of samples: of how many, and of the first of them."""

    count: int = 0
    first: str = ""

    def add(self, sample: Sample, said: str) -> None:
        if said:
            self.count += 1
            self.first = self.first or f"{sample.id}: {said}"
