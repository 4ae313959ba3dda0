"""When checkpoints are written, and that the loop need not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import nn

from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, Kind, Snapshot
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import CheckpointSaved, RunEvent
from tlstudio.engine.patience import until_written

_FIRST = 5.0  # seconds
_SHARE = 0.025  # of the time at most goes into checkpoints: copying, and writing in the other thread


class Saver:
    """Writes checkpoints in a thread of its own; the loop pays for the copy, and waits only for a slow disk.

    Args:
        checkpoints: Where they go.
        every: Seconds between two checkpoints to go on from; more where writing takes long.
        control: Ends the waiting for a full disk.
        on_event: Hears of checkpoints that are on the disk, and of a disk that is full; called in the loop's thread.
    """

    def __init__(
        self, checkpoints: Checkpoints, every: float, control: RunControl, on_event: Callable[[RunEvent], None]
    ) -> None:
        self._checkpoints = checkpoints
        self._every = every
        self._control = control
        self._on_event = on_event
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: list[tuple[Kind, Snapshot, Future[float]]] = []
        self._cost = 0.0
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint to go on from."""
        self.look()
        # The first one comes early: until then, a run that is killed would begin anew.
        every = self._every if self._cost else min(self._every, _FIRST)
        pause = max(every, self._cost / _SHARE) if every else 0.0
        return not self._writing and time.monotonic() - self._last >= pause

    def has(self, kind: Kind) -> bool:
        """Whether there is a checkpoint of that kind."""
        return self._checkpoints.has(kind)

    def save(
        self, kinds: Sequence[Kind], model: nn.Module, state: CheckpointState, training: Mapping[str, Any]
    ) -> None:
        """Copy the present state and have it written.

        Args:
            kinds: Which checkpoints to make of it.
            model: The model.
            state: Where the run stands.
            training: State of the training, which only ``"last"`` keeps.
        """
        self.finish()  # at most one copy is in memory
        start = time.monotonic()
        whole = self._checkpoints.snapshot(model, state, training if "last" in kinds else None)
        for kind in kinds:
            snapshot = whole if kind == "last" else Snapshot(state, whole.model)
            self._writing.append((kind, snapshot, self._thread.submit(self._checkpoints.save, kind, snapshot)))
        if "last" in kinds:
            self._last, self._cost = time.monotonic(), time.monotonic() - start

    def look(self) -> None:
        """Tell of what has been written since; where the disk has refused, wait for it."""
        while self._writing and self._writing[0][2].done():
            self._settle()

    def finish(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            Interrupted: The disk refuses it, and stop or cancel is asked for.
            RunError: It cannot be written for another reason.
        """
        while self._writing:
            self._settle()

    def close(self) -> None:
        """End the thread; what it is writing is written."""
        self._thread.shutdown(wait=True)

    def _settle(self) -> None:
        kind, snapshot, future = self._writing.pop(0)
        attempts = iter([future.result])
        seconds = until_written(
            lambda: next(attempts, lambda: self._checkpoints.save(kind, snapshot))(), self._control, self._on_event
        )
        if kind == "last":
            self._cost += seconds
        self._on_event(CheckpointSaved(snapshot.state.epoch, kind, seconds))
