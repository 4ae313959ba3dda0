"""Average precision of boxes. Importing this imports torchmetrics, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from tlstudio.api import Box, Prediction, Sample
from tlstudio.api.nn import LabelMetrics
from tlstudio_heads.detection_module import DetectedBoxes, boxes_of

__all__ = ["BoxMetrics"]


class BoxMetrics(LabelMetrics):
    """Average precision as COCO counts it (Lin et al. 2014, arXiv:1405.0312), computed by pycocotools.

    ``map`` is the mean over classes and over overlaps from 0.50 to 0.95, ``map_50`` and ``map_75`` that at one
    overlap, and ``ap(NAME)`` is ``map`` of one class. Classes that no image of the split has do not count.

    Args:
        classes: The names, in the order of the outputs.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {"map": "max", "map_50": "max", "map_75": "max"}

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._index = {name: number for number, name in enumerate(self._classes)}
        # In 64 bits, as pycocotools has them: rounded to 32, a recall of exactly 0.3 is below the threshold.
        self._precision = MeanAveragePrecision(
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0.0, 1.0, 101).tolist(),
            class_metrics=True,
        )
        self._precision.warn_on_many_detections = False

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in predicted boxes and those of the samples."""
        found = [
            list(prediction.candidates) if isinstance(prediction, DetectedBoxes) else boxes_of(prediction.value)
            for prediction in predictions
        ]
        scores = [{"scores": torch.tensor([box.score for box in boxes])} for boxes in found]
        given = [{**self._tensors(boxes), **score} for boxes, score in zip(found, scores, strict=True)]
        self._precision.update(given, [self._tensors(boxes_of(sample.label)) for sample in samples])

    def compute(self) -> dict[str, float]:
        """Return map, map_50, map_75 and the average precision of each class, in 0..1."""
        values = self._precision.compute()
        result = {name: max(0.0, float(values[name])) for name in ("map", "map_50", "map_75")}
        each = zip(values["classes"].reshape(-1).tolist(), values["map_per_class"].reshape(-1).tolist(), strict=False)
        return result | {f"ap({self._classes[number]})": value for number, value in sorted(each) if value >= 0}

    def _tensors(self, boxes: Sequence[Box]) -> dict[str, Tensor]:
        edges = [(box.left, box.top, box.right, box.bottom) for box in boxes]
        numbers = [self._index[box.name] for box in boxes]
        return {
            "boxes": torch.tensor(edges, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(numbers, dtype=torch.int64),
        }
