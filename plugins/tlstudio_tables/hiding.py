"""From a row to numbers of which some are hidden, so that they are restored from the others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlstudio.api import TARGETS, Sample
from tlstudio_tables.facts import TableFacts
from tlstudio_tables.preprocessor import FIRST, MISSING, TablePreprocessor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HidingPreprocessor"]

HIDDEN_SHARE = 0.3
"""Share of the columns that are hidden, as VIME has it."""
FARTHEST = 10.0
"""Standard deviations beyond which a number is not followed."""


class HidingPreprocessor(TablePreprocessor):
    """Hides columns as if nothing were in them, anew for each seed; with a date, all its parts.

    Of the columns of a row that hold something, 30 % are hidden, and at least one.

    Args:
        facts: The columns.
    """

    def __init__(self, facts: TableFacts) -> None:
        super().__init__(facts)
        names = [*(each.column for each in facts.numbers), *(each.name for each in facts.words)]
        self._places = {name: [at for at, other in enumerate(names) if other == name] for name in facts.columns}

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``numbers`` and ``words``, some of them hidden, and what stood there.

        Args:
            sample: The row.
            seed: What is hidden derives from it; without one, as in validation, from the id of the sample.
        """
        item = super().__call__(sample)
        if seed is None:
            seed = int.from_bytes(hashlib.blake2b(sample.id.encode("utf-8", "replace"), digest_size=8).digest())
        rng = np.random.default_rng(seed)
        numbers, words = item["numbers"], item["words"]
        told = self._told(numbers, words)
        filled = [name for name, places in self._places.items() if not any(math.isnan(told[at]) for at in places)]
        count = min(len(filled), max(1, round(HIDDEN_SHARE * len(filled))))
        hidden = {at for place in rng.permutation(len(filled))[:count] for at in self._places[filled[place]]}
        for at in hidden:
            if at < len(numbers):
                numbers[at] = math.nan
            else:
                words[at - len(numbers)] = MISSING
        item[TARGETS] = [value if at in hidden else math.nan for at, value in enumerate(told)]
        return item

    def _told(self, numbers: Sequence[float], words: Sequence[int]) -> list[float]:
        """What could be restored of each column: a standardised number or the place of a category, NaN for nothing."""
        scaled = (
            max(-FARTHEST, min(FARTHEST, (value - column.mean) / column.std)) if not math.isnan(value) else math.nan
            for value, column in zip(numbers, self.facts.numbers, strict=True)
        )
        return [*scaled, *(float(word) if word >= FIRST else math.nan for word in words)]

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return also `TARGETS` ``[B, N + K]`` float32, NaN where nothing was hidden."""
        import torch

        targets = torch.tensor([item[TARGETS] for item in items], dtype=torch.float32)
        return {**super().collate(items), TARGETS: targets}

    def describe(self) -> dict[str, Any]:
        """Give what is hidden, beside the columns."""
        return {**super().describe(), "hidden": HIDDEN_SHARE}
