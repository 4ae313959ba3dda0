"""The segmentation head as a torch module. Imported only when a head is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import (
    GEOMETRY,
    IMAGE_SIZE,
    UNLABELLED,
    DataError,
    Features,
    FeatureShape,
    Label,
    Mask,
    Prediction,
    Sample,
    TargetInfo,
)
from tlstudio.api.masks import class_values, mask_of
from tlstudio.api.nn import NO_INPUTS, HeadModule, LabelMetrics, TargetEncoder
from tlstudio_heads.detection_network import Pyramid
from tlstudio_heads.modules import balanced_class_weights

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["MaskEncoder", "SegmentationModule"]

_FINEST = 4  # pixels of the input for one cell of the output
_POINTS = 16  # looked at along a cell: the border of a class then lies within a 32nd of a cell
_AT_ONCE = 2**22  # numbers that are interpolated at a time, so that a large image does not fill the memory
_GLANCE = 64  # points along each side by which the certainty is told


class SegmentationModule(HeadModule):
    """A feature pyramid whose levels are added up at the finest, as the semantic branch of Panoptic FPN.

    After Kirillov et al. 2019 (arXiv:1901.02446), section 3, with one convolution a level. Outputs are at a quarter of
    the resolution of the input; the loss and predictions interpolate them.

    Args:
        features: What the backbone gives.
        target: The classes, K of them.
        width: Channels of the pyramid.
        dropout: Share of the channels that is dropped while training.
        dice: Whether the Dice loss is added.
        balanced: Whether classes that few images show count more.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("mean_iou", "max")
    decodes_in_place: ClassVar[bool] = True
    weights: Tensor

    def __init__(
        self, features: FeatureShape, target: TargetInfo, *, width: int, dropout: float, dice: bool, balanced: bool
    ) -> None:
        super().__init__()
        self.target = target
        self.dice = dice
        self.pyramid = Pyramid(features, width, finest=_FINEST, coarsest=0)
        self.norms = nn.ModuleList(nn.GroupNorm(math.gcd(32, width), width) for _ in self.pyramid.strides)
        self.dropout = nn.Dropout2d(dropout)
        self.output = nn.Conv2d(width, len(target.classes), 1)
        nn.init.trunc_normal_(self.output.weight, std=0.01)
        if self.output.bias is not None:
            nn.init.zeros_(self.output.bias)
        weights = balanced_class_weights(target.class_counts) if balanced else torch.ones(len(target.classes))
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: Features) -> Tensor:
        """Compute raw outputs ``[B, K, h, w]`` from maps."""
        features.require("maps")
        levels = [F.relu(norm(level)) for norm, level in zip(self.norms, self.pyramid(features.maps), strict=True)]
        size = levels[0].shape[-2:]
        finest = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels[1:]]
        output: Tensor = self.output(self.dropout(torch.stack([levels[0], *finest]).sum(dim=0)))
        return output

    def encoder(self) -> TargetEncoder:
        """Return what gives the class of each pixel of the input, ``[B, H, W]`` uint8."""
        return MaskEncoder(self.target.classes)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy ``[B]``, the mean over the pixels that are labelled, and the Dice loss if it was chosen."""
        target = target.long()
        logits = F.interpolate(output.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
        known = target != UNLABELLED
        weights = self.weights.to(logits.device)
        # One row a pixel: over images as they are, CUDA has no deterministic way.
        rows = logits.movedim(1, 3).flatten(0, 2)
        losses = F.cross_entropy(rows, target.flatten(), weight=weights, ignore_index=UNLABELLED, reduction="none")
        losses = losses.view_as(target)
        counted = (weights[target.masked_fill(~known, 0)] * known).sum(dim=(1, 2))
        loss = losses.sum(dim=(1, 2)) / counted.clamp(min=1e-6)
        return loss + _dice_loss(logits, target, known) if self.dice else loss

    def metrics(self) -> MetricCollection:
        """Return none: what counts are pixels of the image, not of the input."""
        from torchmetrics import MetricCollection

        return MetricCollection({})

    def label_metrics(self) -> LabelMetrics:
        """Return mean_iou, mean_dice and pixel_accuracy."""
        from tlstudio_heads.segmentation_metrics import PixelMetrics

        return PixelMetrics(self.target.classes)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return a mask of the size of each image; the certainty is the mean over its pixels."""
        height, width = inputs["pixels"].shape[-2:]
        corners = torch.tensor([[2.0 / width, 0.0, -1.0], [0.0, 2.0 / height, -1.0], [0.0, 0.0, 1.0]])
        predictions = []
        for logits, place, size in zip(
            output.float(), inputs[GEOMETRY].cpu(), inputs[IMAGE_SIZE].tolist(), strict=True
        ):
            # From pixels of the image to what `grid_sample` counts in: -1 to 1 over the input.
            to_input = (corners @ torch.cat([place, torch.tensor([[0.0, 0.0, 1.0]])]))[:2]
            cells = _cells_across(to_input, size, logits.shape[-2:])
            values = _classes_at(logits, to_input, size, cells)
            sides = (min(size[0], _GLANCE), min(size[1], _GLANCE))
            glance = _at(logits, to_input, size, sides, 0, sides[0]).softmax(dim=0).amax(dim=0)
            found = np.unique(values)
            lookup = np.zeros(256, dtype=np.uint8)
            lookup[found] = range(len(found))
            mask = mask_of(lookup[values], tuple(self.target.classes[value] for value in found))
            predictions.append(Prediction(mask, certainty=float(glance.mean())))
        return predictions


