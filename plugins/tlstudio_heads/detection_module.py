"""The detection head as a torch module: what it learns, and how its outputs become boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses
from torchvision.ops import batched_nms, sigmoid_focal_loss

from tlstudio.api import GEOMETRY, IMAGE_SIZE, Box, DataError, Features, FeatureShape, Label, Prediction, Sample
from tlstudio.api.data import TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, LabelMetrics, TargetEncoder
from tlstudio_heads.detection_network import PLACE_UNIT, DetectionNetwork

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["BoxEncoder", "DetectedBoxes", "DetectionModule"]

CANDIDATE = 0.05
"""Score from which on a box counts for average precision, as in FCOS."""

_MOST_CELLS = 1000  # the best of an image, that suppression looks at
_RADIUS = 1.5  # cells around the centre of a box that learn it
_LEAST_SIDE = 2.0  # pixels of the input; what is smaller cannot be seen
_LEAST_SHARE = 0.25  # of a box that augmentation has cut, so that it still shows the thing
_LARGEST_LOG = 8.0  # e**8 strides are beyond any image, and finite in all that follows
NOTHING = -1.0
"""Class of a row of targets that pads."""


@dataclass(frozen=True, slots=True)
class DetectedBoxes(Prediction):
    """Boxes from the threshold on, and all from `CANDIDATE` on for average precision, both by falling score."""

    candidates: tuple[Box, ...] = ()


class DetectionModule(HeadModule):
    """Finds things without anchors.

    Args:
        features: What the backbone gives.
        target: The classes, K of them.
        threshold: Lowest score of a box that is given.
        overlap: Intersection over union from which on the lower score is dropped.
        most: Most boxes of an image.
        width: See `DetectionNetwork`.
        depth: See `DetectionNetwork`.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("map", "max")
    decodes_in_place: ClassVar[bool] = True

    def __init__(
        self,
        features: FeatureShape,
        target: TargetInfo,
        *,
        threshold: float,
        overlap: float,
        most: int,
        width: int,
        depth: int,
    ) -> None:
        super().__init__()
        self.target = target
        self.threshold = threshold
        self.overlap = overlap
        self.most = most
        self.network = DetectionNetwork(features, len(target.classes), width=width, depth=depth)

    def forward(self, features: Features) -> Tensor:
        """Compute ``[B, N, K + 8]``; see `DetectionNetwork`."""
        features.require("maps")
        output: Tensor = self.network(features.maps)
        return output

    def encoder(self) -> TargetEncoder:
        """Return what gives the boxes in pixels of the input, ``[B, M, 5]``."""
        return BoxEncoder(self.target.classes)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss ``[B]``: focal loss of the classes, generalised IoU of the boxes, cross-entropy of the centre."""
        logits, centre, edges, places = self._parts(output.float())
        assigned = [self._assign(cells, boxes) for cells, boxes in zip(places, target.float(), strict=True)]
        classes, distances = (torch.stack(parts) for parts in zip(*assigned, strict=True))
        positive = (classes >= 0).float()
        count = positive.sum(dim=1).clamp(min=1)
        wanted = F.one_hot(classes + 1, logits.shape[2] + 1)[:, :, 1:].float()
        right_class = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0).sum(dim=(1, 2)) / count
        at_centre = _centrality(distances)
        weights = at_centre * positive
        right_box = (1 - _generalised_iou(edges.clamp(max=_LARGEST_LOG).exp(), distances)) * weights
        right_centre = F.binary_cross_entropy_with_logits(centre, at_centre, reduction="none") * positive
        return right_class + right_box.sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6) + right_centre.sum(dim=1) / count

    def metrics(self) -> MetricCollection:
        """Return none: what counts are boxes."""
        from torchmetrics import MetricCollection

        return MetricCollection({})

    def label_metrics(self) -> LabelMetrics:
        """Return average precision as COCO counts it."""
        from tlstudio_heads.detection_metrics import BoxMetrics

        return BoxMetrics(self.target.classes)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the boxes of each image in its own pixels, by falling score.

        The score is the geometric mean of the probabilities of the class and of the centre.
        """
        logits, centre, edges, places = self._parts(output.float())
        scores = (logits.sigmoid() * centre.sigmoid().unsqueeze(2)).sqrt()
        reach = edges.clamp(max=_LARGEST_LOG).exp() * places[:, :, 2:]
        x, y = places[:, :, 0], places[:, :, 1]
        left, top, right, bottom = reach.unbind(dim=2)
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=2)
        rows = zip(scores, boxes, inputs[GEOMETRY], inputs[IMAGE_SIZE].tolist(), strict=True)
        return [self._prediction(*row) for row in rows]

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits ``[B, N, K]``, centre ``[B, N]``, edges ``[B, N, 4]``, and x, y, stride in pixels ``[B, N, 3]``."""
        num = len(self.target.classes)
        return output[:, :, :num], output[:, :, num], output[:, :, num + 1 : num + 5], output[:, :, -3:] * PLACE_UNIT

    @torch.no_grad()
    def _assign(self, places: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Say what each cell learns: a class or -1, ``[N]``, and the distances to the edges in strides, ``[N, 4]``.

        A cell learns a box if it lies near its centre, and its level is that of boxes of this size; of several boxes
        the smallest.
        """
        boxes = boxes[boxes[:, 4] > NOTHING]
        nothing = torch.full((len(places),), -1, device=places.device)
        if not len(boxes):
            return nothing, torch.ones(len(places), 4, device=places.device)
        x, y, stride = (column.unsqueeze(1) for column in places.unbind(dim=1))
        left, top, right, bottom = boxes[:, :4].unbind(dim=1)
        distances = torch.stack([x - left, y - top, right - x, bottom - y], dim=2)  # [N, M, 4]
        off_centre = torch.maximum((x - (left + right) / 2).abs(), (y - (top + bottom) / 2).abs())
        longest = distances.amax(dim=2)
        strides = self.network.pyramid.strides
        lowest, highest = 4 * stride * (stride > strides[0]), torch.where(stride < strides[-1], 8 * stride, torch.inf)
        learns = (distances.amin(dim=2) > 0) & (off_centre < _RADIUS * stride)
        learns &= (longest > lowest) & (longest <= highest)
        areas = ((right - left) * (bottom - top)).expand_as(longest).masked_fill(~learns, torch.inf)
        best = areas.argmin(dim=1)
        some = learns.any(dim=1)
        chosen = distances[torch.arange(len(places), device=places.device), best] / stride
        return torch.where(some, boxes[best, 4].long(), nothing), torch.where(some.unsqueeze(1), chosen, 1.0)

    def _prediction(self, scores: Tensor, boxes: Tensor, geometry: Tensor, size: Sequence[int]) -> Prediction:
        lowest = min(self.threshold, CANDIDATE)
        cells, classes = (scores >= lowest).nonzero(as_tuple=True)
        values, order = scores[cells, classes].sort(descending=True, stable=True)
        cells, classes, values = cells[order][:_MOST_CELLS], classes[order][:_MOST_CELLS], values[:_MOST_CELLS]
        height, width = size
        placed = to_image(boxes[cells], geometry)
        placed = torch.stack([edge.clamp(0, most) for edge, most in zip(placed.T, (width, height) * 2, strict=True)], 1)
        real = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
        placed, classes, values = placed[real], classes[real], values[real]
        kept = batched_nms(placed, values, classes, self.overlap)[: self.most]
        found = zip(classes[kept].tolist(), placed[kept].tolist(), values[kept].tolist(), strict=True)
        candidates = tuple(
            Box(self.target.classes[number], left, top, right, bottom, score)
            for number, (left, top, right, bottom), score in found
        )
        return DetectedBoxes(tuple(box for box in candidates if box.score >= self.threshold), candidates=candidates)


