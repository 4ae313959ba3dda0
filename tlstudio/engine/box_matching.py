"""Which predicted boxes are right. Light: no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlstudio.api import Box, Label

RIGHT = 0.5
"""Intersection over union from which on a box is right, as in PASCAL VOC (Everingham et al. 2010)."""


def boxes_in(label: Label) -> list[Box]:
    """The boxes of a label; none in labels of another kind."""
    return [part for part in label if isinstance(part, Box)] if isinstance(label, tuple) else []


def matched(truth: Sequence[Box], predicted: Sequence[Box]) -> list[tuple[Box, Box]]:
    """Pair predicted boxes with those that they find.

    By falling score, each takes the box of its own class that it overlaps most, by `RIGHT` at least, and that none
    before has taken.

    Returns:
        Pairs of a true and a predicted box.
    """
    pairs: list[tuple[Box, Box]] = []
    if not truth or not predicted:
        return pairs
    overlaps = _overlaps(truth, predicted)
    free = [True] * len(truth)
    for place in sorted(range(len(predicted)), key=lambda place: -predicted[place].score):
        box = predicted[place]
        fitting = [number for number, other in enumerate(truth) if free[number] and other.name == box.name]
        best = max(fitting, key=lambda number: overlaps[number, place], default=None)
        if best is not None and overlaps[best, place] >= RIGHT:
            free[best] = False
            pairs.append((truth[best], box))
    return pairs


def box_counts(truth: Label, predicted: Label) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count by class the true boxes of an image, those that were predicted, and those of them that are right."""
    true_boxes, predicted_boxes = boxes_in(truth), boxes_in(predicted)
    right = matched(true_boxes, predicted_boxes)
    return (
        Counter(box.name for box in true_boxes),
        Counter(box.name for box in predicted_boxes),
        Counter(box.name for box, _ in right),
    )


def _overlaps(some: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """Intersection over union of each pair, ``[len(some), len(others)]``."""
    (left, top, right, bottom), (left2, top2, right2, bottom2) = (
        np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], dtype=np.float64).T
        for boxes in (some, others)
    )
    across = np.minimum.outer(right, right2) - np.maximum.outer(left, left2)
    down = np.minimum.outer(bottom, bottom2) - np.maximum.outer(top, top2)
    common = across.clip(min=0) * down.clip(min=0)
    union = np.add.outer((right - left) * (bottom - top), (right2 - left2) * (bottom2 - top2)) - common
    overlaps: NDArray[np.float64] = common / np.maximum(union, np.finfo(np.float64).tiny)
    return overlaps
