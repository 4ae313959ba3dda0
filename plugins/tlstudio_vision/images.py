"""What an image backbone expects of its input, and scaling an image to that."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tlstudio.api import WeightsError
from tlstudio.api.files import read_text

if TYPE_CHECKING:
    from PIL import Image

CropMode = Literal["center", "squash", "border"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CROP_MODES: tuple[CropMode, ...] = ("center", "squash", "border")
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "lanczos")
ASSET = "preprocessing.json"
LARGEST_SIDE = 8192
"""Largest side of an input in pixels; no network takes half of it."""


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What a network expects of its input.

    Attributes:
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        resize_height: The image is first scaled to at least this height (and width), then the middle is cut out.
        resize_width: See `resize_height`.
        mean: Mean of each channel, of values in 0..1.
        std: Standard deviation of each channel.
        interpolation: How it is scaled.
        crop_mode: ``"center"`` keeps the proportions and cuts the overhang off, ``"squash"`` does not keep the
            proportions, ``"border"`` keeps them and fills what is missing with the mean.
    """

    height: int
    width: int
    resize_height: int
    resize_width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    crop_mode: CropMode = "center"

    def at_size(self, size: int) -> InputSettings:
        """The same for a square of another size, with the same share cut off."""
        return dataclasses.replace(
            self,
            height=size,
            width=size,
            resize_height=round(size * self.resize_height / self.height),
            resize_width=round(size * self.resize_width / self.width),
        )

    def in_steps_of(self, step: int) -> InputSettings:
        """The same with height and width rounded to a multiple of so many pixels."""
        height, width = (step * max(1, round(side / step)) for side in (self.height, self.width))
        return dataclasses.replace(self, height=height, width=width)

    def write(self, folder: Path) -> None:
        """Write them into a folder of assets."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / ASSET).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> InputSettings | None:
        """Read what `write` has written, or `None` where it is absent.

        Raises:
            WeightsError: The file is damaged.
        """
        path = folder / ASSET
        if not path.exists():
            return None
        try:
            values = json.loads(read_text(path))
            settings = cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
            settings.check()
        except (OSError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            raise WeightsError(
                f"{path} does not say how images are prepared: {error}.", "Copy or export the model again.", path=path
            ) from error
        return settings

    def check(self) -> None:
        """Make sure that images can be prepared so.

        Raises:
            ValueError: They cannot, as the end of a sentence.
        """
        for name in ("height", "width", "resize_height", "resize_width"):
            size = getattr(self, name)
            if type(size) is not int or not 0 < size <= LARGEST_SIDE:
                raise ValueError(f"{name} is {str(size)[:40]}, and must be a whole number from 1 to {LARGEST_SIDE}")
        for name, least in (("mean", -math.inf), ("std", 0.0)):
            values = getattr(self, name)
            known = len(values) == 3 and all(type(value) in (int, float) and math.isfinite(value) for value in values)
            if not known or min(values) <= least:
                raise ValueError(f"{name} must be three numbers{' above 0' if name == 'std' else ''}")
        if self.interpolation not in INTERPOLATIONS or self.crop_mode not in CROP_MODES:
            raise ValueError("the way of scaling or cropping is not known")


def fit(image: Image.Image, settings: InputSettings) -> Image.Image:
    """Scale an RGB image and cut it to the size of the input, without anything random."""
    from PIL import Image

    s = settings
    resample = resampling(s.interpolation)
    if s.crop_mode == "squash":
        width, height = s.resize_width, s.resize_height
    elif (s.resize_width * image.height < s.resize_height * image.width) == (s.crop_mode == "center"):
        # Truncated as torchvision and timm do it, so that every pixel falls where the network saw it in pretraining.
        width, height = max(1, int(s.resize_height * image.width / image.height)), s.resize_height
    else:
        width, height = s.resize_width, max(1, int(s.resize_width * image.height / image.width))
    if width >= s.width and height >= s.height:
        # Only the part that is kept is computed, which matters for panoramas: box is in pixels of the source.
        left, top = round((width - s.width) / 2), round((height - s.height) / 2)
        kx, ky = image.width / width, image.height / height
        right, bottom = min(image.width, (left + s.width) * kx), min(image.height, (top + s.height) * ky)
        return image.resize((s.width, s.height), resample, box=(left * kx, top * ky, right, bottom))
    scaled = image.resize((width, height), resample)
    canvas = Image.new("RGB", (s.width, s.height), tuple(round(255 * value) for value in s.mean))
    canvas.paste(scaled, ((s.width - width) // 2, (s.height - height) // 2))
    return canvas


def resampling(interpolation: Interpolation) -> Image.Resampling:
    """Pillow's filter of a name."""
    from PIL import Image

    return {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }[interpolation]
