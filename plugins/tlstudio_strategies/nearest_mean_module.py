"""Class means as a linear layer. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio_strategies.fitted_module import Matrix, put_linear, train_features

__all__ = ["MeansModule", "class_means", "fitted_temperature"]

_RANGE = 12.0  # the temperature is looked for within exp(+-12) of the spread of the scores


class MeansModule(MethodModule):
    """Puts the means of the classes into the head before the first step.

    Args:
        context: The run.
        cosine: Whether the angle counts instead of the distance.
        temperature: What scores are divided by; 0: chosen by `fitted_temperature`.
    """

    def __init__(self, context: MethodContext, *, cosine: bool, temperature: float) -> None:
        super().__init__(context)
        self._cosine = cosine
        self._temperature = temperature

    def begin(self) -> None:
        """Compute the means and set the head."""
        features, classes = train_features(self.context)
        weight, bias, present = class_means(features, classes, cosine=self._cosine)
        divisor = self._temperature or fitted_temperature(features, classes, cosine=self._cosine)
        put_linear(self.context, weight / divisor, bias / divisor, present)

    def passes(self) -> Mapping[str, float]:
        """One, for the features whose means are computed."""
        return {"": 1}


def class_means(
    features: Matrix, classes: NDArray[np.int64], *, cosine: bool
) -> tuple[Matrix, Matrix, NDArray[np.int64]]:
    """Write the nearest mean as a linear layer.

    Args:
        features: ``[N, D]``.
        classes: ``[N]``.
        cosine: Whether the angle counts; the mean is then that of features of length 1.

    Returns:
        Weights ``[K, D]`` and biases ``[K]`` for the K classes that occur, and which these are. The outputs are
        ``2 m x - |m|^2``, or the length of x times the cosine of its angle to m.
    """
    present = np.unique(classes)
    of_class = [classes == name for name in present]
    if cosine:
        unit = _unit(features)
        return _unit(np.stack([unit[rows].mean(axis=0) for rows in of_class])), np.zeros(len(present)), present
    means = np.stack([features[rows].mean(axis=0) for rows in of_class])
    return 2 * means, -np.square(means).sum(axis=1), present


def fitted_temperature(features: Matrix, classes: NDArray[np.int64], *, cosine: bool) -> float:
    """Return the temperature under which each sample, left out of the mean of its class, is likeliest on average.

    That all N of them are told right would make the model sure beyond all measure. So the target of their own class is
    ``(N + 1) / (N + K)`` and that of each other one ``1 / (N + K)``, as in the scaling of Platt (1999) for K = 2. Where
    no class has two samples, it is the mean distance between the scores of the best and the second class.

    Args:
        features: ``[N, D]``.
        classes: ``[N]``.
        cosine: As in `class_means`.
    """
    weight, bias, present = class_means(features, classes, cosine=cosine)
    scores = features @ weight.T + bias
    own = np.searchsorted(present, classes)
    rows = np.arange(len(classes))
    counts = np.bincount(own)[own].astype(np.float64)
    spread = float(np.diff(np.sort(scores, axis=1)[:, -2:], axis=1).mean()) or 1.0
    several = counts > 1
    if not several.any():
        return spread
    used = _unit(features) if cosine else features
    sums = np.stack([used[own == k].sum(axis=0) for k in range(len(present))])[own]
    left = (sums - used) / np.maximum(counts - 1, 1)[:, None]  # the mean without the sample itself
    if cosine:
        scores[rows, own] = (features * _unit(left)).sum(axis=1)
    else:
        scores[rows, own] = 2 * (features * left).sum(axis=1) - np.square(left).sum(axis=1)
    scores, own = scores[several], own[several]
    count, kinds = scores.shape
    targets = np.full((count, kinds), 1 / (count + kinds))
    targets[np.arange(count), own] = (count + 1) / (count + kinds)

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - (targets * scaled).sum(axis=1)).mean())

    start = np.log(spread)
    found = minimize_scalar(loss, bounds=(start - _RANGE, start + _RANGE), method="bounded")
    return float(np.exp(found.x))


def _unit(rows: Matrix) -> Matrix:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Matrix = rows / np.maximum(length, 1e-12)
    return unit
