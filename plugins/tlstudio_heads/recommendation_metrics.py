"""Metrics of recommendations. Importing this imports torchmetrics, which takes seconds.

All are updated with raw outputs (scores and numbers of users) and encoded targets, and always give a finite number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from tlstudio_heads.metrics import AveragePrecision, Collected, Spearman, ranks

__all__ = ["choice_metrics", "ndcg_by_user", "rating_metrics"]

TOP = 10
"""So many items of each user are looked at."""


def rating_metrics(mean: float, std: float) -> MetricCollection:
    """Metrics of ``([scores, users] [B, 2], standardised ratings [B])``, in the unit of the ratings."""
    parts = {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False), "spearman": Spearman()}
    return _OfUsers({**parts, "ndcg_at_10": UserNDCG()}, mean, std)


def choice_metrics() -> MetricCollection:
    """Metrics of ``([scores, users] [B, 2], 0/1 [B])``."""
    return _OfUsers({"roc_auc": AreaUnderROC(), "average_precision": AveragePrecision(), "ndcg_at_10": UserNDCG()})


def ndcg_by_user(
    scores: npt.NDArray[np.float64], relevance: npt.NDArray[np.float64], users: npt.NDArray[np.int64], top: int = TOP
) -> npt.NDArray[np.float64]:
    """NDCG of each user's items, as ``sklearn.metrics.ndcg_score`` for each user by itself.

    Items of equal scores share what their places are worth, so that the order of the data tells nothing. Users all of
    whose items are as relevant are left out: no order of them can be wrong.

    Args:
        scores: Scores ``[N]``.
        relevance: How relevant each is, 0 or above, ``[N]``.
        users: Whose they are, ``[N]``.
        top: So many items of each user count.

    Returns:
        One value for each user that is not left out.
    """
    names, which = np.unique(users, return_inverse=True)
    gained, ideal = (_discounted(order, relevance, which, len(names), top) for order in (scores, relevance))
    highest, lowest = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    np.maximum.at(highest, which, relevance)
    np.minimum.at(lowest, which, relevance)
    counted = highest > lowest
    share: npt.NDArray[np.float64] = gained[counted] / ideal[counted]
    return share


def _discounted(
    key: npt.NDArray[np.float64], gain: npt.NDArray[np.float64], which: npt.NDArray[np.intp], count: int, top: int
) -> npt.NDArray[np.float64]:
    """Discounted cumulative gain of each user's items in the order of a key, highest first."""
    order = np.lexsort((-key, which))
    ordered = which[order]
    begins = np.diff(ordered, prepend=-1).astype(bool) | np.diff(key[order], prepend=np.nan).astype(bool)
    alike = np.cumsum(begins) - 1
    gain = (np.bincount(alike, gain[order]) / np.bincount(alike))[alike]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
    shown = place < top
    weights = gain[shown] / np.log2(place[shown] + 2)
    return np.bincount(ordered[shown], weights, minlength=count).astype(np.float64)


class _OfUsers(MetricCollection):
    """Tells metrics the values in their unit, and the users to those that ask for them."""

    def __init__(self, metrics: dict[str, Any], mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(metrics)
        self._mean = mean
        self._std = std

    def update(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as it is declared
        """Add a batch of ``(output, target)``."""
        output, target = args
        wide = torch.float32 if output.device.type == "mps" else torch.float64
        values, wanted = (part.detach().to(wide) * self._std + self._mean for part in (output[:, 0], target))
        super().update(values, wanted, users=output[:, 1].detach().long())


class AreaUnderROC(Collected):
    """How often what was chosen stands before what was not, as ``sklearn.metrics.roc_auc_score``."""

    def compute(self) -> Tensor:
        """Return the area, a scalar in 0..1; 0.5 where one of the two is missing."""
        values, targets = self.collected()
        chosen = targets > 0.5
        ones, zeros = int(chosen.sum()), int((~chosen).sum())
        if not ones or not zeros:
            return values.new_tensor(0.5).float()
        return ((ranks(values)[chosen].sum() - ones * (ones + 1) / 2) / (ones * zeros)).float()


class UserNDCG(Collected):
    """Mean over the known users of the NDCG of the first 10 of their items; relevant is what is above the lowest."""

    users: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("users", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Tensor, users: Tensor | None = None) -> None:
        """Add a batch; without users, all of it is of one."""
        super().update(output, target)
        self.users.append(torch.ones_like(output, dtype=torch.int64) if users is None else users)

    def compute(self) -> Tensor:
        """Return the mean, a scalar in 0..1; 0 where no known user has items of which one is better."""
        values, targets = (part.double().cpu().numpy() for part in self.collected())
        users = dim_zero_cat(self.users).cpu().numpy()
        known = users > 0
        if not known.any():
            return torch.zeros(())
        relevance = targets[known] - targets.min()
        each = ndcg_by_user(values[known], relevance, users[known])
        return torch.tensor(float(each.mean()) if len(each) else 0.0)
