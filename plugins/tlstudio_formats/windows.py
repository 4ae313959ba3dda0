"""Cutting series into windows without looking ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tlstudio.api import SPLITS, Split

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a series, and what follows it.

    Attributes:
        start: Its first row.
        end: The row behind its last.
        until: The row behind the last of those that follow and are to be forecast; `end` where none are.
        split: Where it belongs.
    """

    start: int
    end: int
    until: int
    split: Split


def cut_points(times: Times, validation: float, test: float) -> tuple[float, float]:
    """Return the times at which validation and test begin: before each lies its share of the different times.

    Args:
        times: Times of all rows of all series.
        validation: Share of validation.
        test: Share of test.
    """
    different = np.unique(times)
    count = len(different)
    first, second = round(count * (1 - validation - test)), round(count * (1 - test))
    ends = [float(different[place]) if place < count else np.inf for place in (first, second)]
    return ends[0], ends[1]


def windows(times: Times, length: int, horizon: int, step: int, cuts: tuple[float, float]) -> Iterator[Window]:
    """Cut a series into windows.

    Each lies in one split with all its rows, those that are to be forecast among them. What one split asks for is
    therefore never part of another one's input, and each split is later than the one before.

    Args:
        times: Times of its rows, ascending, ``[N]``.
        length: Rows of a window.
        horizon: Rows behind it that are to be forecast.
        step: A window begins every so many rows.
        cuts: Times at which validation and test begin.
    """
    borders = [0, *np.searchsorted(times, cuts, side="left").tolist(), len(times)]
    for split, first, behind in zip(SPLITS, borders, borders[1:], strict=False):
        for start in range(first, behind - length - horizon + 1, step):
            yield Window(start, start + length, start + length + horizon, split)
