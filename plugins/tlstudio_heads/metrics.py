"""Metrics of the heads, equal to scikit-learn's. Importing this imports torchmetrics, which takes seconds.

All are updated with raw outputs and encoded targets, and always give a finite number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)
from torchmetrics.utilities import dim_zero_cat

__all__ = ["classification_metrics", "multi_label_metrics", "regression_metrics"]


def classification_metrics(num_classes: int) -> MetricCollection:
    """Metrics of ``(logits [B, K], class indices [B])``.

    The macro averages are those of ``f1_score(y, p, average="macro", zero_division=0)`` and the like: the mean over
    the classes that occur among the labels or the predictions; a class of the data set that a split lacks and that
    is never predicted does not count. ``balanced_accuracy`` is the mean recall of the classes among the labels.
    """
    macro: dict[str, Any] = {"num_classes": num_classes, "average": "macro", "validate_args": False}
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes=num_classes, average="micro", validate_args=False),
            "balanced_accuracy": BalancedAccuracy(num_classes=num_classes, validate_args=False),
            "f1_macro": MulticlassF1Score(**macro),
            "precision_macro": MulticlassPrecision(**macro),
            "recall_macro": MulticlassRecall(**macro),
        }
    )


def multi_label_metrics(num_labels: int, threshold: float) -> MetricCollection:
    """Metrics of ``(logits [B, K], 0/1 targets [B, K])``.

    As scikit-learn with ``zero_division=0`` on indicator matrices: every label counts, one that a split lacks with 0.
    ``accuracy`` is the share of samples with exactly the right set of labels.
    """
    common: dict[str, Any] = {"num_labels": num_labels, "threshold": threshold, "validate_args": False}
    return _OnProbabilities(
        {
            "accuracy": MultilabelExactMatch(**common),
            "f1_macro": MultilabelF1Score(average="macro", **common),
            "f1_micro": MultilabelF1Score(average="micro", **common),
            "precision_macro": MultilabelPrecision(average="macro", **common),
            "recall_macro": MultilabelRecall(average="macro", **common),
            "average_precision_macro": MacroAveragePrecision(),
        }
    )


def regression_metrics(mean: float, std: float) -> MetricCollection:
    """Metrics of ``(outputs [B, 1], targets [B])``, both standardised, in the unit of the labels.

    Args:
        mean: Mean by which targets were standardised.
        std: Standard deviation by which they were standardised.
    """
    return _InUnits(
        {
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False),
            "r2": R2(),
            "spearman": Spearman(),
        },
        mean=mean,
        std=std,
    )


class _OnProbabilities(MetricCollection):
    # torchmetrics guesses from each batch whether it was given logits; a batch whose logits all lie in 0..1 fools it.
    def update(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as torchmetrics declares it
        output, target = args
        super().update(output.detach().float().sigmoid(), target.int())


class _InUnits(MetricCollection):
    def __init__(self, metrics: dict[str, Metric | MetricCollection], *, mean: float, std: float) -> None:
        super().__init__(metrics)
        self._mean = mean
        self._std = std

    def update(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as torchmetrics declares it
        output, target = args
        # float64 keeps values such as years or prices, whose mean is large beside their spread.
        wide = torch.float32 if output.device.type == "mps" else torch.float64
        value = output.detach().to(wide).squeeze(1) * self._std + self._mean
        super().update(value, target.to(wide) * self._std + self._mean)


class BalancedAccuracy(MulticlassConfusionMatrix):
    """Mean recall of the classes among the labels, as ``sklearn.metrics.balanced_accuracy_score``."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the mean of the recalls, a scalar; 0 if there is no sample."""
        counts = super().compute().double()
        support = counts.sum(dim=1)
        there = support > 0
        if not there.any():
            return counts.new_zeros(()).float()
        return (counts.diagonal()[there] / support[there]).mean().float()


class Collected(Metric):
    """Keeps all outputs and targets, for metrics that are no sums over samples."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("outputs", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.outputs.append(output.detach())
        self.targets.append(target.detach())

    def collected(self) -> tuple[Tensor, Tensor]:
        """Return all outputs and all targets."""
        return dim_zero_cat(self.outputs), dim_zero_cat(self.targets)


class MacroAveragePrecision(Collected):
    """Mean over the labels of the area under the precision-recall steps, as scikit-learn's."""

    def compute(self) -> Tensor:
        """Return the mean average precision, a scalar; a label without positives counts 0, as in scikit-learn."""
        scores, targets = self.collected()
        return torch.stack([_average_precision(s, t) for s, t in zip(scores.T, targets.T, strict=True)]).mean().float()


class AveragePrecision(Collected):
    """Area under the precision-recall steps, as ``sklearn.metrics.average_precision_score``."""

    def compute(self) -> Tensor:
        """Return the average precision, a scalar; 0 where nothing is positive."""
        return _average_precision(*self.collected()).float()


class R2(Collected):
    """Coefficient of determination, as ``sklearn.metrics.r2_score``."""

    def compute(self) -> Tensor:
        """Return R2, a scalar; where all targets are equal (or single): 1 if all are met exactly, else 0."""
        values, targets = self.collected()
        residual = (targets - values).square().sum()
        total = (targets - targets.mean()).square().sum()
        if total > 0:
            return (1.0 - residual / total).float()
        return (residual == 0).float()


class Spearman(Collected):
    """Spearman's rank correlation with mean ranks for ties, as ``scipy.stats.spearmanr``."""

    def compute(self) -> Tensor:
        """Return the correlation, a scalar in -1..1; 0 where one side is constant and it is undefined."""
        values, targets = (ranks(side) for side in self.collected())
        values, targets = values - values.mean(), targets - targets.mean()
        norm = (values.square().sum() * targets.square().sum()).sqrt()
        return ((values * targets).sum() / norm).float() if norm > 0 else norm.float()


def _average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    wide = torch.float32 if scores.device.type == "mps" else torch.float64
    order = scores.argsort(descending=True)
    ordered, hits = scores[order], targets[order].to(wide).cumsum(0)
    if hits[-1] == 0:
        return hits.new_zeros(())
    # Equal scores are one step: only the last of them is a point of the curve.
    last = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)])
    rank = torch.arange(1, len(ordered) + 1, device=scores.device, dtype=wide)[last]
    hits = hits[last]
    precision, recall = hits / rank, hits / hits[-1]
    return (recall.diff(prepend=recall.new_zeros(1)) * precision).sum()


def ranks(values: Tensor) -> Tensor:
    """Ranks of values from 1; equal values have the mean of theirs."""
    ordered = values.sort().values
    first = torch.searchsorted(ordered, values, right=False)
    last = torch.searchsorted(ordered, values, right=True)
    return (first + last + 1).to(values.dtype) / 2
