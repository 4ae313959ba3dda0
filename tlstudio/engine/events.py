"""What a run says while it goes: the only thing that the window, the command line and the run folder know of it.

Each event is frozen, holds plain numbers and strings, and becomes one JSON line. A run ends with exactly one
`RunEnded`, whatever happens.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RunStatus = Literal["running", "done", "stopped", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run has been assembled and is about to begin.

    Attributes:
        run: Id of the run.
        epochs: Epochs that are planned.
        steps_per_epoch: Optimizer steps in each epoch.
        num_train: Training samples.
        num_validation: Validation samples.
        trainable_parameters: Parameters that learn in the first epoch.
        total_parameters: All parameters.
        device: Such as ``"cpu"`` or ``"cuda:0"``.
        monitor: Metric by which the best epoch is chosen.
        monitor_mode: Whether more or less of it is better.
    """

    run: str
    epochs: int
    steps_per_epoch: int
    num_train: int
    num_validation: int
    trainable_parameters: int
    total_parameters: int
    device: str
    monitor: str
    monitor_mode: Literal["max", "min"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Something that takes long is under way: loading, computing features, evaluating.

    Attributes:
        what: For people: ``"Computing features"``.
        done: Items done.
        total: Items in all; 0 where unknown.
    """

    what: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class StepLogged:
    """Some optimizer steps were made.

    Attributes:
        step: Optimizer steps since the start, from 1.
        epoch: Position in epochs, such as 2.25.
        loss: Mean training loss of the samples since the regular event before.
        learning_rates: Learning rate of this step, by name of the parameter group; 0 where it is frozen.
        samples_per_second: Training throughput since the event before.
        seconds: Seconds since the start, pauses left out.
        seconds_left: Estimate of the seconds to the end, `None` while unknown.
        gpu_memory: Bytes in use on the accelerator, 0 on the CPU.
        interim: Said between two regular ones because steps are slow. Regular ones come at steps that follow from the
            recipe alone, and their `loss` is that of all samples since the regular one before.
        gradient_norms: Norm of the gradient of the last step before clipping, by name of the parameter group.
        quantities: What strategy and methods have to say of now, by name: ``"joint/lambda"``, ``"unfrozen groups"``.
    """

    step: int
    epoch: float
    loss: float
    learning_rates: Mapping[str, float]
    samples_per_second: float
    seconds: float
    seconds_left: float | None = None
    gpu_memory: int = 0
    interim: bool = False
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    quantities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch was finished and validated.

    Attributes:
        epoch: From 1.
        step: Optimizer steps so far.
        train_loss: Mean training loss of the epoch.
        validation: Validation metrics by name, ``loss`` among them.
        is_best: Whether it is the best so far by the monitored metric.
        best_epoch: The best epoch so far.
        seconds: Seconds since the start, pauses left out.
        worst: Ids of the validation samples that were most wrong, worst first, with the predicted label.
    """

    epoch: int
    step: int
    train_loss: float
    validation: Mapping[str, float]
    is_best: bool
    best_epoch: int
    seconds: float
    worst: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TextsWritten:
    """What the model now writes for some samples of the validation split: always the same ones.

    Attributes:
        epoch: The epoch that has just been validated, from 1.
        samples: ``(id, text, expected, written)`` of each; the text is ``""`` where the sample is none, and each is
            cut to a length that can be shown.
    """

    epoch: int
    samples: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is safely on disk.

    Attributes:
        epoch: After which epoch, from 1; 0: before the first one.
        kind: ``"best"``, ``"last"``, ``"start"``: where the backbone began to learn, or ``"snapshot-1"`` and so on.
        seconds: How long it took.
    """

    epoch: int
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Paused:
    """The loop waits.

    Attributes:
        why: What it waits for, such as room on the disk; empty if the user has asked for it.
    """

    why: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The loop goes on."""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log.

    Attributes:
        text: The sentence.
        level: ``"info"`` or ``"warning"``.
    """

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over; always the last event and always exactly one.

    Attributes:
        run: Id of the run.
        status: ``"done"``, ``"stopped"`` (kept the best on request), ``"cancelled"`` or ``"failed"``.
        metrics: Metrics by split and name, of the best checkpoint; empty if it was not evaluated.
        best_epoch: The epoch that was kept, 0 if there is none.
        seconds: Wall time, pauses left out.
        error: The sentence for the user if it failed.
        traceback: For a bug report, if it failed by a bug.
        suggestion: What to change in the recipe so that it works, by path: ``{"training.batch_size": 8}``.
    """

    run: str
    status: RunStatus
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    suggestion: Mapping[str, Any] = field(default_factory=dict)


RunEvent = (
    RunStarted
    | Progress
    | StepLogged
    | EpochEnded
    | TextsWritten
    | CheckpointSaved
    | Paused
    | Resumed
    | Note
    | RunEnded
)
_BY_NAME: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        RunStarted,
        Progress,
        StepLogged,
        EpochEnded,
        TextsWritten,
        CheckpointSaved,
        Paused,
        Resumed,
        Note,
        RunEnded,
    )
}


def to_json(event: RunEvent, *, time: float) -> str:
    """Write an event as one line of JSON.

    Args:
        event: The event.
        time: When it happened, in seconds since the epoch (UTC).
    """
    return json.dumps({"event": type(event).__name__, "time": round(time, 3), **dataclasses.asdict(event)})


def from_json(line: str) -> tuple[RunEvent, float]:
    """Read an event and its time back.

    Raises:
        ValueError: The line is no event of this version.
    """
    try:
        values = json.loads(line)
        name, time = values.pop("event"), float(values.pop("time"))
        if "worst" in values:
            values["worst"] = tuple((str(i), str(label), float(loss)) for i, label, loss in values["worst"])
        if name == TextsWritten.__name__:
            values["samples"] = tuple((str(i), str(x), str(y), str(z)) for i, x, y, z in values["samples"])
        event: RunEvent = _BY_NAME[name](**values)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error
    return event, time
