"""The points of one curve: grows cheaply, is thinned to what a screen can show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class Curve:
    """Points of one curve in the order of x.

    Args:
        x: First x values, ascending.
        y: Their y values; those that are not finite are left out.
    """

    def __init__(self, x: Any = (), y: Any = ()) -> None:  # noqa: ANN401  whatever numpy takes
        self._x: Points = np.empty(256, dtype=np.float64)
        self._y: Points = np.empty(256, dtype=np.float64)
        self._count = 0
        self.low = float("inf")
        self.high = float("-inf")
        for at, value in zip(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), strict=True):
            self.append(float(at), float(value))

    def __len__(self) -> int:
        return self._count

    @property
    def x(self) -> Points:
        """All x values, ``[N]``."""
        return self._x[: self._count]

    @property
    def y(self) -> Points:
        """All y values, ``[N]``."""
        return self._y[: self._count]

    def append(self, x: float, y: float) -> None:
        """Add a point; one that is not finite is left out."""
        if not (np.isfinite(x) and np.isfinite(y)):
            return
        if self._count == len(self._x):
            self._x = np.concatenate([self._x, np.empty_like(self._x)])
            self._y = np.concatenate([self._y, np.empty_like(self._y)])
        self._x[self._count] = x
        self._y[self._count] = y
        self._count += 1
        self.low = min(self.low, y)
        self.high = max(self.high, y)

    def thinned(self, columns: int) -> tuple[Points, Points]:
        """Return at most ``4 * columns`` points that look the same on so many pixel columns.

        Of each bucket of neighbouring points the first, lowest, highest and last are kept, so no spike is lost.
        """
        if self._count <= 4 * columns:
            return self.x, self.y
        edges = np.linspace(0, self._count, columns + 1).astype(np.int64)
        keep = np.empty((columns, 4), dtype=np.int64)
        for column in range(columns):
            start, end = edges[column], edges[column + 1]
            part = self._y[start:end]
            keep[column] = (start, start + part.argmin(), start + part.argmax(), end - 1)
        index = np.unique(keep)
        return self._x[index], self._y[index]

    def nearest(self, x: float) -> int:
        """Index of the point nearest to x; the curve must not be empty."""
        right = int(np.searchsorted(self.x, x))
        if right == 0:
            return 0
        if right == self._count:
            return self._count - 1
        return right if self._x[right] - x < x - self._x[right - 1] else right - 1
