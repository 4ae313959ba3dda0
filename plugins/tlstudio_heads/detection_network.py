"""The layers of the detection head: a feature pyramid, and what looks at each of its cells. Imports torch."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses
from torchvision.ops import FeaturePyramidNetwork

from tlstudio.api import FeatureShape

__all__ = ["PLACE_UNIT", "DetectionNetwork", "Pyramid"]

FINEST, COARSEST = 8, 64
"""Pixels of the input for one cell of the first and the last level of the pyramid, about."""

PLACE_UNIT = 1024.0
"""Places are told in this many pixels, so that they are of the size of the other outputs; a power of two is exact."""

PRIOR = 0.01
"""Probability of a thing that the head begins with (Lin et al. 2017, arXiv:1708.02002, section 4.1)."""


class Pyramid(nn.Module):
    """Maps of one width from fine to coarse: a feature pyramid network (Lin et al. 2017, arXiv:1612.03144).

    Maps finer than wanted are left out. Where the finest is coarser (a vision transformer has a single map), finer
    ones are made from it by transposed convolutions, as Li et al. 2022 do it (arXiv:2203.16527); coarser ones are made
    by convolutions from the last.

    Args:
        shape: What the backbone gives.
        width: Channels of each level.
        finest: Pixels of the input for one cell of the first level, about.
        coarsest: The same for the last, at least; 0: as the backbone has it.

    Attributes:
        strides: Pixels of the input for one cell of each level.
    """

    def __init__(self, shape: FeatureShape, width: int, *, finest: int = FINEST, coarsest: int = COARSEST) -> None:
        super().__init__()
        usable = [place for place, stride in enumerate(shape.map_strides) if stride >= 0.8 * finest]
        self._used = usable or [len(shape.map_strides) - 1]
        channels = [shape.map_channels[place] for place in self._used]
        strides = [float(shape.map_strides[place]) for place in self._used]
        finer: list[nn.Module] = []
        while strides[0] / 2 >= 0.8 * finest:
            finer.append(nn.ConvTranspose2d(channels[0], width, 2, stride=2))
            channels.insert(0, width)
            strides.insert(0, strides[0] / 2)
        coarser: list[nn.Module] = []
        while strides[-1] < coarsest:
            coarser.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            strides.append(strides[-1] * 2)
        self.finer = nn.ModuleList(finer)
        self.levels = FeaturePyramidNetwork(channels, width)
        self.coarser = nn.ModuleList(coarser)
        self.strides = tuple(strides)

    def forward(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Return one map a level, ``[B, width, H_i, W_i]``."""
        used = [maps[place] for place in self._used]
        for layer in self.finer:
            used.insert(0, F.relu(layer(used[0])))
        levels = list(self.levels(OrderedDict((str(n), level) for n, level in enumerate(used))).values())
        for layer in self.coarser:
            levels.append(layer(F.relu(levels[-1])))
        return levels


class DetectionNetwork(nn.Module):
    """What FCOS computes for each cell: a logit for each class, that of being at the centre, and a box.

    After the improved version in the authors' own code: centre-ness stands beside the box, distances are in strides.
    GroupNorm works on batches of any size.

    Args:
        shape: What the backbone gives.
        num_classes: Number K of classes.
        width: Channels of its layers.
        depth: Layers before the outputs.
    """

    def __init__(self, shape: FeatureShape, num_classes: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(shape, width)
        self.classify = _tower(width, depth)
        self.locate = _tower(width, depth)
        self.classes = nn.Conv2d(width, num_classes, 3, padding=1)
        self.centre = nn.Conv2d(width, 1, 3, padding=1)
        self.edges = nn.Conv2d(width, 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(self.pyramid.strides)))
        towers = (self.classify, self.locate, self.classes, self.centre, self.edges)
        for layer in (layer for tower in towers for layer in tower.modules()):
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        if self.classes.bias is not None:
            nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return ``[B, N, K + 8]`` over the N cells of all levels.

        These are the logits of the classes, that of the centre, the logarithms of the distances to the left, upper,
        right and lower edge in strides, and x, y and stride of the cell in `PLACE_UNIT` pixels of the input.
        """
        rows = []
        for number, (level, stride) in enumerate(zip(self.pyramid(maps), self.pyramid.strides, strict=True)):
            located = self.locate(level)
            edges = self.edges(located) * self.scales[number]
            outputs = [self.classes(self.classify(level)), self.centre(located), edges]
            cells = torch.cat(outputs, dim=1).flatten(2).transpose(1, 2).float()
            places = _places(level, stride).expand(len(cells), -1, -1)
            rows.append(torch.cat([cells, places], dim=2))
        return torch.cat(rows, dim=1)


def _tower(width: int, depth: int) -> nn.Sequential:
    groups = math.gcd(32, width)
    groups = groups // 2 if groups == width else groups  # a single value cannot be normalised
    layers: list[nn.Module] = []
    for _ in range(depth):
        convolution = nn.Conv2d(width, width, 3, padding=1)
        layers += [convolution, nn.GroupNorm(groups, width), nn.ReLU()]
    return nn.Sequential(*layers)


def _places(level: Tensor, stride: float) -> Tensor:
    """Where the cells of a level have their centres, and how large they are, ``[H * W, 3]``."""
    height, width = level.shape[2:]
    y, x = (
        (torch.arange(size, device=level.device, dtype=torch.float32) + 0.5) * stride / PLACE_UNIT
        for size in (height, width)
    )
    grid = torch.stack([x.expand(height, width), y.unsqueeze(1).expand(height, width)], dim=2).reshape(-1, 2)
    return torch.cat([grid, torch.full_like(grid[:, :1], stride / PLACE_UNIT)], dim=1)
