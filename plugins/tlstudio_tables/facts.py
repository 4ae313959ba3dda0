"""What is learned of the training rows before a network for them can be built: columns, scales and categories."""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlstudio.api import Cell, DataError, Sample, WeightsError
from tlstudio.api.files import read_text

FILE = "columns.json"
NUM_QUANTILES = 129
"""Ranks are told apart to a hundred and twenty-eighth."""

_MOST_KEPT = 65_536
_LARGEST = 3e38

Part = Literal["", "year", "month sin", "month cos", "weekday sin", "weekday cos", "hour sin", "hour cos"]
DATE_PARTS: tuple[Part, ...] = (
    "year",
    "month sin",
    "month cos",
    "weekday sin",
    "weekday cos",
    "hour sin",
    "hour cos",
)


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A number of each row: a column of numbers, or a part of a date.

    Attributes:
        column: The column.
        part: The part of a date; ``""``: the column holds numbers.
        mean: Mean of the training rows.
        std: Their standard deviation, 1 where all are equal.
        quantiles: Their quantiles at even ranks, `NUM_QUANTILES` of them.
    """

    column: str
    part: Part
    mean: float
    std: float
    quantiles: tuple[float, ...]

    @property
    def name(self) -> str:
        """The same under any data: what weights are carried over by."""
        return f"{self.column} ({self.part})" if self.part else self.column


@dataclass(frozen=True, slots=True)
class WordColumn:
    """A category of each row.

    Attributes:
        name: The column.
        words: Its values, the most frequent first. The index 0 stands for one that is not among them, 1 for none;
            the first of these has 2.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The columns that a network takes.

    Attributes:
        numbers: Those of numbers, dates taken apart.
        words: Those of categories.
    """

    numbers: tuple[NumberColumn, ...]
    words: tuple[WordColumn, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that a row must have."""
        return tuple(dict.fromkeys([*(each.column for each in self.numbers), *(each.name for each in self.words)]))

    def write(self, folder: Path) -> None:
        """Write them into the assets."""
        (folder / FILE).write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> TableFacts:
        """Read them from the assets.

        Raises:
            WeightsError: They are missing or damaged.
        """
        try:
            stored = json.loads(read_text(folder / FILE))
            numbers = tuple(_number_column(each) for each in stored["numbers"])
            words = tuple(WordColumn(str(each["name"]), tuple(map(str, each["words"]))) for each in stored["words"])
            return cls(numbers, words)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise WeightsError(
                f"The columns of the model in {folder / FILE} cannot be read: {error}.",
                "Train or export the model again.",
                path=folder / FILE,
            ) from error


def _number_column(stored: Mapping[str, Any]) -> NumberColumn:
    quantiles = tuple(float(value) for value in stored["quantiles"])
    mean, std = float(stored["mean"]), float(stored["std"])
    if len(quantiles) != NUM_QUANTILES or not all(map(math.isfinite, (mean, std, *quantiles))) or std <= 0:
        raise ValueError(f"the scale of {str(stored['column'])[:60]!r} is damaged")
    if stored["part"] not in ("", *DATE_PARTS):
        raise ValueError(f"there is no part {str(stored['part'])[:60]!r} of a date")
    return NumberColumn(str(stored["column"]), stored["part"], mean, std, quantiles)


def series_in(sample: Sample) -> list[str]:
    """Names of the columns of a sample that hold several numbers."""
    return [name for name, cell in (sample.values or {}).items() if isinstance(cell, tuple)]


def how_to_name(missing: Iterable[str], sample: Sample) -> str:
    """Say how columns that a sample lacks are to be called; some may be there in other letters."""
    there = {name.strip().casefold(): name for name in sample.values or {}}
    also = {name: there[name.strip().casefold()] for name in missing if name.strip().casefold() in there}
    told = ", ".join(f'"{other}" must be "{name}"' for name, other in also.items())
    how = "Name the columns as in the data that the model was trained on"
    return f"{how}: {told}." if told else f"{how}."


