"""From a row to the numbers that a network for rows takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tlstudio.api import DataError, Preprocessor, Sample
from tlstudio_tables.facts import TableFacts, how_to_name, number_of, series_in, word_of

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN, MISSING, FIRST = 0, 1, 2
"""Indices of a category that was not among the training rows, of none, and of the first that was."""


class TablePreprocessor(Preprocessor):
    """Takes the columns that the network knows; others are left aside.

    Args:
        facts: The columns.
    """

    def __init__(self, facts: TableFacts) -> None:
        self.facts = facts
        self._index = [{word: index for index, word in enumerate(column.words, start=FIRST)} for column in facts.words]

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``numbers``, NaN where there is none, and ``words``, their indices.

        Raises:
            DataError: A column is missing, or a cell is of another kind.
        """
        where = sample.source or sample.id
        if sample.values is None:
            raise DataError(f"{where} is no row of a table.", "Choose a table of values.")
        missing = [name for name in self.facts.columns if name not in sample.values]
        if missing:
            series = series_in(sample)
            what = f"a series in the column {series[0]!r}" if series else f"the columns {_listed(list(sample.values))}"
            raise DataError(
                f"{where} lacks {_listed(missing)}, which the model takes; it has {what}.",
                how_to_name(missing, sample),
            )
        numbers = []
        for column in self.facts.numbers:
            cell = sample.values[column.column]
            try:
                numbers.append(number_of(cell, column.part))
            except ValueError:
                kind = "date" if column.part else "finite number"
                raise DataError(
                    f'The "{column.column}" of {where} is no {kind}: {str(cell)[:60]!r}.',
                    "Correct it, or leave it empty.",
                ) from None
        words = []
        for known, each in zip(self._index, self.facts.words, strict=True):
            cell = sample.values[each.name]
            if isinstance(cell, tuple):
                raise DataError(f'The "{each.name}" of {where} is a series, not a word.', "Choose another table.")
            word = word_of(cell)
            words.append(known.get(word, UNKNOWN) if word else MISSING)
        return {"numbers": numbers, "words": words}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``numbers`` ``[B, N]`` float32 and ``words`` ``[B, K]`` int64."""
        import torch

        return {
            "numbers": torch.tensor([item["numbers"] for item in items], dtype=torch.float32),
            "words": torch.tensor([item["words"] for item in items], dtype=torch.int64),
        }

    def remark(self, sample: Sample) -> str:
        """Name the columns of a sample that are left aside."""
        extra = [name for name in sample.values or {} if name not in self.facts.columns]
        return f"The model does not know {_listed(extra)}: what is there does not count." if extra else ""

    def takes(self, sample: Sample) -> bool:
        """Whether it is a row with single values, of whatever columns: which of them lack is told of each."""
        return sample.values is not None and not series_in(sample)

    def is_empty(self, sample: Sample) -> bool:
        """Whether all columns that the network knows are empty."""
        cells = [(sample.values or {}).get(name) for name in self.facts.columns]
        return all(cell in (None, "") or cell != cell for cell in cells)  # NaN is not itself

    def notes(self, samples: Sequence[Sample]) -> list[str]:
        """Name besides the categories that were not among the training rows."""
        told = super().notes(samples)
        for known, column in zip(self._index, self.facts.words, strict=True):
            cells = (word_of((sample.values or {}).get(column.name)) for sample in samples)
            if new := [word for word in cells if word and word not in known]:
                who = "1 row has" if len(new) == 1 else f"{len(new):,} rows have"
                values = _listed([word[:40] for word in dict.fromkeys(new)])
                told.append(
                    f'In "{column.name}", {who} what the model has not learned of: {values}. It counts as unknown.'
                )
        return told

    def describe(self) -> dict[str, Any]:
        """Give the columns; scales and categories lie beside the model."""
        facts = json.dumps(asdict(self.facts), sort_keys=True)
        return {
            "input": "numbers (NaN: missing), words (0: unknown, 1: missing)",
            "numbers": [column.name for column in self.facts.numbers],
            "words": {column.name: len(column.words) for column in self.facts.words},
            "columns_sha256": hashlib.sha256(facts.encode()).hexdigest(),
        }


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(f'"{name}"' for name in names[:6])
    return told if len(names) <= 6 else f"{told} and {len(names) - 6} more"
