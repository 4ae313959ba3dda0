"""From an image file to the tensor that an image backbone takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlstudio.api import GEOMETRY, IMAGE_SIZE, Augmentation, DataError, Preprocessor, Sample
from tlstudio.api.images import image_size, open_image
from tlstudio_vision.images import InputSettings, fit

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


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

        image = self._opened(sample)
        if seed is not None and self.augmentation != "none":
            from tlstudio_vision.augment import vary

            return {"pixels": self._normalised(vary(image, self.settings, self.augmentation, seed))}
        pixels = torch.from_numpy(np.array(fit(image, self.settings))).permute(2, 0, 1)
        return {"pixels": self._normalised(pixels)}

    def _opened(self, sample: Sample) -> Image.Image:
        if sample.image is None:
            raise DataError(
                f"{sample.source or sample.id} has no image.",
                "Image backbones need image samples: choose a text backbone for texts.",
            )
        # A JPEG may be decoded at a half, quarter or eighth of its size. Twice what is needed is asked for, so that
        # the last step down is still made by the filter that the network is used to.
        s = self.settings
        return open_image(sample.image, at_most=2 * max(s.resize_height, s.resize_width, s.height, s.width))

    def _normalised(self, pixels: Tensor) -> Tensor:
        import torch

        values = pixels.to(torch.float32).div_(255.0)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.settings.mean, self.settings.std))
        return values.sub_(mean).div_(std)

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``{"pixels": [B, 3, height, width]}``, and what else each item has."""
        import torch

        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    def describe(self) -> dict[str, Any]:
        """Give size, scaling, crop and normalisation."""
        return {
            "input": "pixels",
            "layout": "batch, channel (RGB), height, width",
            "value_range": [0.0, 1.0],
            **json.loads(json.dumps(dataclasses.asdict(self.settings))),
        }


class WholeImagePreprocessor(ImagePreprocessor):
    """Keeps all of an image, in its proportions, and tells where it lies: for what is found in places of an image.

    Args:
        settings: What the network expects; how it crops does not matter.
        augmentation: How strongly samples that come with a seed are varied.
    """

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``pixels``, ``[3, height, width]``, with `GEOMETRY` and `IMAGE_SIZE`."""
        import numpy as np
        import torch

        from tlstudio_vision.augment import Dice, recolour
        from tlstudio_vision.placing import varied, whole
        from tlstudio_vision.policies import POLICIES, changed

        image = self._opened(sample)
        size = image_size(sample.image) if sample.image is not None else image.size  # before it was decoded smaller
        dice = Dice(seed) if seed is not None and self.augmentation != "none" else None
        place = varied(size, self.settings, self.augmentation, dice) if dice else whole(size, self.settings)
        pixels = torch.from_numpy(np.array(place.draw(image, self.settings))).permute(2, 0, 1)
        if dice and self.augmentation in ("strong", "contrastive"):
            pixels = recolour(pixels, dice)
        elif dice and self.augmentation in POLICIES:
            pixels = changed(pixels, self.augmentation, [], dice, in_place=True)
        return {
            "pixels": self._normalised(pixels),
            GEOMETRY: place.geometry(size, self.settings),
            IMAGE_SIZE: torch.tensor([size[1], size[0]]),
        }

    def describe(self) -> dict[str, Any]:
        """Give size, scaling and normalisation."""
        settings = super().describe()
        for name in ("resize_height", "resize_width"):
            del settings[name]
        return {**settings, "crop_mode": "whole, in the upper left corner, filled with the mean"}
