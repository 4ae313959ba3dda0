"""The network of two joined backbones. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import Features
from tlstudio.api.nn import BackboneModule, LayerGroup


class JoinedNetwork(BackboneModule):
    """Two networks side by side.

    Their pooled features are brought to mean 0 and variance 1 within each sample before they are laid side by side:
    networks differ in scale, and the one with the larger features would drown the other.

    Args:
        image: Takes the inputs that begin with ``image_``.
        text: Takes those that begin with ``text_``.
    """

    def __init__(self, image: BackboneModule, text: BackboneModule) -> None:
        super().__init__()
        image.wanted = text.wanted = "pooled"
        self.image = image
        self.text = text
        self.parts = (image.num_features, text.num_features)
        self.num_features = sum(self.parts)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute pooled features ``[B, D1 + D2]``."""
        image = self.image(_own(inputs, "image_")).require("pooled")
        text = self.text(_own(inputs, "text_")).require("pooled")
        return Features(pooled=torch.cat([F.layer_norm(part, part.shape[1:]) for part in (image, text)], dim=1))

    def layer_groups(self) -> list[LayerGroup]:
        """Return groups of layers of both that are as far from the output, so that both learn when the last ones do."""
        sides = (("image", self.image.layer_groups()), ("text", self.text.layer_groups()))
        most = max(len(groups) for _, groups in sides)
        result = []
        for place in range(-most, 0):
            met = [(side, groups[place]) for side, groups in sides if -place <= len(groups)]
            name = " + ".join(f"{side} {group.name}" for side, group in met)
            result.append(LayerGroup(name, tuple(module for _, group in met for module in group.modules)))
        return result


def _own(inputs: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}
