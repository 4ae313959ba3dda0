"""Which of several runs is the best, and the metric that each is known by."""

from __future__ import annotations

import pytest

from tlstudio.cli.common import best_of, shown_metric
from tlstudio.store.run_record import RunSummary


def run(name: str, metrics: dict[str, float]) -> RunSummary:
    return RunSummary(name, "", "done", dataset="d", metrics={"validation": metrics})


@pytest.mark.parametrize(
    ("better", "worse", "shown"),
    [
        ({"loss": 2.0, "wer": 0.1}, {"loss": 0.5, "wer": 0.4}, "wer"),  # losses of two heads are no rivals
        ({"loss": 2.0, "f1_micro": 0.9}, {"loss": 0.5, "f1_micro": 0.4}, "f1_micro"),
        ({"loss": 2.0, "exact_match": 0.1, "f1": 0.9}, {"loss": 0.5, "exact_match": 0.1, "f1": 0.4}, "exact_match"),
        ({"loss": 2.0, "roc_auc": 0.9}, {"loss": 0.5, "roc_auc": 0.4}, "roc_auc"),
        ({"loss": 2.0, "accuracy": 0.5, "f1_macro": 0.9}, {"loss": 0.5, "accuracy": 0.9, "f1_macro": 0.4}, "accuracy"),
        ({"loss": 0.5, "perplexity": 2.0}, {"loss": 2.0, "perplexity": 9.0}, "perplexity"),
    ],
)
def test_runs_are_judged_by_what_their_task_is_about(
    better: dict[str, float], worse: dict[str, float], shown: str
) -> None:
    for runs in ([run("better", better), run("worse", worse)], [run("worse", worse), run("better", better)]):
        assert best_of(runs).id == "better"
        assert shown_metric(runs[0], "validation")[0] == shown
