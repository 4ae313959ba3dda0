"""Metrics of anomaly scores. Importing this imports torchmetrics, which takes seconds."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, BinaryPrecision, BinaryRecall

from tlstudio_heads.metrics import AveragePrecision
from tlstudio_heads.recommendation_metrics import AreaUnderROC

__all__ = ["anomaly_metrics"]

RANKING = ("roc_auc", "average_precision")


def anomaly_metrics(threshold: float) -> MetricCollection:
    """Metrics of ``(scores [B, 1], 0 or 1 [B])``, equal to scikit-learn's with anomalies as the positive class.

    Those of the order of the scores are left out where all items are normal, or none is: they are not defined there.

    Args:
        threshold: What is above it was told an anomaly.
    """
    return _OfScores(threshold)


class _OfScores(MetricCollection):
    def __init__(self, threshold: float) -> None:
        told = {"accuracy": BinaryAccuracy, "f1": BinaryF1Score, "precision": BinaryPrecision, "recall": BinaryRecall}
        super().__init__(
            {
                "roc_auc": AreaUnderROC(),
                "average_precision": AveragePrecision(),
                **{name: kind(validate_args=False) for name, kind in told.items()},
            },
            compute_groups=False,
        )
        self._at = threshold

    def update(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as torchmetrics declares it
        """Add a batch of ``(output, target)``."""
        output, target = args
        scores = output.detach()[:, 0].to(torch.float32 if output.device.type == "mps" else torch.float64)
        for name, metric in self.items(copy_state=False):
            metric.update(scores if name in RANKING else (scores > self._at).int(), target.int())

    def compute(self) -> dict[str, Any]:
        """Return the metrics that are defined for what was added."""
        values = super().compute()
        ranked = self["roc_auc"]
        targets = ranked.collected()[1] if isinstance(ranked, AreaUnderROC) else torch.zeros(0)
        if targets.any() and not targets.all():
            return values
        return {name: value for name, value in values.items() if name not in RANKING}
