"""Snapshot ensembles while a run trains. Imported only when they are built."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping

from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["SnapshotsModule"]


class SnapshotsModule(MethodModule):
    """The learning rate falls as a cosine in each cycle, at the end of which the weights are kept.

    Args:
        context: The run.
        cycles: How many.
    """

    def __init__(self, context: MethodContext, cycles: int) -> None:
        super().__init__(context)
        self._ends = [-(-number * context.epochs // cycles) for number in range(1, cycles + 1)]  # in epochs
        self._epoch = 0

    def learning_rate(self, progress: float, factor: float) -> float:
        """Begin anew in each cycle."""
        per_epoch = self.context.steps // self.context.epochs
        step = min(round(progress * self.context.steps), self.context.steps - 1)
        ends = [epoch * per_epoch for epoch in self._ends]
        cycle = bisect.bisect_right(ends, step)
        start = ends[cycle - 1] if cycle else 0
        return 0.5 * (math.cos(math.pi * (step - start) / (ends[cycle] - start)) + 1.0)

    def on_epoch_start(self, epoch: int) -> None:
        """Note which one it is."""
        self._epoch = epoch

    def snapshot(self) -> int:
        """Keep the weights where a cycle ends."""
        return self._ends.index(self._epoch + 1) + 1 if self._epoch + 1 in self._ends else 0

    def quantities(self) -> Mapping[str, float]:
        """The cycle that is under way."""
        return {"cycle": bisect.bisect_right(self._ends, self._epoch) + 1}
