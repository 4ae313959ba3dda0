"""Random variation of training images, drawn from a seed alone. Imports torch.

Nothing here touches torch's global random state: images are prepared in threads and processes beside the loop,
whose dropout must not depend on how they are scheduled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.transforms import functional as F  # noqa: N812  the name that torchvision's own docs use

from tlstudio.api import Augmentation
from tlstudio_vision.images import InputSettings, resampling
from tlstudio_vision.policies import POLICIES, changed

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

SMALLEST_SHARE = {"light": 0.7, "strong": 0.3, "contrastive": 0.08, "randaugment": 0.7, "trivialaugment": 0.7}
"""Smallest part that is cut out, as a share of the largest part that has the shape of the input."""
STRETCH = {"light": 1.15, "strong": 4 / 3, "contrastive": 4 / 3, "randaugment": 1.15, "trivialaugment": 1.15}
"""By how much its proportions may differ from those of the input."""
ERASED_SHARE = 0.25
_COLOURS = 8  # kinds of change that leave everything in its place


class Dice:
    """Random numbers from one seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def between(self, low: float, high: float) -> float:
        """Uniform in ``low <= x < high``."""
        return low + (high - low) * float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def below(self, count: int) -> int:
        """Uniform among ``0 .. count - 1``."""
        return int(torch.randint(count, (), generator=self._generator))

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.between(0.0, 1.0) < share


def vary(image: Image.Image, settings: InputSettings, augmentation: Augmentation, seed: int) -> Tensor:
    """Cut out a random part, flip it, and with ``"strong"`` also change colours and geometry.

    The random part follows Szegedy et al. (arXiv:1409.4842) but is measured against the largest part that fits, so
    that long images vary as much as square ones; the changes are RandAugment's (Cubuk et al.,
    arXiv:1909.13719, two of magnitude 9 in 30), and a quarter of the images lose a rectangle (Zhong et al.,
    arXiv:1708.04896). With ``"contrastive"``, colours are distorted and the image is blurred as by SimCLR instead; see
    `distort`. With ``"randaugment"`` and ``"trivialaugment"``, an image that is cut out as with ``"light"`` is changed
    by these; see `tlstudio_vision.policies`.

    Args:
        image: An RGB image.
        settings: What the network expects.
        augmentation: Any but ``"none"``.
        seed: All that is random derives from it.

    Returns:
        Pixels ``[3, height, width]``, uint8.
    """
    dice = Dice(seed)
    box = _random_part(image.width, image.height, augmentation, settings.width / settings.height, dice)
    part = image.resize((settings.width, settings.height), resampling(settings.interpolation), box=box)
    pixels = torch.from_numpy(np.array(part)).permute(2, 0, 1)
    if dice.chance(0.5):
        pixels = F.hflip(pixels)
    fill = [round(255 * value) for value in settings.mean]
    if augmentation in POLICIES:
        pixels = changed(pixels, augmentation, fill, dice)
    elif augmentation == "strong":
        for _ in range(2):
            pixels = _change(pixels, fill, dice, kinds=_COLOURS + 3)
        if dice.chance(ERASED_SHARE):
            pixels = _erase(pixels, fill, dice)
    elif augmentation == "contrastive":
        pixels = distort(pixels, dice)
    return pixels


