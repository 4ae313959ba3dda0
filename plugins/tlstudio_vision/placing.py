"""Placing a whole image on the input of a network, and telling where each of its pixels went. Imports torch.

Proportions are kept and what is missing is filled: things look as they did in pretraining, whatever the shape of the
image, and nothing of it is cut off. Variation stays along the axes, so that a box stays a box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlstudio.api import Augmentation
from tlstudio_vision.augment import Dice
from tlstudio_vision.images import InputSettings, resampling

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

ZOOM = {"light": 1.25, "strong": 2.0, "contrastive": 2.0, "randaugment": 1.25, "trivialaugment": 1.25}
"""By how much an image may be larger or smaller than it fits (Ghiasi et al. 2021, arXiv:2012.07177, let it more)."""
STRETCH = {"light": 1.1, "strong": 1.25, "contrastive": 1.25, "randaugment": 1.1, "trivialaugment": 1.1}
"""By how much its proportions may change."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image lies on the input, in pixels of the input.

    Attributes:
        left: Left edge of the image; below 0 where it juts out.
        top: Its upper edge.
        width: Its width, before it is cut.
        height: Its height.
        mirrored: Whether the input is then mirrored.
    """

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False

    def draw(self, image: Image.Image, settings: InputSettings) -> Image.Image:
        """Scale an RGB image to its place; what is outside of it has the mean colour."""
        from PIL import Image

        canvas = Image.new("RGB", (settings.width, settings.height), tuple(round(255 * m) for m in settings.mean))
        left, top = max(0, self.left), max(0, self.top)
        right = min(settings.width, self.left + self.width)
        bottom = min(settings.height, self.top + self.height)
        across, down = image.width / self.width, image.height / self.height
        part = (
            (left - self.left) * across,
            (top - self.top) * down,
            min(image.width, (right - self.left) * across),
            min(image.height, (bottom - self.top) * down),
        )
        scaled = image.resize((right - left, bottom - top), resampling(settings.interpolation), box=part)
        canvas.paste(scaled, (left, top))
        return canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else canvas

    def geometry(self, size: tuple[int, int], settings: InputSettings) -> Tensor:
        """The map from pixels of the upright image to those of the input, ``[2, 3]`` float32; see `GEOMETRY`.

        Args:
            size: Width and height of the upright image.
            settings: What the network expects.
        """
        import torch

        across, down = self.width / size[0], self.height / size[1]
        row = [-across, 0.0, settings.width - self.left] if self.mirrored else [across, 0.0, self.left]
        return torch.tensor([row, [0.0, down, self.top]], dtype=torch.float32)


def whole(size: tuple[int, int], settings: InputSettings) -> Place:
    """Place all of an image, as large as it fits, in the upper left corner."""
    return Place(0, 0, *_scaled(size, _fitting(size, settings)))


def varied(size: tuple[int, int], settings: InputSettings, augmentation: Augmentation, dice: Dice) -> Place:
    """Place an image at random: larger or smaller, somewhere, perhaps mirrored.

    Where it is larger than the input, it fills it; where it is smaller, all of it is seen.

    Args:
        size: Its width and height.
        settings: What the network expects.
        augmentation: ``"light"`` or ``"strong"``.
        dice: All that is random.
    """
    zoom, stretch = math.log(ZOOM[augmentation]), math.log(STRETCH[augmentation])
    scale = _fitting(size, settings) * math.exp(dice.between(-zoom, zoom))
    width, height = _scaled(size, scale, math.exp(dice.between(-stretch, stretch) / 2))
    spare = settings.width - width, settings.height - height
    left, top = (round(dice.between(min(0, room), max(0, room))) for room in spare)
    return Place(left, top, width, height, mirrored=dice.chance(0.5))


def _fitting(size: tuple[int, int], settings: InputSettings) -> float:
    return min(settings.width / size[0], settings.height / size[1])


def _scaled(size: tuple[int, int], scale: float, stretch: float = 1.0) -> tuple[int, int]:
    return max(1, round(size[0] * scale * stretch)), max(1, round(size[1] * scale / stretch))
