"""Figures of a revision as arrays, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tlstudio.api import SPLITS, Split
from tlstudio.data.revision import Revision

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassHistogram:
    """Samples of each class by split.

    Attributes:
        classes: Class names; `C` of them, none for regression.
        counts: Number of samples of each class ``[C]`` by split.
    """

    classes: tuple[str, ...]
    counts: dict[Split, Counts]

    @property
    def total(self) -> Counts:
        """Samples of each class in all splits ``[C]``."""
        total: Counts = np.stack([self.counts[split] for split in SPLITS]).sum(axis=0)
        return total


def class_histogram(revision: Revision) -> ClassHistogram:
    """Count the samples of each class by split."""
    counts = revision.class_counts()
    return ClassHistogram(
        revision.classes,
        {split: np.array([counts[split][name] for name in revision.classes], dtype=np.int64) for split in SPLITS},
    )


def image_sizes(revision: Revision) -> tuple[Counts, Counts]:
    """Return widths and heights in pixels ``[N]``; empty where there are no images."""
    if revision.modality not in ("image", "image+text"):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    width, height = (revision.table.column(name).to_numpy().astype(np.int64) for name in ("width", "height"))
    return width, height


def text_lengths(revision: Revision) -> Counts:
    """Return the lengths of the texts in characters ``[N]``; empty where there are none."""
    if revision.modality not in ("text", "image+text"):
        return np.zeros(0, dtype=np.int64)
    lengths: Counts = pc.utf8_length(revision.table.column("text")).to_numpy().astype(np.int64)
    return lengths


def sound_lengths(revision: Revision) -> npt.NDArray[np.float64]:
    """Return the lengths of the sounds in seconds ``[N]``; empty for all else."""
    if revision.modality != "audio":
        return np.zeros(0)
    return revision.table.column("seconds").to_numpy().astype(np.float64)


def sound_peaks(revision: Revision) -> npt.NDArray[np.float64]:
    """Return the largest sample of each sound, in 0..1 ``[N]``; empty for all else."""
    if revision.modality != "audio":
        return np.zeros(0)
    return revision.table.column("peak").to_numpy().astype(np.float64)


def target_values(revision: Revision) -> dict[Split, npt.NDArray[np.float64]]:
    """Return the regression targets by split; empty arrays for the other tasks."""
    values = revision.values()
    return {
        split: values[revision.indices(split)] if revision.label_kind == "number" else np.zeros(0) for split in SPLITS
    }
