"""What is said of the data before a run trains on it: what is left out, and what is learned otherwise than it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlstudio.api import MODALITIES, Preprocessor
from tlstudio.api.nn import TargetEncoder
from tlstudio.data.revision import Revision

_LOOKED_AT = 2_000
"""Samples that are looked at; reading them all would keep a large run waiting."""


def warnings_of_data(
    revision: Revision, indices: np.ndarray, preprocessor: Preprocessor, encoder: TargetEncoder
) -> Iterator[str]:
    """Look at the first training samples.

    Args:
        revision: The data.
        indices: Rows of the train split.
        preprocessor: That of the backbone.
        encoder: That of the head.

    Yields:
        Sentences with counts: on samples that are longer than what the backbone takes, and on labels that cannot be
        learned as they are.
    """
    looked_at = indices[:_LOOKED_AT]
    cut, misfits, first = 0, 0, ""
    for sample in revision.samples(looked_at):
        cut += bool(preprocessor.limit) and preprocessor.is_cut(sample)
        misfit = encoder.misfit(sample, preprocessor)
        if misfit:
            misfits += 1
            first = first or f"{sample.id}: {misfit}"
    of_them = f"of the {'' if len(looked_at) == len(indices) else 'first '}{len(looked_at):,}"
    of_them = f"{of_them} {MODALITIES[revision.modality].items} in train"
    if cut:
        yield (
            f"{cut:,} {of_them} are longer than the {preprocessor.limit} that the model takes: what comes after is "
            "left out."
        )
    if misfits:
        yield f"The labels of {misfits:,} {of_them} cannot be learned as they are. The first: {first}"
