"""What chooses the block of surgical fine-tuning. Imported only when it is built."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio_strategies.head_fitting import fit_head
from tlstudio_strategies.surgical import block_size

__all__ = ["ChosenBlockModule"]


class ChosenBlockModule(MethodModule):
    """Lets the block of layer groups learn of which ``||g|| / ||w||`` is largest, and nothing else of the backbone.

    g is the gradient of the mean loss over the whole train split, as it is without variation, behind a head that was
    fitted on the features: with random weights, it would send back noise. A model that writes has learned its own.

    Args:
        context: The run.
        share: Size of the block as a share of all groups.
        strength: Inverse strength C of the penalty on the head while it is fitted.
    """

    first: Tensor
    norms: Tensor

    def __init__(self, context: MethodContext, *, share: float, strength: float) -> None:
        super().__init__(context)
        self._groups = tuple(context.model.layer_groups())
        self._size = block_size(len(self._groups), share)
        self._strength = strength
        self.register_buffer("first", torch.tensor(-1))
        self.register_buffer("norms", torch.zeros(len(self._groups) - self._size + 1))

    def begin(self) -> None:
        """Fit the head, measure each block, and choose."""
        fit_head(self.context, self._strength)
        squares = self._squares()
        for start in range(len(self.norms)):
            gradient, weights = (sum(column) for column in zip(*squares[start : start + self._size], strict=True))
            self.norms[start] = math.sqrt(gradient) / math.sqrt(weights) if weights else 0.0
        self.first.fill_(int(self.norms.argmax()))

    def on_epoch_start(self, epoch: int) -> None:
        """Freeze all but the block, once it is chosen."""
        if (first := int(self.first)) >= 0:
            for number, group in enumerate(self._groups):
                group.requires_grad_(first <= number < first + self._size)

    def passes(self) -> Mapping[str, float]:
        """One for the features that the head is fitted on, where it learns, and one with gradients."""
        fits = next(self.context.model.head.parameters(), None) is not None
        return {"": 3 + int(fits)}

    def quantities(self) -> Mapping[str, float]:
        """Where the block begins, counted from 1 at the input, and its relative gradient norm."""
        return {"first group that learns": float(self.first) + 1, "relative gradient norm": float(self.norms.max())}

    def _squares(self) -> list[tuple[float, float]]:
        """``||g||^2`` and ``||w||^2`` of each group."""
        model = self.context.model
        model.eval()  # dropout would be noise, and no statistics are to move
        for inputs, targets in self.context.batches(""):
            _, output = self.context.forward(inputs)
            # The sum: a share of it would be too little for 16 bits where there are many samples.
            torch.autograd.backward(model.head.loss(output, targets).sum())
        found = []
        for group in self._groups:
            parameters = list(group.parameters())
            gradient = sum(float(p.grad.double().square().sum()) for p in parameters if p.grad is not None)
            weights = sum(float(p.detach().double().square().sum()) for p in parameters)
            found.append((gradient / self.context.num_train**2, weights))
        model.zero_grad(set_to_none=True)
        return found