class BoxEncoder(TargetEncoder):
    """Gives the boxes of each image in pixels of the input, cut to it, with the place of the class behind.

    Left out is what is too small to be seen there, and of what augmentation has cut, what shows too little.

    Args:
        classes: The names, in their order.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(classes)}

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, M, 5]`` float32: left, top, right, bottom, class; rows that pad have the class -1."""
        found = [self._boxes(label, item) for label, item in zip(labels, items, strict=True)]
        padded = torch.full((len(found), max(1, *map(len, found)), 5), NOTHING)
        for row, boxes in zip(padded, found, strict=True):
            row[: len(boxes)] = boxes
        return padded

    def _boxes(self, label: Label, item: Mapping[str, Any]) -> Tensor:
        boxes = boxes_of(label)
        unknown = [box.name for box in boxes if box.name not in self._index]
        if unknown:
            raise DataError(f"The name {unknown[0]!r} is none of the classes that the model learns.")
        edges = [(box.left, box.top, box.right, box.bottom) for box in boxes]
        height, width = _input_size(item)
        whole = to_input(torch.tensor(edges, dtype=torch.float32).reshape(-1, 4), item[GEOMETRY])
        most = torch.tensor([width, height, width, height])
        seen = torch.minimum(whole.clamp(min=0), most)
        sides, all_sides = (part[:, 2:] - part[:, :2] for part in (seen, whole))
        shares = sides.clamp(min=0).prod(dim=1) / all_sides.prod(dim=1).clamp(min=1e-6)
        kept = (sides.amin(dim=1) >= _LEAST_SIDE) & (shares >= _LEAST_SHARE)
        classes = torch.tensor([float(self._index[box.name]) for box in boxes]).reshape(-1, 1)
        return torch.cat([seen, classes], dim=1)[kept]


