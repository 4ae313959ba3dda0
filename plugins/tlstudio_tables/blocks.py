"""Layers of the networks for tables and series. Imports torch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import TLStudioError

__all__ = ["Attention", "FeedForward", "TransformerLayer", "check_heads"]


def check_heads(width: int, heads: int) -> None:
    """Make sure that attention can be divided among heads.

    Raises:
        TLStudioError: The width is no multiple of their number.
    """
    if width % heads:
        raise TLStudioError(
            f"A width of {width} cannot be divided among {heads} attention heads.",
            "Choose a width that is a multiple of their number.",
            field="backbone.width",
        )


class Attention(nn.Module):
    """Attention of each token to all tokens.

    Args:
        width: Width D of the tokens.
        heads: Number of heads, a divisor of it.
        dropout: Share of the weights that is dropped while training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[B, T, D]`` from ``[B, T, D]``."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], dropout_p=dropout)
        output: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """Two linear layers with ReGLU between them (Shazeer 2020, arXiv:2002.05202).

    Args:
        width: Width D of the tokens.
        dropout: Share of the hidden features that is dropped while training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        hidden = max(8, round(width * 4 / 3))
        self.up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[..., D]`` from ``[..., D]``."""
        value, gate = self.up(x).chunk(2, dim=-1)
        output: Tensor = self.down(self.dropout(value * F.relu(gate)))
        return output


class TransformerLayer(nn.Module):
    """Attention and a feed-forward part, each behind a norm and beside a way around it.

    Args:
        width: Width D of the tokens.
        heads: Number of attention heads.
        dropout: See `Attention` and `FeedForward`.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[B, T, D]`` from ``[B, T, D]``."""
        x = x + self.attention(self.norm1(x))
        output: Tensor = x + self.feed_forward(self.norm2(x))
        return output


def rows_by_name(own: Tensor, other: Tensor, pairs: list[tuple[int, int]]) -> None:
    """Copy rows of one tensor into another's, ``(own, other)`` by ``(own, other)``."""
    if pairs:
        mine, theirs = (torch.tensor(places) for places in zip(*pairs, strict=True))
        cast(Any, own.data)[mine] = other.to(own)[theirs]
