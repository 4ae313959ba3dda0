"""Tensors as float64, losses written out, and models that are moved from where they began, for tests of methods."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlstudio.api.method_modules import Inputs

Doubles = NDArray[np.float64]


def doubles(tensor: Tensor) -> Doubles:
    """A copy in float64, outside of torch."""
    return tensor.detach().double().numpy().copy()


def softmax(logits: Doubles) -> Doubles:
    """Probabilities ``[B, K]``."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(logits: Doubles) -> Doubles:
    """Probabilities of yes."""
    return np.asarray(1 / (1 + np.exp(-logits)))


def cross_entropies(logits: Doubles, classes: Doubles) -> Doubles:
    """Of each sample, ``[B]``."""
    return np.asarray(-np.log(softmax(logits)[np.arange(len(classes)), classes.astype(int)]))


def yes_or_no(logits: Doubles, labels: Doubles) -> Doubles:
    """Mean binary cross-entropy over the labels of each sample, ``[B]``."""
    yes = sigmoid(logits)
    return np.asarray(-(labels * np.log(yes) + (1 - labels) * np.log(1 - yes)).mean(axis=1))


def stir(model: nn.Module, seed: int, size: float = 0.3) -> None:
    """Move all parameters at random, so that outputs differ and nothing lies where it began."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


def varied(inputs: Inputs, seed: int, rows: int) -> Inputs:
    """Other samples of the same shapes, ``rows`` of them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor[torch.arange(rows) % len(tensor)] + torch.randn(rows, *tensor.shape[1:], generator=generator)
        for name, tensor in inputs.items()
    }
