"""The head that gives each pixel a class. Light: torch is imported when a head is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import UNLABELLED, DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Segmentation"]


class SegmentationOptions(Options):
    """Options of the segmentation head."""

    loss: Literal["cross_entropy", "cross_entropy+dice"] = option(
        "cross_entropy",
        title="Loss",
        help="Cross-entropy looks at each pixel. With Dice added, each class counts alike in an image however small it "
        "is: better for small or thin things.",
    )
    class_weights: Literal["none", "balanced"] = option(
        "none",
        title="Class weights",
        help="Balanced makes classes that few images show count more.",
    )
    width: int = option(
        64,
        title="Width",
        help="Channels of the layers of the head: more can tell more apart, and takes longer.",
        ge=8,
        le=512,
        advanced=True,
    )
    dropout: float = option(
        0.1,
        title="Dropout",
        help="Share of the channels that are left out at random while training; guards against learning by heart.",
        ge=0,
        lt=1,
        advanced=True,
    )


class Segmentation(TaskHead):
    """A class for each pixel, from a feature pyramid."""

    name = "segmentation"
    title = "Semantic segmentation"
    description = "Gives each pixel of an image a class, such as tissue, road or background."
    source = "Kirillov et al. 2019, arXiv:1901.02446; Milletari et al. 2016, arXiv:1606.04797"
    task: Task = "segmentation"
    requires: FeatureKind = "maps"
    Options = SegmentationOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.segmentation_modules import SegmentationModule

        chosen = as_options(SegmentationOptions, options)
        must_be(self, target)
        if not 2 <= len(target.classes) <= UNLABELLED:
            only = f" ({target.classes[0]!r})" if target.classes else ""
            raise DataError(
                f"Segmentation needs 2 to {UNLABELLED} classes, but the masks have {len(target.classes)}{only}.",
                "Import the background as a class too, or join classes.",
                field="dataset",
            )
        return SegmentationModule(
            features,
            target,
            width=chosen.width,
            dropout=chosen.dropout,
            dice=chosen.loss == "cross_entropy+dice",
            balanced=chosen.class_weights == "balanced",
        )
