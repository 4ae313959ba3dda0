"""Data sets that are learned one after another, as the folders of their runs keep them: what is known, what is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tlstudio.api import RunError
from tlstudio.store.project import Project
from tlstudio.store.run import Run

Protection = Literal["nothing", "replay", "ewc", "lwf"]
PROTECTIONS: tuple[Protection, ...] = get_args(Protection)
SEQUENCE_NAME = "sequence.json"


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """A sequence of data sets that was learned, or what there is of it by now.

    Attributes:
        protection: What was done against forgetting.
        metric: Name of the metric in `matrix`.
        better: Whether more or less of it is better.
        datasets: The data sets in the order in which they are learned, as ``"name@r1"``.
        runs: Ids of the runs, in the same order.
        matrix: Row i holds the metric on the test splits of data sets 0 to N-1 after run i; `None`: not measured.
    """

    protection: Protection
    metric: str
    better: Literal["max", "min"]
    datasets: tuple[str, ...]
    runs: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]

    @property
    def complete(self) -> bool:
        """Whether all data sets were learned, and all was measured."""
        return len(self.matrix) == len(self.datasets)

    @property
    def average(self) -> float:
        """Mean of the metric over all data sets after the last run; NaN where nothing could be measured."""
        last = [value for value in self.matrix[-1] if value is not None]
        return sum(last) / len(last) if last else math.nan

    @property
    def forgetting(self) -> float:
        """What was lost on the earlier data sets: the mean of the best that was ever reached minus what is left.

        Defined by Chaudhry et al. 2018 (arXiv:1801.10112, eq. 3); 0 where there is only one data set. Where less of the
        metric is better, the sign is turned, so that more is always more forgetting.
        """
        sign = 1.0 if self.better == "max" else -1.0
        count = len(self.matrix)
        lost = []
        for column in range(count - 1):
            before = [sign * value for row in self.matrix[column:-1] if (value := row[column]) is not None]
            left = self.matrix[-1][column]
            if before and left is not None:
                lost.append(max(before) - sign * left)
        return sum(lost) / len(lost) if lost else 0.0


@dataclass(frozen=True, slots=True)
class BegunSequence:
    """A sequence as it is kept in the folder of the run that is its last one so far.

    Attributes:
        result: What there is of it; the row of that run is missing while it is not measured.
        values: Recipe of each run, as far as it was given.
        options: Options of what is done against forgetting.
    """

    result: SequenceResult
    values: Mapping[str, Any]
    options: Mapping[str, Any]

    def keep(self, run: Run) -> None:
        """Write it into the folder of a run.

        Raises:
            ProjectError: The disk is full or the like.
        """
        kept = {"format": 1, **asdict(self.result), "values": self.values, "options": self.options}
        run.write_json(SEQUENCE_NAME, kept)


def read_begun(run: Run) -> BegunSequence | None:
    """Read the sequence whose last run so far this is; `None` where it is none, or damaged."""
    try:
        values = run.read_json(SEQUENCE_NAME)
        rows = tuple(tuple(None if one is None else float(one) for one in row) for row in values["matrix"])
        datasets, runs = tuple(map(str, values["datasets"])), tuple(map(str, values["runs"]))
        protection = next(name for name in PROTECTIONS if name == values["protection"])
        whole = all(len(row) == len(datasets) for row in rows) and len(rows) in (len(runs), len(runs) - 1)
        if not whole or runs[-1:] != (run.id,) or len(runs) > len(datasets):
            return None
        better: Literal["max", "min"] = "min" if values["better"] == "min" else "max"
        result = SequenceResult(protection, str(values["metric"]), better, datasets, runs, rows)
        return BegunSequence(result, dict(values.get("values", {})), dict(values.get("options", {})))
    except (RunError, KeyError, TypeError, ValueError, StopIteration):
        return None


def read_sequence(run: Run) -> SequenceResult | None:
    """Read what was measured of a sequence whose last run this is; `None` where it is none, not whole, or damaged."""
    begun = read_begun(run)
    return begun.result if begun is not None and begun.result.complete else None


def is_to_go_on(run: Run) -> bool:
    """Whether this is the last run so far of a sequence that was begun and has not come to its end."""
    begun = read_begun(run)
    return begun is not None and not begun.result.complete


def unfinished_sequence(project: Project) -> Run | None:
    """The last run so far of the newest sequence that can go on; `None` if there is none."""
    followed: set[str] = set()
    for row in project.runs():
        run = project.run(row.id)
        begun = read_begun(run)
        if begun is None or run.id in followed:
            continue
        if not begun.result.complete and row.status != "running":
            return run
        followed |= set(begun.result.runs)
    return None
