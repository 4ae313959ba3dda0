"""From an image file to the tensor that an image backbone takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tlstudio.api import Augmentation, DataError, Preprocessor, Sample, WeightsError
from tlstudio.api.images import open_image

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

CropMode = Literal["center", "squash", "border"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CROP_MODES: tuple[CropMode, ...] = ("center", "squash", "border")
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "lanczos")
ASSET = "preprocessing.json"


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
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise WeightsError(
                f"{path} does not say how images are prepared: {error}.", "Copy or export the model again.", path=path
            ) from error


class ImagePreprocessor(Preprocessor):
    """Scales, crops, perhaps varies, and normalises images.

    Args:
        settings: What the network expects.
        augmentation: How strongly samples that come with a seed are varied.
    """

    def __init__(self, settings: InputSettings, augmentation: Augmentation = "none") -> None:
        self.settings = settings
        self.augmentation = augmentation

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``{"pixels": [3, height, width]}``, float32 and normalised."""
        import numpy as np
        import torch

        s = self.settings
        if sample.image is None:
            raise DataError(
                f"{sample.source or sample.id} has no image.",
                "Image backbones need image samples: choose a text backbone for texts.",
            )
        varied = seed is not None and self.augmentation != "none"
        # A JPEG may be decoded at a half, quarter or eighth of its size. Twice what is needed is asked for, so that
        # the last step down is still made by the filter that the network is used to.
        image = open_image(sample.image, at_most=2 * max(s.resize_height, s.resize_width))
        if varied and seed is not None:
            from tlstudio_vision.augment import vary

            pixels = vary(image, s, self.augmentation, seed)
        else:
            pixels = torch.from_numpy(np.array(fit(image, s))).permute(2, 0, 1)
        values = pixels.to(torch.float32).div_(255.0)
        mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (s.mean, s.std))
        return {"pixels": values.sub_(mean).div_(std)}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``{"pixels": [B, 3, height, width]}``."""
        import torch

        return {"pixels": torch.stack([item["pixels"] for item in items])}

    def describe(self) -> dict[str, Any]:
        """Give size, scaling, crop and normalisation."""
        return {
            "input": "pixels",
            "layout": "batch, channel (RGB), height, width",
            "value_range": [0.0, 1.0],
            **json.loads(json.dumps(dataclasses.asdict(self.settings))),
        }


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
