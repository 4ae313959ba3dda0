"""From labels to targets. These go along to the processes that read samples. Imports torch."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tlstudio.api import DataError, Label
from tlstudio.api.nn import TargetEncoder

__all__ = ["ClassEncoder", "LabelsEncoder", "ValueEncoder"]


class ClassEncoder(TargetEncoder):
    """Gives the index of a class.

    Args:
        classes: The names, in the order of the outputs.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(classes)}

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return class indices ``[B]`` int64."""
        return torch.tensor([_index_of(label, self._index) for label in labels], dtype=torch.int64)


class LabelsEncoder(TargetEncoder):
    """Gives a row of ones and zeros, one a class.

    Args:
        classes: The names, in the order of the outputs.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(classes)}

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, K]`` float32 with 1 for each label that a sample has."""
        encoded = torch.zeros(len(labels), len(self._index))
        for row, label in enumerate(labels):
            if not isinstance(label, tuple):
                raise DataError(
                    f"{label!r} is not a set of labels." if label is not None else "A sample has no labels.",
                    "Import the data set as multi-label, or choose another head.",
                )
            for name in label:
                encoded[row, _index_of(name, self._index)] = 1.0
        return encoded


class ValueEncoder(TargetEncoder):
    """Gives a number in standard deviations from the mean.

    Args:
        mean: Mean of the training values.
        std: Their standard deviation, above 0.
    """

    def __init__(self, mean: float, std: float) -> None:
        self._mean = mean
        self._std = std

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return standardised values ``[B]`` float32."""
        values = []
        for label in labels:
            if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
                raise DataError(
                    f"{label!r} is not a number." if label is not None else "A sample has no value.",
                    "Correct the value, or import the data set for classification.",
                )
            values.append((label - self._mean) / self._std)
        return torch.tensor(values, dtype=torch.float32)


def _index_of(label: object, index: dict[str, int]) -> int:
    found = index.get(label) if isinstance(label, str) else None
    if found is not None:
        return found
    if label is None:
        raise DataError("A sample has no label.", "Label it, or leave it out.")
    near = difflib.get_close_matches(str(label), index, n=1, cutoff=0.0)
    raise DataError(
        f"The label {label!r} is none of the {len(index)} classes that the model learns.",
        f"Did you mean {near[0]!r}?" if near else "",
    )