def distort(pixels: Tensor, dice: Dice) -> Tensor:
    """Distort colours and blur, as two views of an image for contrastive learning need it.

    Chen et al. 2020 (SimCLR, arXiv:2002.05709), appendix A: of 0.8 of the images brightness, contrast and saturation
    change by up to 0.8 and the hue by up to 0.2, in random order; 0.2 become grey; half are blurred with a deviation
    of 0.1 to 2.0 and a kernel of a tenth of their height, as for the 224 pixels of ImageNet: scaled to other sizes.

    Args:
        pixels: ``[3, height, width]``, uint8.
        dice: All that is random comes from it.
    """
    if dice.chance(0.8):
        changes = [
            (F.adjust_brightness, dice.between(0.2, 1.8)),
            (F.adjust_contrast, dice.between(0.2, 1.8)),
            (F.adjust_saturation, dice.between(0.2, 1.8)),
            (F.adjust_hue, dice.between(-0.2, 0.2)),
        ]
        while changes:
            change, by = changes.pop(dice.below(len(changes)))
            pixels = change(pixels, by)
    if dice.chance(0.2):
        pixels = F.rgb_to_grayscale(pixels, num_output_channels=3)
    if dice.chance(0.5):
        height = pixels.shape[-2]
        deviation = dice.between(0.1, 2.0) * height / 224
        pixels = F.gaussian_blur(pixels, kernel_size=[2 * (height // 20) + 1] * 2, sigma=[deviation] * 2)
    return pixels


def _random_part(
    width: int, height: int, augmentation: Augmentation, aspect: float, dice: Dice
) -> tuple[int, int, int, int]:
    whole = min(width, height * aspect) * min(height, width / aspect)  # the largest part of the right shape
    area = whole * dice.between(SMALLEST_SHARE[augmentation], 1.0)
    stretch = math.log(STRETCH[augmentation])
    ratio = aspect * math.exp(dice.between(-stretch, stretch))
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = dice.below(width - w + 1), dice.below(height - h + 1)
    return left, top, left + w, top + h


def recolour(pixels: Tensor, dice: Dice) -> Tensor:
    """Change the colours of an image twice, as RandAugment does, and leave everything in its place."""
    for _ in range(2):
        pixels = _change(pixels, [], dice, kinds=_COLOURS)
    return pixels


def _change(pixels: Tensor, fill: list[int], dice: Dice, *, kinds: int) -> Tensor:
    kind = dice.below(kinds)
    sign = 1.0 if dice.chance(0.5) else -1.0
    match kind:
        case 0:
            return pixels
        case 1:
            return F.adjust_brightness(pixels, 1.0 + sign * 0.27)
        case 2:
            return F.adjust_contrast(pixels, 1.0 + sign * 0.27)
        case 3:
            return F.adjust_saturation(pixels, 1.0 + sign * 0.27)
        case 4:
            return F.adjust_sharpness(pixels, 1.0 + sign * 0.27)
        case 5:
            return F.autocontrast(pixels)
        case 6:
            return F.equalize(pixels)
        case 7:
            return F.posterize(pixels, bits=6)
        case 8:
            return _affine(pixels, fill, angle=sign * 9.0)
        case 9:
            return _affine(pixels, fill, shear=sign * math.degrees(math.atan(0.09)))
        case _:
            along, across = sign * 0.12 * pixels.shape[-1], 0.12 * pixels.shape[-2] * dice.between(-1.0, 1.0)
            return _affine(pixels, fill, shift=(along, across))


def _affine(
    pixels: Tensor, fill: list[int], *, angle: float = 0.0, shear: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    return F.affine(
        pixels,
        angle=angle,
        translate=[round(step) for step in shift],
        scale=1.0,
        shear=[shear, 0.0],
        interpolation=F.InterpolationMode.BILINEAR,
        fill=[float(value) for value in fill],
    )


def _erase(pixels: Tensor, fill: list[int], dice: Dice) -> Tensor:
    height, width = pixels.shape[-2:]
    area = height * width * dice.between(0.02, 0.2)
    ratio = math.exp(dice.between(math.log(0.3), math.log(1 / 0.3)))
    h, w = min(height, round(math.sqrt(area / ratio))), min(width, round(math.sqrt(area * ratio)))
    top, left = dice.below(height - h + 1), dice.below(width - w + 1)
    result = pixels.clone()
    result[:, top : top + h, left : left + w] = torch.tensor(fill, dtype=pixels.dtype).view(3, 1, 1)
    return result
