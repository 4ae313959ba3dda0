"""Times at even steps, how they go on, and forecasts as the cells of a table. Light: no torch."""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import TypeVar

from tlstudio.api import Prediction, Sample

_MOST_EVEN = 0.9
"""So large a share of steps must be the same; the others may be gaps."""

_Step = TypeVar("_Step", float, int, timedelta)


def forecast_header(name: str, size: int, samples: Sequence[Sample]) -> list[str]:
    """Name the columns of forecasts: each value by its series and step and, where any sample has times, its time.

    Args:
        name: Name of the series.
        size: How many values are forecast.
        samples: What they are forecast for.
    """
    steps = range(1, size + 1)
    timed = any(sample.times for sample in samples)
    return [
        *(f"{name} +{step}" for step in steps),
        *(["last time", *(f"time +{step}" for step in steps)] if timed else []),
    ]


def forecast_cells(size: int, sample: Sample, prediction: Prediction) -> list[str]:
    """Return the cells of a forecast under `forecast_header`."""
    values = prediction.value if isinstance(prediction.value, tuple) else ()
    last, following = last_and_next(sample.times, size)
    return [*(repr(number) for number in values), *([last, *(following or [""] * size)] if last else [])]


def last_and_next(times: Sequence[str], count: int) -> tuple[str, list[str]]:
    """Write the last time of a series, and those that follow.

    Args:
        times: Its last ones, in their order: ISO 8601, or numbers.
        count: How many follow.

    Returns:
        The last one, ``""`` where there are none; and those that follow, none where times do not come at even steps.
    """
    if not times:
        return "", []
    try:
        numbers = [float(each) for each in times]
    except ValueError:
        numbers = []
    try:
        if numbers:
            step = _usual([round(after - before, 9) for before, after in pairwise(numbers)], 0.0)
            following = range(1, count + 1) if step else ()
            return times[-1], [f"{numbers[-1] + ahead * (step or 0.0):.12g}" for ahead in following]
        dates = [datetime.fromisoformat(each) for each in times]
        later = _months_after(dates, count) or _dates_after(dates, count)
    except (ValueError, OverflowError):  # no times, or beyond the calendar
        return times[-1], []
    days = all(each.time() == time() for each in (*dates, *later))
    told = [each.date().isoformat() if days else each.isoformat(sep=" ") for each in (dates[-1], *later)]
    return told[0], told[1:]


def _dates_after(dates: Sequence[datetime], count: int) -> list[datetime]:
    step = _usual([after - before for before, after in pairwise(dates)], timedelta())
    return [] if step is None else [dates[-1] + ahead * step for ahead in range(1, count + 1)]


def _months_after(dates: Sequence[datetime], count: int) -> list[datetime]:
    """The same for months, quarters and years, whose steps differ by some days."""
    ends = all(each.day == _days_in(each.year, each.month) for each in dates)
    if any(each.time() != dates[0].time() or (each.day != dates[0].day and not ends) for each in dates):
        return []
    months = [12 * each.year + each.month - 1 for each in dates]
    step = _usual([after - before for before, after in pairwise(months)], 0)
    following = []
    for ahead in range(1, count + 1 if step else 0):
        year, month = divmod(months[-1] + ahead * (step or 0), 12)
        days = _days_in(year, month + 1)
        following.append(dates[-1].replace(year=year, month=month + 1, day=days if ends else min(dates[-1].day, days)))
    return following


def _days_in(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _usual(steps: Sequence[_Step], nothing: _Step) -> _Step | None:
    """The step that nearly all have, if it goes on."""
    step, often = Counter(steps).most_common(1)[0] if steps else (nothing, 0)
    return step if step > nothing and often >= _MOST_EVEN * len(steps) else None
