"""A greedy soup against its recipe written out: features of a frozen backbone, and heads averaged in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from tests.engine.conftest import TINY_VISION
from tests.engine.test_start_from import train
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


@dataclass(frozen=True)
class Heads:
    """Heads on the features of a frozen backbone, in float64.

    Attributes:
        features: Of the samples to validate on, centred, ``[N, D]``.
        classes: Theirs, ``[N]``.
        all: Weights and bias of each head.
    """

    features: Doubles
    classes: NDArray[np.int64]
    all: list[tuple[Doubles, Doubles]]

    def f1(self, numbers: Sequence[int]) -> float:
        """F1 of the mean of some heads."""
        scores = self._scores(numbers)
        return float(f1_score(self.classes, scores.argmax(axis=1), average="macro", zero_division=0))

    def order(self) -> list[int]:
        """The heads from the best down, of those with the same F1 the one with the least loss first."""

        def judged(number: int) -> tuple[float, float]:
            scores = self._scores([number])
            chosen = scores[np.arange(len(scores)), self.classes]
            return self.f1([number]), float((chosen - np.log(np.exp(scores).sum(axis=1))).mean())

        return sorted(range(len(self.all)), key=judged, reverse=True)

    def soup(self, order: Sequence[int]) -> list[int]:
        """The heads that a greedy soup takes in some order."""
        taken = [order[0]]
        for number in order[1:]:
            if self.f1([*taken, number]) >= self.f1(taken):
                taken.append(number)
        return taken

    def mistaken(self) -> list[list[int]]:
        """What other recipes would take: by their numbers, against the best alone, each with the best alone."""
        best, *others = self.order()
        alone = self.f1([best])
        against = [best]
        for number in others:
            if self.f1([*against, number]) >= alone:
                against.append(number)
        together, reached = [best], alone
        for number in others:
            if self.f1([best, number]) >= reached:
                together, reached = [*together, number], self.f1([best, number])
        return [self.soup([best, *sorted(others)]), against, together]

    def _scores(self, numbers: Sequence[int]) -> Doubles:
        weight, bias = (np.mean([self.all[number][part] for number in numbers], axis=0) for part in (0, 1))
        scores: Doubles = self.features @ weight.T + bias
        return scores


def telling_heads(bench: Bench, first: Weights) -> Heads:
    """Vary the head of a run at random until right and mistaken recipes take other heads of those."""
    features, labels = [], []
    with torch.no_grad():
        for batch in bench.split("validation").loader:
            features.append(bench.model.backbone(batch.inputs).require("pooled").double().numpy())
            labels.append(batch.targets.numpy())
    centred = np.concatenate(features) - first["head.centre.mean"].double().numpy()
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        heads = []
        for _ in range(5):
            drawn = [rng.normal(size=first[name].shape) * float(first[name].std()) * 1.5 for name in HEAD]
            weight, bias = (first[name].numpy() + noise for name, noise in zip(HEAD, drawn, strict=True))
            # As a model keeps them.
            heads.append((weight.astype(np.float32).astype(np.float64), bias.astype(np.float32).astype(np.float64)))
        found = Heads(centred, np.concatenate(labels), heads)
        if 2 < len(found.soup(found.order())) < len(heads) and found.soup(found.order()) not in found.mistaken():
            return found
    raise AssertionError("none of the random heads tell the recipes apart")


def test_a_greedy_soup_takes_runs_from_the_best_down_each_where_the_mean_is_no_worse_with_it(
    shapes_project: Project, registry: Registry
) -> None:
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 3}}
    bench = Bench(train(shapes_project, registry, values), shapes_project, registry)
    first = bench.weights
    heads = telling_heads(bench, first)
    moved = [{name: torch.tensor(part).float() for name, part in zip(HEAD, one, strict=True)} for one in heads.all]
    runs = [variant(bench, first, weights) for weights in moved]
    order = heads.order()
    taken = heads.soup(order)

    soup = Kettle(runs, shapes_project, registry).cook(greedy=True)
    assert soup.monitor == "f1_macro"
    assert [one.run for one in soup.tasted] == [runs[number].id for number in order]
    assert [one.taken for one in soup.tasted] == [number in taken for number in order]
    assert soup.measured.metrics["validation"]["f1_macro"] == pytest.approx(heads.f1(taken), abs=1e-6)
