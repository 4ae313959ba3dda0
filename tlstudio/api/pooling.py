"""One vector of many tokens. Light: torch is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["mean", "cls", "max", "last"]


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
    if pooling == "last":
        last = mask.long().cumsum(dim=1).argmax(dim=1)  # the first place at which all real ones are counted
        return tokens.gather(1, last.view(-1, 1, 1).expand(-1, 1, tokens.shape[2])).squeeze(1)
    real = mask.unsqueeze(-1)
    if pooling == "max":
        return tokens.masked_fill(~real, float("-inf")).amax(dim=1)
    weights = real.to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