def fit_table(samples: Iterable[Sample], *, max_categories: int) -> TableFacts:
    """Look through the training rows.

    Args:
        samples: The rows.
        max_categories: Most values that are known of a column of words.

    Raises:
        DataError: No column holds anything, or one holds series.
    """
    kept: list[Mapping[str, Cell]] = []
    words: dict[str, Counter[str]] = {}
    dates: dict[str, bool] = {}
    every = 1
    for number, sample in enumerate(samples):
        if series := series_in(sample):
            raise DataError(
                f'The column "{series[0]}" holds a series in each row.',
                "Choose a backbone for series.",
                field="backbone",
            )
        values = sample.values or {}
        for name, cell in values.items():
            counted = words.setdefault(name, Counter())
            if isinstance(cell, str):
                dates[name] = dates.get(name, True) and date_of(cell) is not None
                if not dates[name] or len(counted) < 2 * max_categories:
                    counted[cell] += 1
        if number % every == 0:
            kept.append(values)
            if len(kept) > _MOST_KEPT:  # of more rows, every second, every fourth, ... gives the same scales
                kept, every = kept[::2], 2 * every
    numbers: list[NumberColumn] = []
    categories: list[WordColumn] = []
    for name, counted in words.items():
        cells = [row.get(name) for row in kept]
        if counted and not dates.get(name, False):
            for cell in cells:
                if isinstance(cell, float):  # numbers among words are words
                    counted[word_of(cell)] += 1
            frequent = sorted(counted, key=lambda word: (-counted[word], word))[:max_categories]
            categories.append(WordColumn(name, tuple(frequent)))
        else:
            for part in DATE_PARTS if counted else ("",):
                found = _numbers(cells, part)
                if len(found):
                    numbers.append(_scaled(name, part, found))
    if not numbers and not categories:
        raise DataError("No column of the training rows holds anything.", "Choose other columns.", field="dataset")
    return TableFacts(tuple(numbers), tuple(categories))


def _numbers(cells: Iterable[Cell], part: Part) -> np.ndarray:
    found = [number_of(cell, part) for cell in cells]
    return np.array([number for number in found if not math.isnan(number)], dtype=np.float64)


def _scaled(column: str, part: Part, values: np.ndarray) -> NumberColumn:
    quantiles = np.quantile(values, np.linspace(0, 1, NUM_QUANTILES))
    std = float(values.std())
    if not math.isfinite(std) or std == 0 or values.min() == values.max():
        std = 1.0
    return NumberColumn(column, part, float(values.mean()), std, tuple(quantiles.tolist()))


def number_of(cell: Cell, part: Part = "") -> float:
    """Return a cell as a number, or the part of a date; NaN for nothing.

    Raises:
        ValueError: It is neither.
    """
    if cell is None or cell == "":
        return math.nan
    if isinstance(cell, tuple):
        raise ValueError("it holds several numbers")
    if not part:
        number = float(cell)
        if math.isinf(number):
            raise ValueError("it is infinite")
        return min(_LARGEST, max(-_LARGEST, number))  # networks compute in 32 bits
    date = date_of(cell) if isinstance(cell, str) else None
    if date is None:
        raise ValueError("it is no date")
    if part == "year":
        return date.year + (date.timetuple().tm_yday - 1) / 366
    unit, wave = part.split(" ")
    turn = {"month": (date.month - 1) / 12, "weekday": date.weekday() / 7, "hour": (date.hour + date.minute / 60) / 24}
    angle = 2 * math.pi * turn[unit]
    return math.sin(angle) if wave == "sin" else math.cos(angle)


def word_of(cell: Cell) -> str:
    """Return a cell as the name of a category; numbers as a table writes them."""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else str(cell)
    return "" if cell is None or isinstance(cell, tuple) else cell


def date_of(cell: str) -> datetime.datetime | None:
    """Read a date in ISO 8601; `None`: it is none."""
    if not 10 <= len(cell) <= 32:
        return None
    try:
        return datetime.datetime.fromisoformat(cell)
    except ValueError:
        return None
