"""A tiny backbone for rows of tables, and rows for it. Light to import."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import SCALE, Cell, DataError, FeatureKind, Label, Options, Preprocessor, Sample
from tlstudio.testing.components import TinyBackbone

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

__all__ = ["HORIZON", "TinyRowNet", "tiny_row"]

HORIZON = 3
"""Values that are to be forecast in the rows of `tiny_row`."""

_LENGTH = 16


def tiny_row(name: str, number: int, made: random.Random, *, series: bool) -> tuple[dict[str, Cell], Label]:
    """Make the values of a row, from which its class can be told, and what follows its series.

    Args:
        name: The class.
        number: Which row.
        made: Makes the rest.
        series: Whether it holds a series instead of a number, a word and a date.
    """
    if series:
        pace = 0.2 + 0.2 * (number % 3)
        curve = [math.sin(pace * place) + 0.1 * made.random() for place in range(_LENGTH + HORIZON)]
        return {"curve": tuple(curve[:_LENGTH])}, tuple(curve[_LENGTH:])
    day = f"2024-0{1 + number % 9}-1{number % 9}T08:30:00"
    amount = 10.0 * len(name) + made.random()
    return {
        "amount": amount,
        "weight": made.random(),
        "kind": name[:2] if made.random() < 0.9 else None,
        "day": day,
    }, None


class TinyRowNet(TinyBackbone):
    """A linear layer on eight numbers that stand for a row."""

    name = "tiny_row_net"
    title = "Tiny network for rows"
    description = "A linear layer with random weights, for tests of plugins."
    modality = "table"
    _provides: frozenset[FeatureKind] = frozenset({"pooled"})
    _input = "a row"

    def preprocessor(self, options: Options, **_: Any) -> Preprocessor:  # noqa: ANN401  as the contract has them
        """Make the preprocessor."""
        return TinyRowPreprocessor()

    def restore(self, options: Options, assets: Path) -> BackboneModule:
        """Build the network."""
        from tlstudio.testing.networks import RowNet

        return RowNet(TinyRowPreprocessor.numbers)


class TinyRowPreprocessor(Preprocessor):
    """Turns each cell into a number: words into one of their own, series into their mean."""

    numbers = 8

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``numbers``, and `SCALE` of the first series."""
        if sample.values is None:
            raise DataError(f"{sample.source or sample.id} is no row.", "Choose a data set of rows.")
        cells = [_number(cell) for cell in sample.values.values()][: self.numbers]
        series = next((cell for cell in sample.values.values() if isinstance(cell, tuple)), None)
        return {
            "numbers": cells + [0.0] * (self.numbers - len(cells)),
            SCALE: (0.0, 1.0) if series is None else (sum(series) / len(series), 1.0),
        }

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``numbers`` ``[B, 8]`` and the scale ``[B, 2]``."""
        import torch

        return {name: torch.tensor([item[name] for item in items]) for name in ("numbers", SCALE)}


def _number(cell: Cell) -> float:
    if isinstance(cell, tuple):
        return sum(cell) / len(cell)
    if isinstance(cell, str):
        return zlib.crc32(cell.encode()) / 2**32  # Python's own hash() differs from process to process
    return 0.0 if cell is None else cell / 100
