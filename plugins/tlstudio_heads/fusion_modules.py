"""Gated fusion as torch modules. Imported only when a head is built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlstudio.api import Features, TargetInfo
from tlstudio.api.nn import HeadModule
from tlstudio_heads.modules import ClassificationModule

__all__ = ["GatedFusionModule", "GatedUnit"]


class GatedUnit(nn.Module):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992).

    Each part becomes ``tanh(W x)``, and gates that look at all parts say how much of each goes into each output. The
    gates of an output are a softmax over the parts, which for two parts is the ``z`` and ``1 - z`` of the paper.

    Args:
        parts: Widths D1, D2, ... of what lies side by side in the input.
        width: Width W of the output.
    """

    def __init__(self, parts: Sequence[int], width: int) -> None:
        super().__init__()
        self._parts = list(parts)
        self.values = nn.ModuleList(nn.Linear(part, width) for part in parts)
        self.gates = nn.Linear(sum(parts), width * len(parts))

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[B, W]`` from ``[B, D1 + D2 + ...]``."""
        parts = x.split(self._parts, dim=1)
        values = torch.stack([torch.tanh(layer(part)) for layer, part in zip(self.values, parts, strict=True)], dim=1)
        gates = self.gates(x).view(values.shape).softmax(dim=1)
        fused: Tensor = (gates * values).sum(dim=1)
        return fused


class GatedFusionModule(ClassificationModule):
    """Softmax classification on what a `GatedUnit` makes of the features.

    Args:
        parts: Widths of what lies side by side in the features.
        target: See `ClassificationModule`.
        dropout: See `PooledHead`.
        hidden: Width of the fused features.
        label_smoothing: See `ClassificationModule`.
        balanced: See `ClassificationModule`.
    """

    def __init__(
        self,
        parts: Sequence[int],
        target: TargetInfo,
        *,
        dropout: float,
        hidden: int,
        label_smoothing: float,
        balanced: bool,
    ) -> None:
        super().__init__(
            sum(parts), target, dropout=dropout, hidden=hidden, label_smoothing=label_smoothing, balanced=balanced
        )
        self.hidden = None  # the gated unit stands in its place
        self.fusion = GatedUnit(parts, hidden)

    def set_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Refuse: gates are no linear function."""
        HeadModule.set_linear(self, weight, bias)

    def forward(self, features: Features) -> Tensor:
        """Compute logits ``[B, K]`` from parts ``[B, D1 + D2 + ...]``."""
        x = self.dropout(self.centre(features.require("parts")))
        output: Tensor = self.output(self.dropout(self.fusion(x)))
        return output
