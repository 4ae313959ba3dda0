"""Averages of weights: between the start and the end of a run (WiSE-FT), and over several runs (model soups).

Averages are computed in float64 and rounded once. What is equal in all is kept as it is, what is no float (counters,
flags) is taken from the last. Running statistics of BatchNorm belong to the weights behind which they were measured:
where they differ, they are measured anew over the train split, as for stochastic weight averaging (Izmailov et al.
2018, arXiv:1803.05407, section 3.2). So is what a head keeps of that split, such as the scores behind the threshold of
anomalies. Imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tlstudio.api import RunError
from tlstudio.engine.checkpoint import has_checkpoint
from tlstudio.engine.derivation import Derivation
from tlstudio.engine.derived import Bench, Measured, Weights, ancestor, plain_model
from tlstudio.engine.learning import on_device
from tlstudio.engine.random_state import random_state_aside
from tlstudio.store.run import Run

ALPHAS = tuple(number / 10 for number in range(11))
"""The shares of the end at which a curve is measured."""


def average(models: Sequence[Weights], shares: Sequence[float] | None = None) -> Weights:
    """Average the weights of several models.

    Args:
        models: State dicts with the same names and shapes.
        shares: Share of each, adding up to one; `None`: all the same.

    Raises:
        RunError: They have other names or shapes.
    """
    if shares is None:
        shares = [1.0 / len(models)] * len(models)
    first, *others = models
    for other in others:
        if wrong := _differing(first, other):
            raise RunError(f"These models cannot be averaged: '{wrong}' is not the same part in all of them.")
    return {name: _mean([model[name] for model in models], shares) for name in first}


def _differing(one: Weights, other: Weights) -> str:
    """A name that two models do not have in common in the same shape, or ``""``."""
    for name in (*one, *other):
        if name not in one or name not in other or one[name].shape != other[name].shape:
            return name
    return ""


def _mean(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    first, last = tensors[0], tensors[-1]
    chosen = [tensor for tensor, share in zip(tensors, shares, strict=True) if share == 1.0]
    if chosen:
        return chosen[0].clone()
    if not first.is_floating_point() or all(torch.equal(first, other) for other in tensors[1:]):
        return last.clone()
    total = torch.zeros(first.shape, dtype=torch.float64)
    for tensor, share in zip(tensors, shares, strict=True):
        if share:
            total += share * tensor.double()
    return total.to(first.dtype)


class Mixer:
    """Gives a bench averages of weights.

    Args:
        bench: Where they are measured.
        models: What is averaged.
    """

    def __init__(self, bench: Bench, models: Sequence[Weights]) -> None:
        self.bench = bench
        self._models = models
        norms = [
            (name, module)
            for name, module in bench.model.named_modules()
            if isinstance(module, _NormBase) and module.running_mean is not None
        ]
        self._moving = [module for name, module in norms if not self._is_same(f"{name}.running_mean")]

    def _is_same(self, name: str) -> bool:
        first, *others = (model[name] for model in self._models)
        return all(torch.equal(first, other) for other in others)

    @property
    def measures_statistics(self) -> bool:
        """Whether running statistics of BatchNorm are measured anew."""
        return bool(self._moving)

    def mix(self, shares: Sequence[float]) -> None:
        """Put an average in place; one model alone is put there exactly as it is."""
        self.bench.load(average(self._models, shares))
        if 1.0 in shares:
            return
        if self._moving:
            measure_statistics(self.bench, self._moving)
        self.bench.measure_head()


def measure_statistics(bench: Bench, norms: Sequence[nn.Module]) -> None:
    """Measure the running statistics of BatchNorm over the train split, as the mean over its batches.

    All else is in evaluation mode, so that dropout is off.

    Args:
        bench: The model and its data.
        norms: Its layers that are measured.
    """
    model = bench.model.eval()
    momenta = []
    for norm in norms:
        assert isinstance(norm, _NormBase)  # noqa: S101  for the type checker
        momenta.append((norm, norm.momentum))
        norm.reset_running_stats()
        norm.momentum = None  # torch: a cumulative mean over the batches
        norm.train()
    try:
        with random_state_aside(), torch.no_grad():
            batches = bench.training_batches()
            for number, batch in enumerate(batches.epoch(0), start=1):
                bench.control.check_cancelled()
                model(on_device(batch, bench.device).inputs)
                bench.on_progress("BatchNorm statistics", number, len(batches))
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
        model.eval()


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """An average of start and end.

    Attributes:
        alpha: Share of the end: 0 is the start, 1 the end.
        measured: What was measured of it on the validation and test splits.
    """

    alpha: float
    measured: Measured


@dataclass(frozen=True, slots=True)
class WiseCurve:
    """What the averages between the start and the end of a run are worth.

    Attributes:
        run: Id of the run.
        points: From start to end.
        best: Which of the points is the best on the validation split.
        monitor: The metric by which.
        statistics: Whether running statistics of BatchNorm were measured anew, and differ from both ends.
    """

    run: str
    points: tuple[CurvePoint, ...]
    best: int
    monitor: str
    statistics: bool


def check_alpha(alpha: float) -> None:
    """Make sure that alpha is a share.

    Raises:
        RunError: It is not in 0..1.
    """
    if not 0.0 <= alpha <= 1.0:
        raise RunError(
            f"Alpha is the share of the fine-tuned weights, from 0 to 1; {alpha:.15g} is not.",
            "0 is the start of the run, 1 its end.",
            field="alpha",
        )


class WiseFT:
    """Averages of the start and the end of a run (Wortsman et al. 2022, arXiv:2109.01903, equation 1).

    The start is what the run has kept as its method ``wise_ft`` asked for it: the model when the backbone began to
    learn, with a head that has learned before. The end is the checkpoint that the run has kept.

    Args:
        bench: The run.

    Raises:
        RunError: The run has not kept its start.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        run = bench.run
        if not has_checkpoint(run.folder / "checkpoints", "start"):
            raise RunError(
                f"Run {run.id} has not kept the weights with which its fine-tuning began.",
                "Train it with --strategy lp_ft --method wise_ft.",
                path=run.folder,
            )
        _, start = plain_model(run, bench.registry, "start")
        self._mixer = Mixer(bench, [dict(start.state_dict()), bench.weights])

    def curve(self, alphas: Sequence[float] = ALPHAS) -> WiseCurve:
        """Measure averages on the validation and test splits; the best is chosen on the first alone.

        Of equally good ones it is that with the lower loss, else that nearest to the middle between start and end.

        Raises:
            RunError: An alpha is not in 0..1.
            Interrupted: Cancel was asked for.
        """
        for alpha in alphas:
            check_alpha(alpha)
        points = tuple(CurvePoint(alpha, self.measure(alpha)) for alpha in sorted(set(alphas)))
        from_the_middle = sorted(range(len(points)), key=lambda number: abs(points[number].alpha - 0.5))
        best = from_the_middle[self._bench.best([points[number].measured for number in from_the_middle])]
        return WiseCurve(self._bench.run.id, points, best, self._bench.monitor()[0], self._mixer.measures_statistics)

    def measure(self, alpha: float) -> Measured:
        """Put an average in place and measure it."""
        check_alpha(alpha)
        self._mixer.mix([1.0 - alpha, alpha])
        return self._bench.measure(f"Alpha {alpha:g}")

    def save(self, alpha: float, curve: WiseCurve | None = None) -> Run:
        """Write an average as a run of its own.

        Args:
            alpha: Share of the end.
            curve: What was measured before; kept with it, and not measured again.
        """
        known = {point.alpha: point.measured for point in curve.points} if curve else {}
        measured = known.get(alpha)
        if measured is None:
            measured = self.measure(alpha)
        else:
            self._mixer.mix([1.0 - alpha, alpha])
        run = self._bench.run
        sentence = f"{alpha:.0%} of the weights of run {run.id}, {1 - alpha:.0%} of those that it began with (WiSE-FT)."
        derivation = Derivation(
            made_by="wise_ft",
            sentence=sentence,
            parents=(ancestor(run),),
            options={"alpha": alpha},
            curve=tuple({"alpha": p.alpha, "metrics": p.measured.metrics} for p in curve.points) if curve else (),
        )
        return self._bench.save(derivation, measured, seconds=time.monotonic() - self._bench.began)
