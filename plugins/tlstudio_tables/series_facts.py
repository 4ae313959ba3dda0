"""What is learned of the training windows before a network for them can be built, and how a window is prepared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlstudio.api import SCALE, DataError, Preprocessor, Sample, WeightsError
from tlstudio.api.files import read_text
from tlstudio_tables.facts import how_to_name, series_in

if TYPE_CHECKING:
    from torch import Tensor

FILE = "channels.json"
_MOST_CHANNELS = 10_000
_LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class Channel:
    """One of the series that are known at the same times.

    Attributes:
        name: Its column.
        mean: Mean of the training windows.
        std: Their standard deviation, 1 where all values are equal.
    """

    name: str
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The channels that a network takes, and how long.

    Attributes:
        channels: The channels; the first is the one that is forecast.
        length: Values that the network looks at: as many as the longest training window has.
        shortest: Fewest values that can be read: as many, or 1 where training windows differ in length.
    """

    channels: tuple[Channel, ...]
    length: int
    shortest: int

    def write(self, folder: Path) -> None:
        """Write them into the assets."""
        (folder / FILE).write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> SeriesFacts:
        """Read them from the assets.

        Raises:
            WeightsError: They are missing or damaged.
        """
        try:
            stored = json.loads(read_text(folder / FILE))
            channels = tuple(Channel(str(e["name"]), float(e["mean"]), float(e["std"])) for e in stored["channels"])
            length, shortest = int(stored["length"]), int(stored["shortest"])
            usable = all(math.isfinite(each.mean) and 0 < each.std < math.inf for each in channels)
            if not channels or not usable or not 1 <= shortest <= length:
                raise ValueError("its figures cannot be")
            return cls(channels, length, shortest)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise WeightsError(
                f"The channels of the model in {folder / FILE} cannot be read: {error}.",
                "Train or export the model again.",
                path=folder / FILE,
            ) from error


def fit_series(samples: Iterable[Sample]) -> SeriesFacts:
    """Look through the training windows.

    Raises:
        DataError: A sample holds no series, or samples hold different ones.
    """
    names: list[str] = []
    lengths: set[int] = set()
    totals: dict[str, np.ndarray] = {}
    for sample in samples:
        where = sample.source or sample.id
        found = series_in(sample)
        if not found:
            raise DataError(f"{where} holds no series.", "Choose a backbone for rows of tables.", field="backbone")
        if not names:
            names = found[:_MOST_CHANNELS]
            totals = {name: np.zeros(3) for name in names}
        if found[:_MOST_CHANNELS] != names:
            told = ", ".join(f'"{name}"' for name in found[:6])
            raise DataError(
                f"{where} has the channels {told}, which are not those of the samples before it.",
                "Import windows with the same channels each.",
            )
        for name in names:
            values = series_of(sample, name)
            lengths.add(len(values))
            known = values[np.isfinite(values)]
            totals[name] += [len(known), known.sum(), np.square(known).sum()]
    if not names or not max(lengths):
        raise DataError("The training windows hold no values.", "Import longer windows.", field="dataset")
    channels = []
    for name in names:
        count, total, squares = totals[name]
        mean = total / count if count else 0.0
        variance = squares / count - mean * mean if count else 0.0
        # Rounding can leave a tiny spread of values that are all equal, by which nothing may be divided.
        std = math.sqrt(variance) if variance > 1e-12 * max(1.0, mean * mean) else 1.0
        channels.append(Channel(name, float(mean), std))
    return SeriesFacts(tuple(channels), max(lengths), max(lengths) if len(lengths) == 1 else 1)


def series_of(sample: Sample, name: str) -> np.ndarray:
    """Return a series of a sample, kept within what can be squared."""
    cell = (sample.values or {}).get(name)
    values = np.array(cell if isinstance(cell, tuple) else (), dtype=np.float64)
    clipped: np.ndarray = np.clip(values, -_LARGEST, _LARGEST)
    return clipped


class SeriesPreprocessor(Preprocessor):
    """Takes the end of a series, as long as the network looks at, and scales it.

    Args:
        facts: Channels and length.
        window_scaling: Whether each window is scaled by its own mean and spread (RevIN, Kim et al. 2022).
    """

    def __init__(self, facts: SeriesFacts, *, window_scaling: bool) -> None:
        self.facts = facts
        self.window_scaling = window_scaling

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``series`` ``[C, L]``, and `SCALE` of the first channel.

        Raises:
            DataError: A channel is missing, too short or empty.
        """
        facts, where = self.facts, sample.source or sample.id
        rows = []
        scale = (0.0, 1.0)
        for place, channel in enumerate(facts.channels):
            values = series_of(sample, channel.name)
            if not len(values):
                found = ", ".join(f'"{name}"' for name in series_in(sample)[:6]) or "none"
                raise DataError(
                    f'{where} has no series "{channel.name}", which the model takes; it has {found}.',
                    how_to_name([channel.name], sample),
                )
            if len(values) < facts.shortest:
                counted = "1 row" if len(values) == 1 else f"{len(values):,} rows"
                raise DataError(
                    f"{where} has {counted}, and the model needs {facts.shortest:,} at least.",
                    "Give more of what came before.",
                )
            values = _filled(values[-facts.length :], channel.mean)
            level, spread = channel.mean, channel.std
            if self.window_scaling:
                level = float(values.mean())
                # Of a window that stands still the training data tell what counts as a change.
                spread = max(float(values.std()), 1e-2 * channel.std)
            if not place:
                scale = (level, spread)
            before = np.full(facts.length - len(values), values[0])
            rows.append((np.concatenate([before, values]) - level) / spread)
        return {"series": np.stack(rows).astype(np.float32), SCALE: scale}

    def takes(self, sample: Sample) -> bool:
        """Whether it is a series, of whatever length."""
        return bool(series_in(sample))

    def is_empty(self, sample: Sample) -> bool:
        """Whether nothing is known of the first channel where the network looks; one that lacks is told as such."""
        values = series_of(sample, self.facts.channels[0].name)[-self.facts.length :]
        return bool(len(values)) and not np.isfinite(values).any()

    @property
    def forecast_name(self) -> str:
        """Name of the first channel."""
        return self.facts.channels[0].name

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``series`` ``[B, C, L]`` and the scale ``[B, 2]``, both float32."""
        import torch

        series = torch.from_numpy(np.stack([item["series"] for item in items]))
        return {"series": series, SCALE: torch.tensor([item[SCALE] for item in items], dtype=torch.float32)}

    def remark(self, sample: Sample) -> str:
        """Name the columns of a sample that are left aside."""
        known = {channel.name for channel in self.facts.channels}
        extra = [f'"{name}"' for name in sample.values or {} if name not in known]
        return f"The model does not know {', '.join(extra[:6])}: what is there does not count." if extra else ""

    def describe(self) -> dict[str, Any]:
        """Give channels, length and scaling."""
        return {
            "input": "series [channels, length], the end of what is given",
            **asdict(self.facts),
            "scaling": "by each window's own mean and standard deviation"
            if self.window_scaling
            else "by mean and standard deviation of the training windows",
            "missing": "the last known value",
        }


def _filled(values: np.ndarray, otherwise: float) -> np.ndarray:
    """Fill what is missing with the last known value, at the beginning with the first."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.full(len(values), otherwise)
    last = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    filled: np.ndarray = values[known[np.clip(last, 0, None)]]
    return filled
