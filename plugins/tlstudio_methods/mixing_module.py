"""Mixing the samples of a batch, as a torch module. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from tlstudio.api import RunError
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep

__all__ = ["MixingModule", "cutmix", "mixup"]

_TRANSFORMS: Any = v2  # it does not say what it exports
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Mixes images ``[B, C, H, W]`` and labels ``[B, K]``, each with those of the sample before it in the batch."""


def mixup(alpha: float) -> Mix:
    """Blend two images as a whole (Zhang et al. 2018, section 2)."""
    mix: Mix = _TRANSFORMS.MixUp(alpha=alpha)
    return mix


def cutmix(alpha: float) -> Mix:
    """Paste a rectangle of one image into another (Yun et al. 2019, section 3)."""
    mix: Mix = _TRANSFORMS.CutMix(alpha=alpha)
    return mix


class MixingModule(MethodModule):
    """Mixes each sample with the one before it in the batch, whose order is random.

    Where it cannot or shall not mix images, it mixes the pooled features and lets the head look at them.

    Args:
        context: The run.
        mix: How two images are mixed.
        probability: Share of batches that are mixed.
        images: Whether images are mixed: where the network sees nothing else, never, or in any case.
        instead: Another way of mixing.
        switch: Share of the mixed batches that are mixed in that other way.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        mix: Mix,
        probability: float,
        images: Literal["if there are any", "never", "always"],
        instead: Mix | None = None,
        switch: float = 0.0,
    ) -> None:
        super().__init__(context)
        self._ways = mix, instead
        self._probability = probability
        self._images = images
        self._switch = switch
        self._waiting: Mix | None = None  # how the features of this batch are to be mixed
        self._share: Tensor | None = None  # that a sample has in its mixture

    def transform(self, step: TrainingStep) -> None:
        """Draw whether and how the batch is mixed, and mix its images."""
        self._waiting = self._share = None
        if float(torch.rand(())) >= self._probability:
            return
        mix, instead = self._ways
        if instead is not None and float(torch.rand(())) < self._switch:
            mix = instead
        (name, values), *others = step.inputs.items()
        if self._images != "never" and values.ndim == 4 and not others:
            mixed, self._share = _mixed(mix, values)
            step.inputs = {name: mixed}
        elif self._images == "always":
            raise RunError("The backbone takes more or other than images, which cannot be pasted.", field="methods")
        else:
            self._waiting = mix

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        """Return ``lambda * loss(label) + (1 - lambda) * loss(label of the other)``."""
        head = self.context.model.head
        features, output = step.computed()
        if self._waiting is not None:
            pooled, self._share = _mixed(self._waiting, features.require("pooled")[:, None, None, :])
            output = head(replace(features, pooled=pooled[:, 0, 0, :])).float()
            losses = head.loss(output, step.targets)
        if self._share is None:
            return losses
        other = head.loss(output, step.targets.roll(1, 0))
        return self._share * losses + (1.0 - self._share) * other

    def quantities(self) -> Mapping[str, float]:
        """The share that a sample had in its mixture; 1 where the batch was not mixed."""
        return {"lambda": 1.0 if self._share is None else float(self._share)}


def _mixed(mix: Mix, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mix a batch; returns it, and the share that each sample has in its mixture."""
    # As if each sample were a class of its own: row i of the mixed labels then says what sample i is made of.
    mixed, shares = mix(images, torch.eye(len(images), device=images.device))
    return mixed, shares[0, 0]
