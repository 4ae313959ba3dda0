"""Deep CORAL: features of source and target get the same covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import option, options_as
from tlstudio_methods.domains import (
    HOW_TO_MEASURE,
    Alignment,
    AlignmentOptions,
    Schedule,
    schedule_option,
    strength_option,
)

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["Coral", "CoralOptions"]


class CoralOptions(AlignmentOptions):
    """Options of Deep CORAL."""

    strength: float = strength_option(
        1.0,
        "Weight of the distance of covariances beside the loss. Good where both losses are alike in the end: of wide "
        "features, whose distance is divided by their width squared, that takes a large one.",
    )
    schedule: Schedule = schedule_option("constant")
    layers: Literal["outputs", "features", "both"] = option(
        "outputs",
        title="What is aligned",
        help="Outputs of the head as in the paper, the pooled features below it, or both.",
    )


class Coral(Alignment):
    """Deep CORAL (Sun and Saenko 2016, arXiv:1607.01719).

    The paper aligns what its last layer gives, and chooses lambda so that both losses are roughly the same at the end.
    Source and target go through the network in one batch, as its two streams share all weights.
    """

    name = "coral"
    title = "Align covariances with a target (Deep CORAL)"
    description = (
        "Adapts to unlabelled data of another kind (another camera, another style): the model learns from the labels "
        "of the run's data, and what it computes gets the same covariance on the target. The simplest of its kind, "
        f"with little to set. {HOW_TO_MEASURE}"
    )
    source = "Sun & Saenko 2016, arXiv:1607.01719"
    Options = CoralOptions

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the loss."""
        from tlstudio_methods.adaptation_module import AlignmentModule
        from tlstudio_methods.distances import coral_distance

        chosen = options_as(CoralOptions, options)
        return AlignmentModule(
            context,
            strength=chosen.strength,
            schedule=chosen.schedule,
            layers=chosen.layers,
            distance=coral_distance,
            name="coral_loss",
        )
