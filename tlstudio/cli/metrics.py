"""Which metric a run is known by, and tables of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tlstudio.cli.output import Output

if TYPE_CHECKING:
    from tlstudio.store.run_record import RunSummary

SHOWN_METRICS = (
    *("mean_iou", "map", "wer", "cer", "rougeL", "bleu", "chrf", "exact_match"),  # what one task alone is judged by
    *("accuracy", "f1_macro", "f1_micro", "f1", "average_precision_macro", "ndcg_at_10", "roc_auc"),
    *("rmse", "mae", "mase", "r2", "perplexity", "loss"),
)
"""Metrics in the order in which they are shown."""
JUDGING_METRICS = ("f1_macro", "mean_iou", "map", "wer", "f1_micro", "f1", "rmse", "roc_auc", "accuracy", "loss")
"""The first of these that a run has stands for the metric that chooses its best epoch, where that was not kept."""
LESS_IS_BETTER = frozenset({"loss", "perplexity", "rmse", "mae", "mase", "wer", "cer"})
_MOST_COLUMNS = 12


def judging_metric(run: RunSummary) -> str:
    """The metric that chooses the best epoch of a run; ``""``: it was not evaluated."""
    validation = run.metrics.get("validation", {})
    return run.monitor or next((name for name in JUDGING_METRICS if name in validation), "")


def shown_metric(run: RunSummary, split: str) -> tuple[str, float | None]:
    """Name and value of the metric that a run is known by; ``("", None)`` if it was not evaluated."""
    values = run.metrics.get(split, {})
    return next(((name, values[name]) for name in (run.monitor, *SHOWN_METRICS) if name in values), ("", None))


def metrics_table(output: Output, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print metrics: a row a split, a column a metric."""
    found = dict.fromkeys(name for values in metrics.values() for name in values)
    # The known ones first, the loss last: it compares runs of one kind, but says little by itself.
    order = {name: place for place, name in enumerate(SHOWN_METRICS)}
    columns = sorted(found, key=lambda name: (name == "loss", order.get(name, len(order))))
    if len(columns) > _MOST_COLUMNS:
        columns = [name for name in columns if not name.endswith(")")]  # each class by itself, such as ap(cat)
    rows = [[split, *(values.get(name) for name in columns)] for split, values in metrics.items()]
    output.table(["", *columns], rows)
