"""The contract that lets any backbone meet any head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

FeatureKind = Literal["pooled", "parts", "tokens", "maps", "logits", "masked", "values"]
"""Parts are pooled features of which `FeatureShape.parts` tells what lies beside what.

Masked are scores of tokens that were hidden in the sample, in `Features.logits`; values are pooled features of a row of
which columns were hidden. What was hidden is among the inputs as `TARGETS`.
"""


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """What a head must know of the features that it takes.

    Attributes:
        num_features: Width D of pooled features and tokens.
        map_channels: Channels C_i of each map, from fine to coarse; empty where there are none.
        map_strides: How many pixels of the input one cell of each map stands for, in the same order.
        vocabulary: Number V of the tokens that logits are for; 0 where there are none.
        parts: Widths, together D, of what lies side by side in pooled features; empty where they are of one piece.
        restored: What there is to be restored of each column of a row: 1 for a number, else how many categories.
    """

    num_features: int
    map_channels: tuple[int, ...] = ()
    map_strides: tuple[int, ...] = ()
    vocabulary: int = 0
    parts: tuple[int, ...] = ()
    restored: tuple[int, ...] = ()


@dataclass(slots=True)
class Features:
    """What a backbone gives for a batch of B samples. It fills at least the kinds that it declares.

    Attributes:
        pooled: One vector a sample, ``[B, D]``.
        tokens: One vector a token or patch, ``[B, T, D]``.
        mask: True where a token is real and not padding, ``[B, T]`` bool; `None`: all are real.
        maps: Feature maps from fine to coarse, each ``[B, C_i, H_i, W_i]``.
        logits: Scores of the next token, as a language model gives them, ``[B, T, V]``; of the hidden tokens alone
            where these are to be found.
        context: What the head has asked for besides features: `CONTEXT` of the inputs. No backbone fills it.
    """

    pooled: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    logits: Tensor | None = None
    context: Tensor | None = None

    def split(self, sizes: Sequence[int]) -> list[Features]:
        """Take the features of a batch apart: those of the first samples, of the next ones, and so on."""
        parts = [Features() for _ in sizes]
        for name in ("pooled", "tokens", "mask", "logits", "context"):
            values: Tensor | None = getattr(self, name)
            if values is not None:
                for part, some in zip(parts, values.split(list(sizes)), strict=True):
                    setattr(part, name, some)
        for each in self.maps:
            for part, some in zip(parts, each.split(list(sizes)), strict=True):
                part.maps += (some,)
        return parts

    def require(self, kind: FeatureKind) -> Tensor:
        """Return the features of one kind (the coarsest of the maps).

        Raises:
            ValueError: The backbone did not provide them.
        """
        coarsest = self.maps[-1] if self.maps else None
        kinds = {"pooled": self.pooled, "tokens": self.tokens, "maps": coarsest, "logits": self.logits}
        value = kinds[{"parts": "pooled", "masked": "logits", "values": "pooled"}.get(kind, kind)]
        if value is None:
            raise ValueError(f"the backbone gave no {kind} features")
        return value
