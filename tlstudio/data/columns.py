"""What is in the columns of a table: how much, how different, and whether one gives the target away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tlstudio.api import Cell, label_text
from tlstudio.data.revision import Revision

MOST_ROWS = 20_000
"""Rows that are looked at; of more, as many spread evenly."""

_ENOUGH = 20


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of a table.

    Attributes:
        name: Its name.
        filled: Share of rows that have something in it.
        low: Smallest number; NaN if it has none.
        high: Largest number; NaN if it has none.
        different: Number of different words; 0 of numbers.
        steps: Most values of a series in it; 0 if it holds none.
        constant: Whether all of these have the same in it.
        tells_target: Whether it is the target in other words: each of its values goes with one label and the other
            way round, or it is the number to be learned on another scale.
    """

    name: str
    filled: float
    low: float
    high: float
    different: int
    steps: int
    constant: bool
    tells_target: bool


def column_facts(revision: Revision) -> tuple[ColumnFacts, ...]:
    """Look through the columns of a revision's table; none where it has no rows of values."""
    if revision.modality != "table":
        return ()
    count = min(len(revision), MOST_ROWS)
    indices = np.unique(np.linspace(0, len(revision) - 1, count).astype(np.int64))
    rows, labels = [], []
    for sample in revision.samples(indices):
        rows.append(sample.values or {})
        labels.append(sample.label)
    names = dict.fromkeys(name for row in rows for name in row)
    facts = []
    for name in names:
        cells = [row.get(name) for row in rows]
        filled = [(cell, label) for cell, label in zip(cells, labels, strict=True) if not _is_nothing(cell)]
        same = len({cell for cell, _ in filled}) <= 1
        tells = False
        if len(filled) >= _ENOUGH and not same and not isinstance(filled[0][0], tuple):
            if revision.label_kind == "number":
                tells = _on_one_line([(cell, label) for cell, label in filled if isinstance(cell, float)])
            elif revision.label_kind == "name":
                tells = _one_to_one([(str(cell), label_text(label)) for cell, label in filled])
        series = [cell for cell, _ in filled if isinstance(cell, tuple)]
        numbers = [cell for cell, _ in filled if isinstance(cell, float)]
        numbers += [number for each in series for number in each if math.isfinite(number)]
        fact = ColumnFacts(
            name,
            filled=len(filled) / len(rows),
            low=min(numbers, default=math.nan),
            high=max(numbers, default=math.nan),
            different=len({cell for cell, _ in filled if isinstance(cell, str)}),
            steps=max(map(len, series), default=0),
            constant=same,
            tells_target=tells,
        )
        facts.append(fact)
    return tuple(facts)


def _is_nothing(cell: Cell) -> bool:
    return cell in (None, "", ()) or (isinstance(cell, tuple) and all(math.isnan(number) for number in cell))


def _one_to_one(pairs: list[tuple[str, str]]) -> bool:
    """Whether each value goes with one label and each label with one value."""
    different = set(pairs)
    return 1 < len(different) == len({value for value, _ in different}) == len({label for _, label in different})


def _on_one_line(pairs: list[tuple[object, object]]) -> bool:
    """Whether numbers follow from each other by a factor and a summand."""
    if len(pairs) < _ENOUGH:
        return False
    both = np.array(pairs, dtype=np.float64).T
    if not np.isfinite(both).all() or not both.std(axis=1).all():
        return False
    both = (both - both.mean(axis=1, keepdims=True)) / both.std(axis=1, keepdims=True)
    return bool(abs((both[0] * both[1]).mean()) > 1 - 1e-9)