def boxes_of(label: Label) -> list[Box]:
    """The boxes of a label.

    Raises:
        DataError: It is no list of boxes.
    """
    boxes = [part for part in label if isinstance(part, Box)] if isinstance(label, tuple) else []
    if not isinstance(label, tuple) or len(boxes) < len(label):
        raise DataError(
            f"{label!r} is no list of boxes." if label is not None else "An image has no boxes.",
            "Import the data set as detection, or choose another head.",
        )
    return boxes


def to_input(boxes: Tensor, geometry: Tensor) -> Tensor:
    """Map boxes ``[M, 4]`` of an image to its input: the boxes around what their corners become."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = corners @ geometry[:, :2].T + geometry[:, 2]
    return torch.cat([moved.amin(dim=1), moved.amax(dim=1)], dim=1)


def to_image(boxes: Tensor, geometry: Tensor) -> Tensor:
    """Map boxes ``[M, 4]`` of an input back to its image."""
    back = torch.linalg.inv(geometry[:, :2].double())
    inverse = torch.cat([back, -back @ geometry[:, 2:].double()], dim=1)
    return to_input(boxes.double(), inverse).to(boxes.dtype)


def _input_size(item: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the input: of the pixels, which are what has three dimensions."""
    pixels = next(value for value in item.values() if isinstance(value, Tensor) and value.ndim == 3)
    height, width = pixels.shape[-2:]
    return int(height), int(width)


def _centrality(distances: Tensor) -> Tensor:
    """How near a place is to the centre of its box, in 0..1, by its distances to the edges ``[..., 4]``."""
    left, top, right, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    return (across * torch.minimum(top, bottom) / torch.maximum(top, bottom)).clamp(min=0).sqrt()


def _generalised_iou(some: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al. 2019, arXiv:1902.09630) of boxes around the same places.

    Both are given as distances from the place to the edges, ``[..., 4]``, all above 0: so they always overlap.
    """

    def area(distances: Tensor) -> Tensor:
        left, top, right, bottom = distances.unbind(dim=-1)
        return (left + right) * (top + bottom)

    common, around = area(torch.minimum(some, others)), area(torch.maximum(some, others))
    union = area(some) + area(others) - common
    return common / union - (around - union) / around
