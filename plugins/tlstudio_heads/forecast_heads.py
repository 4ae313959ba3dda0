"""The head that says how a series goes on. Light: torch is imported when it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, TargetInfo, Task, TaskHead
from tlstudio_heads.common import as_options, must_be
from tlstudio_heads.heads import RegressionOptions

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Forecasting"]


class Forecasting(TaskHead):
    """All values that follow at once: one linear layer, as PatchTST has it."""

    name = "forecasting"
    title = "Forecasting"
    description = "Says how a series goes on: the next values, as many as the data set was imported with."
    source = "Nie et al. 2023, arXiv:2211.14730"
    task: Task = "forecasting"
    requires: FeatureKind = "pooled"
    reads_inputs = True
    Options = RegressionOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.forecast_module import ForecastModule

        chosen = as_options(RegressionOptions, options)
        must_be(self, target)
        if not target.size:
            raise DataError(
                "The data set does not say how many values are to be forecast.", "Import it again.", field="dataset"
            )
        return ForecastModule(
            features.num_features,
            target,
            dropout=chosen.dropout,
            hidden=chosen.hidden,
            huber_delta=chosen.delta if chosen.loss == "huber" else None,
        )
