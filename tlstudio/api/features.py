"""The contract that lets any backbone meet any head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

FeatureKind = Literal["pooled", "tokens", "maps"]


@dataclass(slots=True)
class Features:
    """What a backbone gives for a batch of B samples. It fills at least the kinds that it declares.

    Attributes:
        pooled: One vector a sample, ``[B, D]``.
        tokens: One vector a token or patch, ``[B, T, D]``.
        mask: True where a token is real and not padding, ``[B, T]`` bool; `None`: all are real.
        maps: Feature maps from fine to coarse, each ``[B, C_i, H_i, W_i]``.
    """

    pooled: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    maps: tuple[Tensor, ...] = ()

    def require(self, kind: FeatureKind) -> Tensor:
        """Return the features of one kind (the coarsest of the maps).

        Raises:
            ValueError: The backbone did not provide them.
        """
        value = {"pooled": self.pooled, "tokens": self.tokens, "maps": self.maps[-1] if self.maps else None}[kind]
        if value is None:
            raise ValueError(f"the backbone gave no {kind} features")
        return value
