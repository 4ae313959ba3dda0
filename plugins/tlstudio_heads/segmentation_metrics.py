"""Metrics of masks against masks, by pixels of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from tlstudio.api import Mask, Prediction, Sample
from tlstudio.api.masks import pixel_confusion
from tlstudio.api.nn import LabelMetrics

__all__ = ["PixelMetrics"]


class PixelMetrics(LabelMetrics):
    """Overlap of classes over all pixels that were taken in, of which only counts are kept.

    ``mean_iou`` and ``mean_dice`` are scikit-learn's ``jaccard_score`` and ``f1_score`` with ``average="macro"``: the
    mean over the classes that occur in labels or predictions.

    Args:
        classes: The names, K of them.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {
        "mean_iou": "max",
        "mean_dice": "max",
        "pixel_accuracy": "max",
    }

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._counts = np.zeros((len(self._classes), len(self._classes)), dtype=np.int64)

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in predicted masks and those of the samples."""
        for prediction, sample in zip(predictions, samples, strict=True):
            if isinstance(prediction.value, Mask) and isinstance(sample.label, Mask):
                self._counts += pixel_confusion(sample.label, prediction.value, self._classes)

    def compute(self) -> dict[str, float]:
        """Return mean_iou, mean_dice and pixel_accuracy, in 0..1."""
        hits, either = np.diag(self._counts), self._counts.sum(axis=0) + self._counts.sum(axis=1)
        occurs = either > 0
        if not occurs.any():
            return {"mean_iou": 0.0, "mean_dice": 0.0, "pixel_accuracy": 0.0}
        hits, both = hits[occurs], either[occurs]
        return {
            "mean_iou": float((hits / (both - hits)).mean()),
            "mean_dice": float((2 * hits / both).mean()),
            "pixel_accuracy": float(hits.sum() / self._counts.sum()),
        }
