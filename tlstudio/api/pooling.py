"""One vector of many tokens. Light: torch is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["mean", "cls", "max"]


def pool(tokens: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of all tokens that are not padding.

    Args:
        tokens: ``[B, T, D]``.
        mask: ``[B, T]``, True where a token is real.
        pooling: How.

    Returns:
        ``[B, D]``.
    """
    if pooling == "cls":
        return tokens[:, 0]
    real = mask.unsqueeze(-1)
    if pooling == "max":
        return tokens.masked_fill(~real, float("-inf")).amax(dim=1)
    weights = real.to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
