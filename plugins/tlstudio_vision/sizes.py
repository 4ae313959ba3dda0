"""Trying whether a network takes images of a size, so that one that does not fit is told before a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule

WRONG_SIZE = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, ZeroDivisionError)
"""What networks raise on images that they cannot work on."""


def try_size(network: BackboneModule, height: int, width: int) -> None:
    """Run an image of nothing through a network.

    Raises:
        Exception: One of `WRONG_SIZE`: it does not take the size.
    """
    import torch

    training = network.training
    with torch.no_grad():
        network.eval()({"pixels": torch.zeros(1, 3, height, width)})
    network.train(training)
