"""The metric rows of a run: one for each epoch that ended, as its events say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlstudio.api.files import check_plain_file

_MARK = b'"EpochEnded"'


@dataclass(frozen=True, slots=True)
class MetricRow:
    """What was measured when an epoch ended.

    Attributes:
        run: Id of the run.
        epoch: From 1.
        step: Optimizer steps so far.
        train_loss: Mean training loss of the epoch.
        validation: Validation metrics by name, ``loss`` among them.
        is_best: Whether it was the best so far; the last such row is the epoch that is kept.
    """

    run: str
    epoch: int
    step: int
    train_loss: float
    validation: dict[str, float] = field(default_factory=dict)
    is_best: bool = False

    @classmethod
    def from_json(cls, run: str, values: Mapping[str, Any]) -> MetricRow:
        """Read a row from an event, or from what `to_json` gave.

        Raises:
            ValueError: It is none.
        """
        try:
            validation = {str(name): float(value) for name, value in dict(values["validation"]).items()}
            epoch, step, loss = int(values["epoch"]), int(values["step"]), float(values["train_loss"])
            return cls(run, epoch, step, loss, validation, bool(values["is_best"]))
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not the end of an epoch: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values, without its run."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.train_loss,
            "validation": self.validation,
            "is_best": self.is_best,
        }


def read_metric_rows(events: Path, run: str, start: int = 0) -> tuple[list[MetricRow], int]:
    """Read the rows that an events file holds behind a place; what is no event is left out.

    Args:
        events: The file; a missing one is empty.
        run: Id of the run.
        start: Where a line begins.

    Returns:
        The rows, and where the last whole line ends: the next start.

    Raises:
        OSError: It cannot be read.
    """
    rows: list[MetricRow] = []
    end = start
    try:
        check_plain_file(events)
        file = events.open("rb")
    except FileNotFoundError:
        return rows, 0
    with file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                break  # being written, or torn by a crash
            end += len(line)
            if _MARK not in line:
                continue
            try:
                values = json.loads(line)
                if isinstance(values, dict) and values.get("event") == "EpochEnded":
                    rows.append(MetricRow.from_json(run, values))
            except (ValueError, RecursionError):
                continue
    return rows, end
