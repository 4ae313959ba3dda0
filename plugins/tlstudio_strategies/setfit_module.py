"""The loss of SetFit as a torch module. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio_strategies.fitted_module import put_linear, train_features

__all__ = ["PairsModule", "logistic_regression", "pair_losses"]


class PairsModule(MethodModule):
    """Replaces the loss of the head by that of pairs, and fits the head before the first step and after each epoch.

    Args:
        context: The run.
        strength: Inverse regularisation C of the logistic regression.
    """

    def __init__(self, context: MethodContext, *, strength: float) -> None:
        super().__init__(context)
        self._strength = strength
        self._alike = torch.zeros(())
        self._other = torch.zeros(())

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        """Losses ``[B]`` whose mean is the loss of all pairs in the batch."""
        features, _ = step.computed()
        found, self._alike, self._other = pair_losses(features.require("pooled"), step.targets)
        return found

    def begin(self) -> None:
        """Fit the head, so that there is one where a run is stopped in its first epoch."""
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Fit the head on the features as they now are."""
        features, targets = train_features(self.context)
        put_linear(self.context, *logistic_regression(features, targets, self._strength))

    def passes(self) -> Mapping[str, float]:
        """One before the first step and one after each epoch, for the features that the head is fitted on."""
        return {"": 1 + self.context.epochs}

    def quantities(self) -> Mapping[str, float]:
        """Mean cosine similarity of pairs of one class and of two, in the last batch that had such pairs."""
        return {"similarity within classes": float(self._alike), "similarity between classes": float(self._other)}


def pair_losses(features: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error of the cosine similarity of all pairs in a batch, which is to be 1 within a class, 0 between two.

    This is the loss of sentence-transformers' ``CosineSimilarityLoss``. As in the paper, pairs of one class count as
    much in all as pairs of two.

    Args:
        features: ``[B, D]``.
        classes: ``[B]``.

    Returns:
        The error of the pairs, shared out among the samples, ``[B]``: its mean is the loss; and the mean similarities
        within classes and between them (0 where there is no such pair).
    """
    with torch.autocast(features.device.type, enabled=False):  # of what is nearly 1, 16 bits leave nothing to learn
        unit = F.normalize(features.float(), dim=1)
        cosine = unit @ unit.T
    pair = ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    same = (classes[:, None] == classes[None, :]) & pair
    other = ~same & pair
    errors = torch.where(same, (1 - cosine).square(), cosine.square())
    kinds = [kind for kind in (same, other) if kind.any()]
    weights = torch.zeros_like(errors)
    for kind in kinds:
        weights = weights + kind.float() / (kind.sum() * len(kinds))
    seen = cosine.detach()
    means = [(seen * kind).sum() / kind.sum().clamp(min=1) for kind in (same, other)]
    return (weights * errors).sum(dim=1) * len(classes), means[0], means[1]


def logistic_regression(
    features: np.ndarray, classes: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit scikit-learn's logistic regression.

    Args:
        features: ``[N, D]``.
        classes: ``[N]``.
        strength: Inverse regularisation C.

    Returns:
        Weights ``[K, D]`` and biases ``[K]`` of a softmax over the K classes that occur, and which these are.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=strength, max_iter=1000).fit(features, classes)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # one vector w tells two classes apart: +w/2 and -w/2 give the same probabilities
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias, fitted.classes_
