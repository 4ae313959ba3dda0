"""RandAugment and TrivialAugment, drawn from a seed alone. Imports torch.

The changes are torchvision's own; its `transforms.v2.RandAugment` and `TrivialAugmentWide`, which draw from torch's
global random state, apply the same ones of the same strengths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from torchvision.transforms import functional as F  # noqa: N812  the name that torchvision's own docs use

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio_vision.augment import Dice

__all__ = ["POLICIES", "changed"]

LEVELS = 30
"""Strengths are counted from 0 to this."""
RANDOM_CHANGES = 2
"""Changes of an image by RandAugment."""
RANDOM_LEVEL = 9
"""Strength of each of them."""
POLICIES = ("randaugment", "trivialaugment")
_SHIFT = 150 / 331  # largest shift of RandAugment, as a share of the image
_WIDE_SHIFT = 32  # pixels, of TrivialAugment
_IN_PLACE = ("identity", "brightness", "colour", "contrast", "sharpness", "posterize", "solarize", "level", "equalize")
_MOVING = ("shear x", "shear y", "shift x", "shift y", "rotate")
_SIGNED = frozenset({"brightness", "colour", "contrast", "sharpness", *_MOVING})
_STRENGTHS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {  # at the highest level
        "randaugment": {"shear": 0.3, "rotate": 30.0, "enhance": 0.9, "bits": 4.0},
        "trivialaugment": {"shear": 0.99, "rotate": 135.0, "enhance": 0.99, "bits": 6.0},
    }
)


def changed(pixels: Tensor, policy: str, fill: Sequence[int], dice: Dice, *, in_place: bool = False) -> Tensor:
    """Change an image by RandAugment or TrivialAugment.

    RandAugment (Cubuk et al. 2020, arXiv:1909.13719) makes two random changes of level 9 in 30, TrivialAugment (Müller
    and Hutter 2021, arXiv:2103.10158, the wide one) a single one of a random level.

    Args:
        pixels: ``[3, height, width]``, uint8.
        policy: One of `POLICIES`.
        fill: Colour of what comes into the picture from outside.
        dice: All that is random comes from it.
        in_place: Whether only colours may change, because places in the image matter.
    """
    kinds = _IN_PLACE if in_place else (*_IN_PLACE, *_MOVING)
    for _ in range(RANDOM_CHANGES if policy == "randaugment" else 1):
        kind = kinds[dice.below(len(kinds))]
        level = RANDOM_LEVEL if policy == "randaugment" else dice.below(LEVELS + 1)
        sign = -1.0 if kind in _SIGNED and dice.chance(0.5) else 1.0
        pixels = change(pixels, policy, kind, level, sign, fill)
    return pixels


def change(pixels: Tensor, policy: str, kind: str, level: int, sign: float, fill: Sequence[int]) -> Tensor:
    """Make one change of a level in 0 .. `LEVELS`."""
    share, most = level / LEVELS, _STRENGTHS[policy]
    factor = 1.0 + sign * share * most["enhance"]
    slant = math.degrees(math.atan(sign * share * most["shear"]))
    height, width = pixels.shape[-2:]
    across, down = (_WIDE_SHIFT,) * 2 if policy == "trivialaugment" else (_SHIFT * width, _SHIFT * height)
    match kind:
        case "brightness":
            return F.adjust_brightness(pixels, factor)
        case "colour":
            return F.adjust_saturation(pixels, factor)
        case "contrast":
            return F.adjust_contrast(pixels, factor)
        case "sharpness":
            return F.adjust_sharpness(pixels, factor)
        case "posterize":
            return F.posterize(pixels, bits=round(8 - share * most["bits"]))
        case "solarize":
            return F.solarize(pixels, threshold=255 * (1 - share))
        case "level":
            return F.autocontrast(pixels)
        case "equalize":
            return F.equalize(pixels)
        case "shear x":
            return _moved(pixels, fill, shear=(slant, 0.0))
        case "shear y":
            return _moved(pixels, fill, shear=(0.0, slant))
        case "shift x":
            return _moved(pixels, fill, shift=(int(sign * share * across), 0))
        case "shift y":
            return _moved(pixels, fill, shift=(0, int(sign * share * down)))
        case "rotate":
            bilinear = F.InterpolationMode.BILINEAR
            return F.rotate(pixels, sign * share * most["rotate"], interpolation=bilinear, fill=list(map(float, fill)))
    return pixels


def _moved(
    pixels: Tensor,
    fill: Sequence[int],
    *,
    shear: tuple[float, float] = (0.0, 0.0),
    shift: tuple[int, int] = (0, 0),
) -> Tensor:
    return F.affine(
        pixels,
        angle=0.0,
        translate=list(shift),
        scale=1.0,
        shear=list(shear),
        interpolation=F.InterpolationMode.BILINEAR,
        fill=list(map(float, fill)),
        center=[0, 0] if any(shear) else None,
    )
