"""Heads that weigh several kinds of features against each other. Light: torch is imported when a head is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be
from tlstudio_heads.heads import ClassificationOptions, check_classes

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["GatedFusion"]


class GatedFusionOptions(ClassificationOptions):
    """Options of the head with gates."""

    hidden: int = option(
        256,
        title="Fused features",
        help="Width of what the image and the text are brought to before they are weighed against each other.",
        ge=1,
        le=16_384,
        advanced=True,
    )


class GatedFusion(TaskHead):
    """One class out of several, from features that are weighed by a gated multimodal unit."""

    name = "gated_fusion"
    title = "Gated fusion"
    description = (
        "Gives each sample one class out of several, and learns for each sample how much its image counts and how much "
        "its text. Choose it where now the one and now the other tells the class."
    )
    source = "Arevalo et al. 2017, arXiv:1702.01992"
    task: Task = "classification"
    requires: FeatureKind = "parts"
    Options = GatedFusionOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.fusion_modules import GatedFusionModule

        chosen = as_options(GatedFusionOptions, options)
        must_be(self, target)
        check_classes(target)
        if len(features.parts) < 2:
            raise DataError(
                "Gated fusion weighs features of several kinds against each other, and this backbone gives one kind.",
                "Choose the head for classification, or a backbone of two: one for images and one for texts.",
                field="head",
            )
        return GatedFusionModule(
            features.parts,
            target,
            dropout=chosen.dropout,
            hidden=chosen.hidden,
            label_smoothing=chosen.label_smoothing,
            balanced=chosen.class_weights == "balanced",
        )
