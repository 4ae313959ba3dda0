"""The tiny networks. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api.features import Features
from tlstudio.api.nn import BackboneModule, LayerGroup

__all__ = ["ConvNet", "RowNet", "SoundEncoder", "TextEncoder"]


class ConvNet(BackboneModule):
    """A stem and two stages of convolutions with BatchNorm, one of them depthwise; 16 features."""

    num_features = 16
    map_channels = (16, 16)
    map_strides = (4, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 8)
        self.stage1 = nn.Sequential(_convolution(8, 8, groups=8), _convolution(8, 16, kernel=1))
        self.stage2 = nn.Sequential(_convolution(16, 16), nn.Dropout(0.1))

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``pixels``, ``[B, 3, H, W]``."""
        fine = self.stage1(self.stem(inputs["pixels"]))
        coarse = self.stage2(fine)
        return Features(pooled=coarse.mean((2, 3)), maps=(fine, coarse) if self.wanted == "maps" else ())

    def layer_groups(self) -> list[LayerGroup]:
        """Return stem and stages."""
        return [
            LayerGroup("stem", (self.stem,)),
            LayerGroup("stage 1", (self.stage1,)),
            LayerGroup("stage 2", (self.stage2,)),
        ]


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    stride = 2 if kernel == 3 else 1
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class RowNet(BackboneModule):
    """A linear layer with a ReLU; 16 features.

    Args:
        numbers: Numbers of a row.
    """

    num_features = 16

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.layer = nn.Linear(numbers, self.num_features)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``numbers``, ``[B, N]``."""
        return Features(pooled=F.relu(self.layer(inputs["numbers"])))

    def layer_groups(self) -> list[LayerGroup]:
        """Return the layer."""
        return [LayerGroup("layer", (self.layer,))]


class TextEncoder(BackboneModule):
    """Two transformer layers, 16 wide, with the mean over the real tokens as pooled features.

    Args:
        vocabulary: Number of words; word 0 is padding.
    """

    num_features = 16

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, self.num_features)
        self.layers = nn.ModuleList(EncoderLayer(self.num_features) for _ in range(2))

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``ids`` and ``mask``, ``[B, T]``."""
        mask = inputs["mask"]
        x = self.embedding(inputs["ids"])
        for layer in self.layers:
            x = layer(x, mask)
        real = mask.unsqueeze(2).to(x.dtype)
        return Features(pooled=(x * real).sum(1) / real.sum(1), tokens=x, mask=mask)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embedding and the layers."""
        return [
            LayerGroup("embedding", (self.embedding,)),
            *(LayerGroup(f"layer {number}", (layer,)) for number, layer in enumerate(self.layers, start=1)),
        ]


class SoundEncoder(BackboneModule):
    """Two convolutions without overlap and a transformer layer, 16 wide; one token for 64 samples."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, 8, 8, stride=8), nn.GELU())
        self.stage = nn.Sequential(nn.Conv1d(8, self.num_features, 8, stride=8), nn.GELU())
        self.layer = EncoderLayer(self.num_features)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``sound``, ``[B, T]``, and ``steps``, ``[B]``."""
        x = self.stage(self.stem(inputs["sound"].unsqueeze(1))).transpose(1, 2)
        steps = inputs["steps"].unsqueeze(1)
        mask = torch.arange(x.shape[1], device=x.device) < steps
        x = self.layer(x, mask)
        return Features(pooled=(x * mask.unsqueeze(2)).sum(1) / steps, tokens=x, mask=mask)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the convolutions and the layer."""
        return [
            LayerGroup("stem", (self.stem,)),
            LayerGroup("stage", (self.stage,)),
            LayerGroup("layer", (self.layer,)),
        ]


class EncoderLayer(nn.Module):
    """Self-attention with dropout on its weights, and a feed-forward part, both with residuals."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Compute ``[B, T, D]`` from ``[B, T, D]``; keys where ``mask`` is False are not looked at."""
        x = x + self.attention(self.norm1(x), mask)
        output: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return output


class SelfAttention(nn.Module):
    """One head of scaled dot-product attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Compute ``[B, T, D]`` from ``[B, T, D]``."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        # Dropout as a function, as most libraries have it: only the mode of this module turns it off.
        dropout = 0.1 if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask.unsqueeze(1), dropout_p=dropout)
        output: Tensor = self.proj(mixed)
        return output
