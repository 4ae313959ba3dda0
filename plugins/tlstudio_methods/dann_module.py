"""The discriminator of domain-adversarial training. Imported only when it is built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api.features import Features
from tlstudio.api.method_modules import MethodContext
from tlstudio_methods.adaptation_module import AdaptationModule, exact, one_vector

__all__ = ["DannModule", "reverse_gradient"]


class _Reversal(torch.autograd.Function):
    """Changes nothing on the way forward, and sign and size of the gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: float) -> Tensor:  # noqa: ANN401  as torch declares it
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401  as torch declares it
        return -ctx.weight * gradients[0], None


def reverse_gradient(values: Tensor, weight: float) -> Tensor:
    """Return the same values; the gradient that goes back through them is multiplied by minus the weight."""
    reversed_: Tensor = _Reversal.apply(values, weight)
    return reversed_


class DannModule(AdaptationModule):
    """Adds the discriminator's cross-entropy, the mean over source plus that over target (Ganin et al. 2016, eq. 9).

    The discriminator itself learns from all of it; lambda weighs what reaches the backbone.

    Args:
        context: The run.
        strength: Largest lambda.
        schedule: How lambda changes.
        hidden: Width of the discriminator's hidden layers.
    """

    def __init__(self, context: MethodContext, *, strength: float, schedule: str, hidden: int) -> None:
        super().__init__(context, strength=strength, schedule=schedule)
        shape = context.features
        width = shape.map_channels[-1] if self.kind == "maps" else shape.num_features
        self.discriminator = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def compare(self, source: tuple[Features, Tensor], target: tuple[Features, Tensor], weight: float) -> Tensor:
        """The discriminator's loss, whose gradient is reversed for the features."""
        of_source, of_target = (one_vector(features, self.kind) for features, _ in (source, target))
        features = reverse_gradient(torch.cat([of_source, of_target]), weight)
        logits = exact(self.discriminator(features)).squeeze(1)
        on_source, on_target = logits.split([len(of_source), len(of_target)])
        loss = F.softplus(-on_source).mean() + F.softplus(on_target).mean()  # logits say how likely it is the source
        accuracy = ((on_source > 0).float().mean() + (on_target <= 0).float().mean()) / 2
        self.tell(domain_loss=loss, domain_accuracy=accuracy)
        return loss
