"""Domain-adversarial training: features from which source and target cannot be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import option, options_as
from tlstudio_methods.domains import (
    HOW_TO_MEASURE,
    Adaptation,
    AdaptationOptions,
    Schedule,
    schedule_option,
    strength_option,
)

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["Dann", "DannOptions"]


class DannOptions(AdaptationOptions):
    """Options of DANN."""

    strength: float = strength_option(1.0, "By how much the reversed gradient of the discriminator is scaled.")
    schedule: Schedule = schedule_option("sigmoid")
    hidden: int = option(
        1024,
        title="Discriminator's width",
        help="Width of the two hidden layers of the network that tells source from target.",
        ge=1,
        le=16_384,
        advanced=True,
    )


class Dann(Adaptation):
    """Gradient reversal (Ganin et al. 2016, arXiv:1505.07818).

    A discriminator learns to tell source from target by their features; its gradient is reversed and scaled by lambda
    where it reaches the backbone, and lambda rises as ``2 / (1 + exp(-10 p)) - 1`` (section 5.2.2).
    """

    name = "dann"
    title = "Indistinguishable from a target (DANN)"
    description = (
        "Adapts to unlabelled data of another kind: the model learns features from which a second network cannot tell "
        "whether they are of the run's data or of the target. Can bridge more than Deep CORAL or MMD, and is harder "
        "to train: when the discriminator's accuracy falls towards 0.5, the two have become alike. "
        f"{HOW_TO_MEASURE}"
    )
    source = "Ganin et al. 2016, arXiv:1505.07818"
    least = 1
    Options = DannOptions

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the discriminator."""
        from tlstudio_methods.dann_module import DannModule

        chosen = options_as(DannOptions, options)
        return DannModule(context, strength=chosen.strength, schedule=chosen.schedule, hidden=chosen.hidden)
