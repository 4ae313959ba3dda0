"""Learning from a few samples of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlstudio.api import DataError
from tlstudio.data.splits import Codes

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision


def rows_left_aside(revision: Revision, shots: int, seed: int) -> Codes:
    """The rows of the train split that are not drawn; see `Revision.few`."""
    if revision.label_kind != "name":
        what = f"A number of samples for each class needs data with one class each, which '{revision.dataset}' is not."
        raise DataError(what, "Leave dataset.shots at 0.", field="dataset.shots")
    train = revision.indices("train")
    names = np.asarray(revision.labels(train), dtype=object)
    short = {name: int((names == name).sum()) for name in revision.classes}
    short = {name: count for name, count in short.items() if count < shots}
    if short:
        told = ", ".join(f"'{name}' has {count}" for name, count in list(short.items())[:5])
        more = f" and {len(short) - 5} more classes have too few" if len(short) > 5 else ""
        raise DataError(
            f"There are not {shots} samples of each class in the train split of '{revision.dataset}': {told}{more}.",
            f"Set dataset.shots to {min(short.values())} or less, or import more data."
            if min(short.values())
            else "Leave dataset.shots at 0, or import the data with other splits.",
            field="dataset.shots",
        )
    rng = np.random.default_rng(seed)
    taken = [rng.permutation(train[names == name])[:shots] for name in revision.classes]
    return np.setdiff1d(train, np.concatenate(taken))
