"""The head that finds things in images, on feature maps. Light: torch is imported when it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Detection", "DetectionOptions"]


class DetectionOptions(Options):
    """Options of the detection head."""

    threshold: float = option(
        0.5,
        title="Score threshold",
        help="A box is given where its score is at least this. Lower finds more and errs more; mAP does not depend on "
        "it.",
        ge=0,
        lt=1,
    )
    overlap: float = option(
        0.6,
        title="Overlap",
        help="Of two boxes of one class that overlap by more than this (intersection over union), only the one with "
        "the higher score is kept. Raise it for things that stand close together.",
        gt=0,
        le=1,
    )
    most: int = option(100, title="Most boxes", help="An image has at most this many boxes.", ge=1, le=100)
    width: int = option(
        128,
        title="Width",
        help="Channels of the head's own layers. The paper has 256, for large data sets and a graphics card.",
        ge=8,
        le=1024,
        advanced=True,
    )
    depth: int = option(
        2,
        title="Depth",
        help="Layers of the head before its outputs. The paper has 4.",
        ge=1,
        le=8,
        advanced=True,
    )


class Detection(TaskHead):
    """One box and one class for each thing: FCOS (Tian et al. 2019, arXiv:1904.01355) on a feature pyramid."""

    name = "detection"
    title = "Object detection"
    description = "Finds things in an image and draws a box around each, with its class and a score."
    source = "Tian et al. 2019, arXiv:1904.01355; Lin et al. 2017, arXiv:1612.03144"
    task: Task = "detection"
    requires: FeatureKind = "maps"
    Options = DetectionOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.detection_module import DetectionModule

        chosen = as_options(DetectionOptions, options)
        must_be(self, target)
        if not target.classes:
            raise DataError(
                "There is no box in any image, so there is nothing to learn.",
                "Draw boxes around what is to be found, and import the data again.",
                field="dataset",
            )
        return DetectionModule(
            features,
            target,
            threshold=chosen.threshold,
            overlap=chosen.overlap,
            most=chosen.most,
            width=chosen.width,
            depth=chosen.depth,
        )
