"""Feature maps: which of a network's outputs are kept, and how many pixels a cell stands for. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import Tensor

FINEST = 4
"""Fewest pixels for one cell: finer maps cost most of the memory and help little."""


def pyramid(outputs: Iterable[Tensor], height: int) -> tuple[Tensor, ...]:
    """Keep the last output of each resolution, from fine to coarse.

    Args:
        outputs: What the layers gave, each ``[B, C, H, W]``, in their order.
        height: Height of the input in pixels.
    """
    kept: dict[int, Tensor] = {}
    for output in outputs:
        if FINEST * output.shape[-2] < height + FINEST:
            kept[output.shape[-2]] = output
    return tuple(kept[side] for side in sorted(kept, reverse=True))


def strides(maps: Sequence[Tensor], height: int) -> tuple[int, ...]:
    """Pixels of the input for one cell of each map, also where the last cells jut out of the input.

    Args:
        maps: From fine to coarse, at least one.
        height: Height of the input in pixels.
    """
    sides = [each.shape[-2] for each in maps]
    found = [height // sides[0] if height % sides[0] == 0 else 2 ** round(math.log2(height / sides[0]))]
    for finer, coarser in pairwise(sides):
        found.append(found[-1] * round(finer / coarser))
    return tuple(found)


def grid(tokens: Tensor, height: int, width: int) -> Tensor:
    """Lay out the last ``height * width`` of the tokens ``[B, T, D]`` as a map ``[B, D, height, width]``."""
    patches = tokens[:, tokens.shape[1] - height * width :]
    return patches.transpose(1, 2).reshape(len(tokens), -1, height, width)
