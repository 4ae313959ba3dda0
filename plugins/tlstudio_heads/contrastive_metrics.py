"""How well two views of an item are found among others. Importing this imports torchmetrics, which takes seconds."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from tlstudio_heads.contrastive_module import groups_of, similarities

__all__ = ["contrastive_metrics"]


def contrastive_metrics() -> MetricCollection:
    """Metric of ``(projections [B, 2, K], nothing)``."""
    return MetricCollection({"contrastive_accuracy": ContrastiveAccuracy()})


class ContrastiveAccuracy(Metric):
    """Share of views that are most similar to the other one of their item, among all views of its group."""

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    views: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("hits", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("views", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in all of a split."""
        for group in groups_of(output):
            nearest = similarities(group, 1.0).argmax(dim=1)
            self.hits += (nearest == torch.arange(len(nearest), device=nearest.device) ^ 1).sum()
            self.views += len(nearest)

    def compute(self) -> Tensor:
        """Return the share; 0 of nothing."""
        return self.hits / self.views.clamp(min=1)
