"""Fitting a linear head on the features of the training samples. Imports torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlstudio.api.method_modules import MethodContext

__all__ = ["put_linear", "train_features"]

Matrix = NDArray[np.float64]
_NEVER = 20.0  # a class without samples gets at most exp(-20) of the probability


def train_features(context: MethodContext) -> tuple[Matrix, NDArray[np.int64]]:
    """Compute features ``[N, D]`` and classes ``[N]`` of the training samples as they are, in evaluation mode."""
    model = context.model
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    features: list[Tensor] = []
    targets: list[Tensor] = []
    try:
        with torch.no_grad():
            for inputs, target in context.batches(""):
                found, _ = context.forward(inputs)
                features.append(found.require("pooled").double().cpu())
                targets.append(target.cpu())
    finally:
        for module, mode in modes:
            module.training = mode
    return torch.cat(features).numpy(), torch.cat(targets).numpy()


def put_linear(context: MethodContext, weight: Matrix, bias: Matrix, present: NDArray[np.int64]) -> None:
    """Put a linear classification into the head.

    Args:
        context: The run.
        weight: ``[len(present), D]``.
        bias: ``[len(present)]``.
        present: Indices of the classes that they are for; the other classes are made unlikely everywhere.
    """
    head = context.model.head
    count = len(head.target.classes)
    weights = np.tile(weight.mean(axis=0), (count, 1))  # no more than the mean of the others' outputs ...
    biases = np.full(count, bias.min() - _NEVER)  # ... and a good deal less
    weights[present], biases[present] = weight, bias
    where = next(head.parameters())
    head.set_linear(torch.from_numpy(weights).to(where), torch.from_numpy(biases).to(where))
