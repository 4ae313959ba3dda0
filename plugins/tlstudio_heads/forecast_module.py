"""The forecasting head as a torch module, its targets and its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import SCALE, DataError, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, LabelMetrics, TargetEncoder
from tlstudio_heads.modules import PooledHead

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["ForecastEncoder", "ForecastMetrics", "ForecastModule"]


class ForecastModule(PooledHead):
    """The next values, learned in the scale of each window.

    Args:
        num_features: Width D of the features.
        target: How many values, H.
        dropout: See `PooledHead`.
        hidden: See `PooledHead`.
        huber_delta: If given, the loss is Huber's (1964) with this delta in spreads of the window, else squared error.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("mae", "min")
    decodes_in_place: ClassVar[bool] = True

    def __init__(
        self, num_features: int, target: TargetInfo, *, dropout: float, hidden: int, huber_delta: float | None
    ) -> None:
        super().__init__(num_features, target.size, target, dropout=dropout, hidden=hidden)
        self.huber_delta = huber_delta

    def encoder(self) -> TargetEncoder:
        """Return what gives scaled values ``[B, H]`` float32."""
        return ForecastEncoder(self.target)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared or Huber error ``[B]``, the mean over the values."""
        if self.huber_delta is None:
            return (output.float() - target).square().mean(dim=1)
        return F.huber_loss(output.float(), target, reduction="none", delta=self.huber_delta).mean(dim=1)

    def metrics(self) -> MetricCollection:
        """Return none: what counts is measured in the unit of the values."""
        from torchmetrics import MetricCollection

        return MetricCollection({})

    def label_metrics(self) -> LabelMetrics:
        """Return mae, rmse and mase."""
        return ForecastMetrics()

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return values in the unit of the series."""
        values = output.double().cpu()
        scale = inputs[SCALE].double().cpu() if SCALE in inputs else torch.tensor([[self.target.mean, self.target.std]])
        return [Prediction(tuple(row)) for row in (values * scale[:, 1:] + scale[:, :1]).tolist()]


class ForecastEncoder(TargetEncoder):
    """Scales values by their window, or where it has no scale by the training values.

    Args:
        target: How many values; their mean and deviation.
    """

    def __init__(self, target: TargetInfo) -> None:
        self._target = target

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return scaled values ``[B, H]`` float32."""
        rows = []
        usual = (self._target.mean, self._target.std)
        for place, label in enumerate(labels):
            values = [part for part in label if isinstance(part, (int, float))] if isinstance(label, tuple) else []
            if len(values) != self._target.size or not all(map(math.isfinite, values)):
                raise DataError(
                    f"A sample has {len(values)} values to be forecast, and the model forecasts {self._target.size}.",
                    "Import the data with the same horizon.",
                )
            level, spread = items[place].get(SCALE, usual) if items else usual
            rows.append([(value - float(level)) / float(spread) for value in values])
        return torch.tensor(rows, dtype=torch.float32)


class ForecastMetrics(LabelMetrics):
    """Errors in the unit of the series.

    ``mase`` is the mean absolute error divided by that of the forecast that nothing changes, which repeats the last
    known value (after Hyndman & Koehler 2006); below 1 the model is better than that. It is left out where a sample
    does not tell its last value, or where nothing ever changes.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {"mae": "min", "rmse": "min"}

    def __init__(self) -> None:
        self._count = 0
        self._absolute = self._squared = 0.0
        self._naive: float | None = 0.0

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in forecasts and the samples that they are of."""
        for prediction, sample in zip(predictions, samples, strict=True):
            told = torch.tensor(prediction.value, dtype=torch.float64)
            truth = torch.tensor(sample.label, dtype=torch.float64)
            self._count += len(truth)
            self._absolute += float((told - truth).abs().sum())
            self._squared += float((told - truth).square().sum())
            last = _last(sample)
            if last is None or self._naive is None:
                self._naive = None
            else:
                self._naive += float((truth - last).abs().sum())

    def compute(self) -> dict[str, float]:
        """Return mae, rmse and, where it can be told, mase."""
        count = max(1, self._count)
        values = {"mae": self._absolute / count, "rmse": math.sqrt(self._squared / count)}
        if self._naive:
            values["mase"] = self._absolute / self._naive
        return values


def _last(sample: Sample) -> float | None:
    """The last known value of the series that is forecast: the first of the sample."""
    series = next((cell for cell in (sample.values or {}).values() if isinstance(cell, tuple)), ())
    return next((value for value in reversed(series) if math.isfinite(value)), None)
