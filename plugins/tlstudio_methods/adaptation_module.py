"""What the methods of domain adaptation do while a run trains. Imported only when it is built."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from tlstudio.api.features import FeatureKind, Features
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep, rampup
from tlstudio.api.pooling import pool

__all__ = ["AdaptationModule", "AlignmentModule", "Layers", "exact", "one_vector"]

Layers = Literal["features", "outputs", "both"]


class AdaptationModule(MethodModule):
    """Adds a loss of a labelled batch, the source, and an unlabelled one, the target.

    Args:
        context: The run.
        strength: Lambda.
        schedule: How it changes, as `rampup` takes it.

    Attributes:
        kind: The kind of features that the head takes, which are compared.
    """

    def __init__(self, context: MethodContext, *, strength: float, schedule: str) -> None:
        super().__init__(context)
        self._strength = strength
        self._schedule = schedule
        self._now: dict[str, float | Tensor] = {}
        self.kind: FeatureKind = context.head.requires

    def extra_loss(self, step: TrainingStep) -> Tensor | None:
        """The loss of what the model has computed of both."""
        weight = self._strength * rampup(step.progress, self._schedule)
        self._now = {"lambda": weight}
        return self.compare(step.computed(), step.streams["target"].computed(), weight)

    @abstractmethod
    def compare(self, source: tuple[Features, Tensor], target: tuple[Features, Tensor], weight: float) -> Tensor:
        """Return the weighted loss of features and raw outputs of source and target; tell numbers by `tell`."""

    def tell(self, **numbers: Tensor) -> None:
        """Keep numbers for the plots; underscores in their names are spaces."""
        self._now |= {name.replace("_", " "): number.detach() for name, number in numbers.items()}

    def quantities(self) -> Mapping[str, float]:
        """Lambda, and the numbers of the last batch."""
        return {name: float(number) for name, number in self._now.items()}


class AlignmentModule(AdaptationModule):
    """Adds a distance between the distributions of source and target, summed over layers.

    Args:
        context: The run.
        strength: Lambda.
        schedule: How it changes.
        layers: What is compared: pooled features, raw outputs of the head, or both.
        distance: Gives the distance of ``[n, D]`` and ``[m, D]``.
        name: What the distance is called in plots.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        strength: float,
        schedule: str,
        layers: Layers,
        distance: Callable[[Tensor, Tensor], Tensor],
        name: str,
    ) -> None:
        super().__init__(context, strength=strength, schedule=schedule)
        self._layers = layers
        self._distance = distance
        self._name = name

    def compare(self, source: tuple[Features, Tensor], target: tuple[Features, Tensor], weight: float) -> Tensor:
        """The weighted distance."""
        total = torch.zeros((), device=source[1].device)
        if self._layers != "outputs":
            total = total + self._distance(*(one_vector(features, self.kind) for features, _ in (source, target)))
        if self._layers != "features":
            total = total + self._distance(source[1].flatten(1), target[1].flatten(1))
        self.tell(**{self._name: total})
        return total * weight


def one_vector(features: Features, kind: FeatureKind) -> Tensor:
    """One vector a sample, ``[B, D]``, of what the head takes: pooled features, the mean of tokens or of a map."""
    values = features.require(kind)
    if kind == "tokens":
        real = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        return pool(values, real if features.mask is None else features.mask, "mean")
    return values.mean(dim=(2, 3)) if kind == "maps" else values


def exact(values: Tensor) -> Tensor:
    """Values in at least 32 bits: differences of nearly equal sums would be lost in fewer."""
    return values if values.dtype == torch.float64 else values.float()
