"""When checkpoints are written, and that the loop need not wait for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import nn

from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, Kind, Snapshot
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import CheckpointSaved, Note, RunEvent
from tlstudio.engine.patience import until_written

_FIRST = 5.0  # seconds
_SHARE = 0.025  # of the time at most goes into checkpoints: copying, and writing in the other thread
_LONGEST = 600.0  # seconds: no run loses more, however long one takes
_DOUBTED = 30.0  # seconds: so soon the second one comes, as the first may have been slow by chance


class Pace:
    """How long to wait from one checkpoint to the next: as told, or longer where writing them takes long.

    Args:
        every: Seconds, as told; 0: no pause.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._costs: deque[float] = deque(maxlen=5)

    @property
    def cost(self) -> float:
        """Seconds that one takes: the least of the last ones, as others may have waited for the disk."""
        return min(self._costs, default=0.0)

    @property
    def told(self) -> float:
        """The pause as told, in seconds; the first one comes early: until then, a run that is killed begins anew."""
        return self._every if self._costs else min(self._every, _FIRST)

    @property
    def pause(self) -> float:
        """The pause, in seconds."""
        longest = _DOUBTED if len(self._costs) == 1 else _LONGEST
        return max(self.told, min(self.cost / _SHARE, longest)) if self._every else 0.0

    def add(self, cost: float) -> None:
        """Take in how many seconds one has taken."""
        self._costs.append(cost)


class Saver:
    """Writes checkpoints in a thread of its own; the loop pays for the copy, and waits only for a slow disk.

    Args:
        checkpoints: Where they go.
        every: Seconds between two checkpoints to go on from; more where writing takes long, which is told.
        control: Ends the waiting for a full disk.
        on_event: Hears of checkpoints that are on the disk, and of a disk that is full; called in the loop's thread.
    """

    def __init__(
        self, checkpoints: Checkpoints, every: float, control: RunControl, on_event: Callable[[RunEvent], None]
    ) -> None:
        self._checkpoints = checkpoints
        self._pace = Pace(every)
        self._told = False
        self._control = control
        self._on_event = on_event
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: list[tuple[Kind, Snapshot, Future[float]]] = []
        self._copying = 0.0
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint to go on from."""
        self.look()
        since, pace = time.monotonic() - self._last, self._pace
        if self._writing or since < pace.told:
            return False
        if since < pace.pause and not self._told:
            self._told = True
            what = f"Checkpoints come every {pace.pause:.0f} s and not every {pace.told:g} s, as writing one takes "
            self._on_event(Note(f"{what}{pace.cost:.2g} s: a run that is killed goes on from the last of them."))
        return since >= pace.pause

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
            self._last, self._copying = time.monotonic(), time.monotonic() - start

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
            self._pace.add(self._copying + seconds)
        self._on_event(CheckpointSaved(snapshot.state.epoch, kind, seconds))
