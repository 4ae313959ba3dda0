"""Two tiny backbones that are nothing but small: every promise of the contract is kept. Light to import."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import (
    GEOMETRY,
    IMAGE_SIZE,
    Augmentation,
    Backbone,
    BackboneInfo,
    DataError,
    FeatureKind,
    Modality,
    Options,
    Preprocessor,
    Sample,
    WeightsInfo,
    option,
)
from tlstudio.plugins.joined import join

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

__all__ = ["TinyConvNet", "TinyTextEncoder", "tiny_backbones"]


def tiny_backbones(modality: Modality | None = None) -> list[Backbone]:
    """Return the tiny backbones of a modality, or all."""
    from tlstudio.testing.rows import TinyRowNet
    from tlstudio.testing.sounds import TinySoundEncoder

    image, text = TinyConvNet(), TinyTextEncoder()
    every: list[Backbone] = [image, text, join(image, text), TinyRowNet(), TinySoundEncoder()]
    return [backbone for backbone in every if modality in (None, backbone.modality)]


class TinyOptions(Options):
    """Options of the tiny backbones."""

    seed: int = option(0, title="Seed", help="From which the random weights are drawn.", ge=0)


class TinyBackbone(Backbone):
    """What the tiny backbones have in common."""

    Options = TinyOptions
    _provides: frozenset[FeatureKind]
    _input: str

    def info(self) -> BackboneInfo:
        """Give its facts."""
        module = self.restore(TinyOptions(), Path())
        return BackboneInfo(
            modality=self.modality,
            provides=self._provides,
            num_features=module.num_features,
            num_parameters=sum(p.numel() for p in module.parameters()),
            license="Apache-2.0",
            input=self._input,
            source="TL Studio",
            map_channels=module.map_channels,
            map_strides=module.map_strides,
        )

    def find_weights(self, options: api.Options) -> WeightsInfo:
        """Say that weights are random."""
        return WeightsInfo(None, "random weights")

    def load(self, options: api.Options) -> BackboneModule:
        """Build the network with weights drawn from the seed."""
        import torch

        if not isinstance(options, TinyOptions):
            raise TypeError(f"expected TinyOptions, got {type(options).__name__}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            return self.restore(options, Path())


class TinyConvNet(TinyBackbone):
    """Three convolutions with BatchNorm on images of 32 x 32 pixels."""

    name = "tiny_conv_net"
    title = "Tiny convolutional network"
    description = "Three convolutions with random weights, for tests of plugins."
    modality: Modality = "image"
    _provides = frozenset({"pooled", "maps"})
    _input = "32 x 32 px, RGB"

    def preprocessor(
        self,
        options: api.Options,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor."""
        return TinyImagePreprocessor(flip=augmentation != "none", placed=wanted == "maps")

    def restore(self, options: api.Options, assets: Path) -> BackboneModule:
        """Build the network."""
        from tlstudio.testing.networks import ConvNet

        return ConvNet()


class TinyTextEncoder(TinyBackbone):
    """Two transformer layers on hashed words."""

    name = "tiny_text_encoder"
    title = "Tiny text encoder"
    description = "Two transformer layers with random weights, for tests of plugins."
    modality: Modality = "text"
    _provides = frozenset({"pooled", "tokens"})
    _input = "up to 32 words"

    def preprocessor(
        self,
        options: api.Options,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor."""
        return TinyTextPreprocessor()

    def restore(self, options: api.Options, assets: Path) -> BackboneModule:
        """Build the network."""
        from tlstudio.testing.networks import TextEncoder

        return TextEncoder(TinyTextPreprocessor.vocabulary)


class TinyImagePreprocessor(Preprocessor):
    """Scales images to 32 x 32 pixels with values in -1..1.

    Args:
        flip: Whether training images are mirrored half of the time.
        placed: Whether `GEOMETRY` and `IMAGE_SIZE` are given too.
    """

    def __init__(self, *, flip: bool, placed: bool = False) -> None:
        self.flip = flip
        self.placed = placed

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``pixels``, ``[3, 32, 32]`` float32."""
        import numpy as np
        import torch

        from tlstudio.api.images import open_image

        if sample.image is None:
            raise DataError(f"{sample.source or sample.id} has no image.", "Choose a data set of images.")
        image = open_image(sample.image)
        pixels = np.asarray(image.resize((32, 32)), dtype=np.float32) / 127.5 - 1.0
        across = 32 / image.width
        geometry = [[across, 0.0, 0.0], [0.0, 32 / image.height, 0.0]]
        if self.flip and seed is not None and np.random.default_rng(seed).random() < 0.5:
            pixels = pixels[:, ::-1]
            geometry[0] = [-across, 0.0, 32.0]
        item: dict[str, Any] = {"pixels": torch.from_numpy(pixels.transpose(2, 0, 1).copy())}
        if self.placed:
            item |= {GEOMETRY: torch.tensor(geometry), IMAGE_SIZE: torch.tensor([image.height, image.width])}
        return item

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``pixels``, ``[B, 3, 32, 32]``, and where they come from."""
        import torch

        return {name: torch.stack([item[name] for item in items]) for name in items[0]}


class TinyTextPreprocessor(Preprocessor):
    """Turns each word into a number below `vocabulary`; 0 is padding."""

    vocabulary = 64
    longest = 32

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``ids``, a list of 1 to 32 numbers, and ``offsets``, where in the text each word is."""
        if sample.text is None:
            raise DataError(f"{sample.source or sample.id} has no text.", "Choose a data set of texts.")
        found = [(word.group().lower(), word.span()) for word in re.finditer(r"\S+", sample.text)]
        found += [(word.lower(), (0, 0)) for word in (sample.pair or "").split()]
        found = found[: self.longest] or [("", (0, 0))]
        # Python's own hash() differs from process to process.
        ids = [1 + zlib.crc32(word.encode()) % (self.vocabulary - 1) for word, _ in found]
        return {"ids": ids, "offsets": [place for _, place in found]}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``ids`` and ``mask``, both ``[B, T]``, and ``offsets``, ``[B, T, 2]``."""
        import torch

        longest = max(len(item["ids"]) for item in items)
        ids = torch.tensor([item["ids"] + [0] * (longest - len(item["ids"])) for item in items])
        offsets = [item["offsets"] + [(0, 0)] * (longest - len(item["ids"])) for item in items]
        return {"ids": ids, "mask": ids > 0, "offsets": torch.tensor(offsets)}

    def length(self, sample: Sample) -> int:
        """Return the number of words."""
        return len(f"{sample.text or ''} {sample.pair or ''}".split())
