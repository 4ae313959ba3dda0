"""Telling that samples are longer than a backbone takes: once, with how many."""

from __future__ import annotations

import numpy as np

from tlstudio.api import MODALITIES, DataError, Preprocessor
from tlstudio.data.revision import Revision

LOOKED_AT = 1000
"""Samples that are looked at: enough for a share, and done in about a second."""


def told_too_long(revision: Revision, indices: np.ndarray, preprocessor: Preprocessor) -> str:
    """Say how many of some samples are cut; ``""`` where none is.

    Args:
        revision: The data.
        indices: Rows of the samples; of many, some spread evenly are looked at.
        preprocessor: Cuts them.
    """
    if type(preprocessor).too_long is Preprocessor.too_long:
        return ""
    looked_at = indices[:: max(1, -(-len(indices) // LOOKED_AT))]
    count = 0
    for sample in revision.samples(looked_at):
        try:
            count += preprocessor.too_long(sample)
        except DataError:
            continue  # it is told where it is used
    if not count:
        return ""
    items = MODALITIES[revision.modality].items
    looked = "looked at" if len(looked_at) < len(indices) else "to learn from"
    return (
        f"{count:,} of {len(looked_at):,} {items} {looked} {'is' if count == 1 else 'are'} longer than the backbone "
        "takes as it is set: what is beyond is left out."
    )
