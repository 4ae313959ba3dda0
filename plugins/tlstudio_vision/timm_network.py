"""A timm network as a backbone. Imports torch and timm."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from typing import Any

from timm.models._manipulate import group_parameters
from torch import Tensor, nn

from tlstudio.api import Features
from tlstudio.api.layers import cut_into_groups, layer_title, natural_groups
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio_vision.maps import grid, pyramid


class TimmNetwork(BackboneModule):
    """A network that timm has built without a classifier.

    It gives pooled features, and the patch tokens, without class and register tokens, where it ends in those and they
    are as wide as the pooled features. Where maps are wanted it gives those instead: of a plain vision transformer its
    patches as one map, of others one for each resolution.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # The width after the head's own layers; the same as num_features in most networks.
        self.num_features = int(getattr(model, "head_hidden_size", 0) or getattr(model, "num_features", 0))
        self._prefix_tokens = int(getattr(model, "num_prefix_tokens", 0) or 0)
        self._channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``pixels``, ``[B, 3, H, W]``."""
        model: Any = self.model
        if self.wanted == "maps":
            return Features(maps=self._maps(inputs["pixels"]))
        last = model.forward_features(inputs["pixels"])
        pooled: Tensor = model.forward_head(last)
        features = Features(pooled=pooled)
        if isinstance(last, Tensor) and last.ndim == 3 and last.shape[-1] == pooled.shape[-1]:
            features.tokens = last[:, self._prefix_tokens :]
        return features

    def _maps(self, pixels: Tensor) -> tuple[Tensor, ...]:
        model: Any = self.model
        if hasattr(model, "forward_intermediates"):
            # The coarsest map is what the network ends in: its last layers are trained for it.
            last, outputs = model.forward_intermediates(pixels, output_fmt="NCHW")
        else:
            last, outputs = model.forward_features(pixels), []
        if not isinstance(last, Tensor) or last.ndim not in (3, 4):
            return ()
        if last.ndim == 4:
            last = last.permute(0, 3, 1, 2) if self._channels_last else last
        elif outputs:
            last = grid(last, *outputs[-1].shape[-2:])
        else:
            return ()
        return pyramid([*outputs, last], pixels.shape[-2])

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stages or blocks as timm groups them, from input to output."""
        matcher = getattr(self.model, "group_matcher", None)
        if matcher is None:
            return natural_groups(self.model)
        try:
            by_position = group_parameters(self.model, matcher(coarse=True))
        except (AttributeError, KeyError, TypeError, ValueError, AssertionError):
            return natural_groups(self.model)  # a network whose grouping is not implemented
        position = {name: where for where, names in by_position.items() for name in names}
        titles = _titles(by_position)
        return cut_into_groups(self.model, position.__getitem__, titles.__getitem__)


def _titles(groups: dict[int, list[str]]) -> dict[int, str]:
    titles: dict[int, str] = {}
    used: dict[str, int] = defaultdict(int)
    for where, names in sorted(groups.items()):
        columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
        common = ".".join(parts[0] for parts in itertools.takewhile(lambda parts: len(set(parts)) == 1, columns))
        unnamed = "stem" if where == min(groups) else "neck" if where == max(groups) else f"part {where}"
        title = layer_title(common) if re.search("[A-Za-z]", common) else unnamed
        used[title] += 1
        titles[where] = title if used[title] == 1 else f"{title} ({used[title]})"
    return titles
