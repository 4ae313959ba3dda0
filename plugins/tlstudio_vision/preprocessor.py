"""From an image file to the tensor that an image backbone takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlstudio.api import Augmentation, DataError, Preprocessor, Sample
from tlstudio.api.images import open_image
from tlstudio_vision.images import InputSettings, fit

if TYPE_CHECKING:
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
