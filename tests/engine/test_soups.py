"""A greedy soup against its recipe written out: features of a frozen backbone, and heads averaged in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from tests.engine.conftest import TINY_VISION
from tests.engine.test_start_from import train
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.derivation import Derivation
from tlstudio.engine.derived import Bench, Weights, ancestor
from tlstudio.engine.soups import Kettle
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

Doubles = NDArray[np.float64]
HEAD = ("head.output.weight", "head.output.bias")


def variant(bench: Bench, first: Weights, weights: Weights) -> Run:
    """Write a run that differs from another one by some weights."""
    bench.load({**first, **weights})
    derivation = Derivation(made_by="test", sentence="Another head.", parents=(ancestor(bench.run),))
    return bench.save(derivation, bench.measure(splits=["validation"]))


def test_a_greedy_soup_takes_runs_from_the_best_down_each_where_the_mean_is_no_worse_with_it(
    shapes_project: Project, registry: Registry
) -> None:
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 3}}
    bench = Bench(train(shapes_project, registry, values), shapes_project, registry)
    first, rng = bench.weights, np.random.default_rng(0)
    runs = [bench.run]
    for _ in range(4):
        noise = {name: torch.tensor(rng.normal(size=first[name].shape), dtype=torch.float32) for name in HEAD}
        moved = {name: first[name] + noise[name] * first[name].std() * 1.5 for name in HEAD}
        runs.append(variant(bench, first, moved))

    split = bench.split("validation")
    features, labels = [], []
    with torch.no_grad():
        for batch in split.loader:
            features.append(bench.model.backbone(batch.inputs).require("pooled").double().numpy())
            labels.append(batch.targets.numpy())
    centred, classes = np.concatenate(features) - first["head.centre.mean"].double().numpy(), np.concatenate(labels)
    heads = []
    for run in runs:
        state = load_run_model(run, registry)[1].state_dict()
        heads.append(tuple(state[name].double().numpy() for name in HEAD))

    def judged(numbers: list[int]) -> tuple[float, float]:
        """F1 and minus the loss of the mean of some heads."""
        weight, bias = (np.mean([heads[number][part] for number in numbers], axis=0) for part in (0, 1))
        scores = centred @ weight.T + bias
        chosen = scores[np.arange(len(classes)), classes]
        f1 = f1_score(classes, scores.argmax(axis=1), average="macro", zero_division=0)
        return float(f1), float((chosen - np.log(np.exp(scores).sum(axis=1))).mean())

    order = sorted(range(len(runs)), key=lambda number: judged([number]), reverse=True)
    taken = order[:1]
    for number in order[1:]:
        if judged([*taken, number])[0] >= judged(taken)[0]:
            taken.append(number)
    assert order != sorted(order)
    assert 1 < len(taken) < len(runs)
    assert taken != order[: len(taken)], "one that was tried before another one was left out"

    soup = Kettle(runs, shapes_project, registry).cook(greedy=True)
    assert soup.monitor == "f1_macro"
    assert [one.run for one in soup.tasted] == [runs[number].id for number in order]
    assert [one.taken for one in soup.tasted] == [number in taken for number in order]
    assert soup.measured.metrics["validation"]["f1_macro"] == pytest.approx(judged(taken)[0], abs=1e-6)