def _dice_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """One minus the soft Dice coefficient ``[B]``, the mean over the classes that an image shows.

    After Milletari et al. 2016 (arXiv:1606.04797).
    """
    probabilities = logits.softmax(dim=1) * known.unsqueeze(1)
    truth = F.one_hot(target.masked_fill(~known, 0), logits.shape[1]).movedim(3, 1) * known.unsqueeze(1)
    common, total = (probabilities * truth).sum(dim=(2, 3)), (probabilities + truth).sum(dim=(2, 3))
    shown = (truth.sum(dim=(2, 3)) > 0).float()
    losses = (1 - (2 * common + 1) / (total + 1)) * shown
    return losses.sum(dim=1) / shown.sum(dim=1).clamp(min=1)


def _cells_across(to_input: Tensor, size: Sequence[int], grid: Sequence[int]) -> tuple[int, int]:
    """How many points of an image, down and across, are looked at: all of a small one, `_POINTS` a cell of a large."""
    corners = torch.tensor([[0.0, 0.0, 1.0], [size[1], 0.0, 1.0], [0.0, size[0], 1.0]]) @ to_input.T
    cells = torch.tensor([grid[1] / 2.0, grid[0] / 2.0])
    across, down = (float(((corner - corners[0]) * cells).norm()) for corner in corners[1:])
    return min(size[0], max(1, math.ceil(_POINTS * down))), min(size[1], max(1, math.ceil(_POINTS * across)))


def _classes_at(logits: Tensor, to_input: Tensor, size: Sequence[int], points: tuple[int, int]) -> NDArray[np.uint8]:
    """The likeliest class of each pixel of an image, ``[height, width]``."""
    rows = max(1, _AT_ONCE // (len(logits) * points[1]))
    parts = [
        _at(logits, to_input, size, points, top, min(points[0], top + rows)).argmax(dim=0).to(torch.uint8)
        for top in range(0, points[0], rows)
    ]
    values: NDArray[np.uint8] = torch.cat(parts).numpy()
    nearest = [((np.arange(side) + 0.5) * count / side).astype(int) for side, count in zip(size, points, strict=True)]
    return values if points == tuple(size) else values[nearest[0]][:, nearest[1]]


def _at(
    logits: Tensor, to_input: Tensor, size: Sequence[int], points: tuple[int, int], top: int, bottom: int
) -> Tensor:
    """Interpolate logits at some rows of an even grid of points over an image, ``[K, bottom - top, points[1]]``."""
    y = (torch.arange(top, bottom) + 0.5) * (size[0] / points[0])
    x = (torch.arange(points[1]) + 0.5) * (size[1] / points[1])
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1) @ to_input.T
    return F.grid_sample(logits[None], grid[None], padding_mode="border", align_corners=False)[0]


class MaskEncoder(TargetEncoder):
    """Gives the class of each pixel of the input: that of the pixel of the image which lies there.

    Args:
        classes: The names, in the order of the outputs.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, H, W]`` uint8, `UNLABELLED` where there is no image."""
        return torch.stack([self._placed(label, item) for label, item in zip(labels, items, strict=True)])

    def _placed(self, label: Label, item: Mapping[str, Any]) -> Tensor:
        if not isinstance(label, Mask):
            raise DataError(
                f"{label!r} is no mask." if label is not None else "An image has no mask.",
                "Import the data set as segmentation, or choose another head.",
            )
        values = class_values(label, self._classes)
        height, width = item["pixels"].shape[-2:]
        forward = item[GEOMETRY].double().numpy()
        back = np.linalg.inv(forward[:, :2])
        across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        places = np.stack([across, down], axis=-1) - forward[:, 2]
        x, y = np.floor(np.moveaxis(places @ back.T, -1, 0) + 1e-6).astype(np.int64)
        inside = (x >= 0) & (y >= 0) & (x < values.shape[1]) & (y < values.shape[0])
        target = np.full((height, width), UNLABELLED, dtype=np.uint8)
        target[inside] = values[y[inside], x[inside]]
        return torch.from_numpy(target)
