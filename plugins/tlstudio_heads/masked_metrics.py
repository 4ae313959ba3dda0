"""How well hidden columns of rows are restored. Importing this imports torchmetrics, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from tlstudio_heads.masked_modules import columns_of

__all__ = ["restored_metrics"]


def restored_metrics(restored: Sequence[int]) -> MetricCollection:
    """Metrics of ``(restored [B, P], hidden [B, C])``; only those of kinds of columns that there are.

    Args:
        restored: See `MaskedValuesModule`.
    """
    metrics: dict[str, Metric | MetricCollection] = {}
    if not restored or 1 in restored:  # not known yet, as long as the data have not been seen
        metrics["rmse"] = HiddenNumbers(restored)
    if not restored or max(restored) > 1:
        metrics["masked_accuracy"] = HiddenCategories(restored)
    return MetricCollection(metrics)


class _Hidden(Metric):
    """A mean over hidden columns.

    Args:
        restored: See `MaskedValuesModule`.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, restored: Sequence[int]) -> None:
        super().__init__()
        self._restored = tuple(restored)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in a batch."""
        for own, true in columns_of(output, target, self._restored):
            rows = ~true.isnan()
            values = self._values(own[rows], true[rows])
            if values is not None:
                self.total += values.float().sum()
                self.count += len(values)

    def _values(self, own: Tensor, true: Tensor) -> Tensor | None:
        """What is averaged ``[R]``, of what was restored ``[R, W]`` and what stood there; `None`: not of this kind."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """Return the mean; 0 of nothing."""
        return self.total / self.count.clamp(min=1)


class HiddenNumbers(_Hidden):
    """Root of the mean squared error of hidden numbers, in standard deviations of the training rows."""

    higher_is_better = False

    def _values(self, own: Tensor, true: Tensor) -> Tensor | None:
        return (own[:, 0] - true).square() if own.shape[1] == 1 else None

    def compute(self) -> Tensor:
        """Return the root."""
        return super().compute().sqrt()


class HiddenCategories(_Hidden):
    """Share of hidden categories that are the likeliest."""

    higher_is_better = True

    def _values(self, own: Tensor, true: Tensor) -> Tensor | None:
        return own.argmax(dim=1) == true if own.shape[1] > 1 else None
