"""Comparing two views of each item as torch modules. Imported only when a head is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import Features, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, TargetEncoder

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["ContrastiveModule", "NoLabels", "groups_of", "nt_xent", "similarities"]

MEASURED_TOGETHER = 256
"""Items that are compared with each other where a split is measured."""


class NoLabels(TargetEncoder):
    """Where nothing of the labels is learned."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return an empty row for each item, ``[B, 0]``."""
        return torch.empty(len(labels), 0)


def similarities(views: Tensor, temperature: float) -> Tensor:
    """Cosine similarity of each view to each other, divided by the temperature; -inf to itself.

    Args:
        views: ``[B, 2, D]``.
        temperature: What similarities are divided by.

    Returns:
        ``[2 B, 2 B]``, the two views of an item side by side.
    """
    unit = F.normalize(views.float(), dim=-1).flatten(0, 1)
    found = unit @ unit.T / temperature
    to_itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    others: Tensor = found.masked_fill(to_itself, -math.inf)
    return others


def nt_xent(views: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, eq. 1): which of all views is that of the item?

    Args:
        views: ``[B, 2, D]``.
        temperature: What similarities are divided by.

    Returns:
        Mean over the two views of each item, ``[B]``.
    """
    others = torch.arange(2 * len(views), device=views.device) ^ 1
    losses = F.cross_entropy(similarities(views, temperature), others, reduction="none")
    of_items: Tensor = losses.unflatten(0, (-1, 2)).mean(dim=1)
    return of_items


def groups_of(views: Tensor) -> Sequence[Tensor]:
    """Cut a split into groups of almost the same size: the more views are compared, the larger is the loss."""
    return views.tensor_split(max(1, math.ceil(len(views) / MEASURED_TOGETHER)))


class ContrastiveModule(HeadModule):
    """A projection by an MLP with one hidden layer, in which views are compared.

    While it learns, each view is compared with all others of its batch. A split is measured in groups of up to
    `MEASURED_TOGETHER` items, in the order of the data, whatever the size of batches is.

    Args:
        num_features: Width D of the features.
        target: What is learned: nothing of labels.
        hidden: Width of the hidden layer.
        dimensions: Numbers of a projection.
        temperature: What similarities are divided by.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("contrastive_accuracy", "max")
    views: ClassVar[int] = 2

    def __init__(
        self, num_features: int, target: TargetInfo, *, hidden: int, dimensions: int, temperature: float
    ) -> None:
        super().__init__()
        self.target = target
        self.temperature = temperature
        self.projection = nn.Sequential(
            nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, dimensions, bias=False)
        )

    def forward(self, features: Features) -> Tensor:
        """Compute projections ``[2 B, K]`` of pooled features ``[2 B, D]``."""
        projected: Tensor = self.projection(features.require("pooled"))
        return projected

    def encoder(self) -> TargetEncoder:
        """Return what leaves labels aside."""
        return NoLabels()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """NT-Xent of each item, ``[B]``, from projections ``[B, 2, K]``."""
        groups = [output] if self.training else groups_of(output)
        return torch.cat([nt_xent(group, self.temperature) for group in groups])

    def metrics(self) -> MetricCollection:
        """Return how often a view is more similar to the other one of its item than to any else."""
        from tlstudio_heads.contrastive_metrics import contrastive_metrics

        return contrastive_metrics()

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Say nothing of any sample."""
        return [Prediction(None)] * len(output)
