"""One run: a folder that holds everything there is to know of it.

::

    run.json          what it is, its state, its metrics
    recipe.toml       what was asked for
    events.jsonl      what it said, one JSON object a line
    note.json         the user's note and tags
    checkpoints/      best/ and last/
    assets/           what the backbone needs besides its weights
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tlstudio.api import RunError
from tlstudio.api.files import read_text
from tlstudio.store.event_file import EventFile
from tlstudio.store.files import reason, refuse_links, remedy, write_atomic, write_json_atomic
from tlstudio.store.process import ProcessMark
from tlstudio.store.run_record import NOTE_NAME, RUN_NAME, RunSummary, read_record, summary_of

LOCK_NAME = ".running.lock"
CONTROL_NAME = "control.json"
EVENTS_NAME = "events.jsonl"
FINAL_STATUSES = frozenset({"done", "stopped", "cancelled", "failed"})


class Run:
    """A run folder. Cheap to make: nothing is read before it is asked for, and what is read is always fresh.

    One thread may write while others read.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events = EventFile(self.events_path)

    @property
    def id(self) -> str:
        """Its id."""
        return self.folder.name

    @property
    def recipe_path(self) -> Path:
        """The recipe that it follows."""
        return self.folder / "recipe.toml"

    @property
    def events_path(self) -> Path:
        """Its events, one JSON object a line."""
        return self.folder / EVENTS_NAME

    @property
    def best_checkpoint(self) -> Path:
        """Folder of the best checkpoint; there from the first one on."""
        return self.folder / "checkpoints" / "best"

    @property
    def last_checkpoint(self) -> Path:
        """Folder of the last checkpoint; there from the first one on."""
        return self.folder / "checkpoints" / "last"

    @property
    def can_go_on(self) -> bool:
        """Whether there is a checkpoint to go on from; not whether it is whole."""
        folder = self.folder / "checkpoints"
        return any((folder / kind / "manifest.json").is_file() for kind in ("last", "previous"))

    @property
    def assets(self) -> Path:
        """Folder of what the backbone needs besides its weights."""
        return self.folder / "assets"

    @property
    def status(self) -> str:
        """Its state now (see `RunSummary.status`)."""
        return self.summary().status

    def summary(self) -> RunSummary:
        """Read its row of the table from the folder; a folder that cannot be read gives a ``"damaged"`` row."""
        return self.as_it_lives(summary_of(self.id, read_record(self.folder)))

    def as_it_lives(self, summary: RunSummary) -> RunSummary:
        """Mend a row: the note of a process can be wrong (another host name, a clock that was set), the lock cannot."""
        if summary.status in ("interrupted", "queued") and self.is_carried_out:
            return replace(summary, status="running")
        if summary.status == "running" and self._was_left():
            return replace(summary, status="interrupted")
        return summary

    def _was_left(self) -> bool:
        """Whether this very process has ended the run and could not record it, as when the disk was full."""
        with contextlib.suppress(RunError):
            if self.begun and self.own_process is None and self._mark == ProcessMark.here():
                return not self.is_carried_out
        return False

    def metrics(self) -> dict[str, dict[str, float]]:
        """Its metrics by split and name; empty if it was not evaluated."""
        return self.summary().metrics

    def read_recipe(self) -> dict[str, Any]:
        """Read the recipe as plain values.

        Raises:
            RunError: It is missing or damaged.
        """
        try:
            return tomllib.loads(read_text(self.recipe_path))
        except (OSError, ValueError, RecursionError) as error:  # also of numbers with thousands of digits
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise RunError(f"The recipe of run {self.id} cannot be read: {why}.", path=self.recipe_path) from error

    def write_recipe(self, toml: str) -> None:
        """Replace the recipe, as when a smaller batch is needed.

        Raises:
            ProjectError: The disk is full or the like.
        """
        write_atomic(self.recipe_path, toml)

    def append_event(self, line: str) -> None:
        """Add one event; it is in the file when this returns.

        Args:
            line: One line of JSON, with or without its line end.

        Raises:
            RunError: The disk is full or the like.
        """
        with self._writing():
            self._events.append(line.rstrip("\n").encode() + b"\n")

    def sync_events(self) -> int:
        """Have the system put the events on the disk; returns their size in bytes.

        Raises:
            RunError: The disk is full or the like.
        """
        with self._writing():
            return self._events.sync()

    def cut_events(self, size: int) -> None:
        """Forget the events behind a size in bytes: a run that goes on from a checkpoint says them again.

        Raises:
            RunError: The disk is read-only or the like.
        """
        with self._writing():
            self._events.cut(size)

    def event_lines(self) -> Iterator[str]:
        """Yield the events, oldest first; a line that a crash has torn is left out.

        Raises:
            RunError: They cannot be read.
        """
        try:
            yield from self._events.lines()
        except OSError as error:
            what = f"The events of run {self.id} cannot be read: {reason(error)}."
            raise RunError(what, path=self.events_path) from error

    def write_json(self, name: str, value: Any) -> None:  # noqa: ANN401  any JSON value
        """Write a JSON file into the run folder as a whole.

        Args:
            name: File name; ``.json`` is added where it is missing.
            value: Any JSON value.
        """
        write_json_atomic(self._json_path(name), value)

    def read_json(self, name: str) -> Any:  # noqa: ANN401  any JSON value
        """Read a JSON file of the run folder.

        Raises:
            RunError: It is not there or damaged.
        """
        path = self._json_path(name)
        try:
            return json.loads(read_text(path))
        except FileNotFoundError as error:
            if not self.folder.exists():
                what = f"The folder of run {self.id} is no longer there."
                raise RunError(what, remedy(error), path=self.folder) from error
            raise RunError(f"Run {self.id} has no {path.name}.", path=path) from None
        except (OSError, ValueError, RecursionError) as error:
            why = reason(error) if isinstance(error, OSError) else f"it is damaged ({error})"
            raise RunError(f"{path.name} of run {self.id} cannot be read: {why}.", path=path) from error

    def finish(
        self,
        status: str,
        metrics: Mapping[str, Mapping[str, float]] | None = None,
        best_epoch: int = 0,
        seconds: float = 0.0,
        error: str = "",
    ) -> None:
        """Record how the run ended.

        Args:
            status: ``"done"``, ``"stopped"``, ``"cancelled"`` or ``"failed"``.
            metrics: Metrics of the best checkpoint by split and name.
            best_epoch: The epoch of that checkpoint, from 1; 0 if there is none.
            seconds: How long it trained.
            error: The sentence for the user if it failed.
        """
        if status not in FINAL_STATUSES:
            raise ValueError(f"not a status in which a run can end: {status!r}")
        self._update(
            status=status,
            metrics={split: dict(values) for split, values in (metrics or {}).items()},
            best_epoch=best_epoch,
            seconds=seconds,
            error=error,
        )
        self.close()

    def record_monitor(self, metric: str) -> None:
        """Keep which metric chooses its best epoch."""
        self._update(monitor=metric)

    def record_metrics(self, split: str, metrics: Mapping[str, float]) -> None:
        """Set the metrics of one split, as when a finished run is evaluated again."""
        self._update(metrics={**self.metrics(), split: dict(metrics)})

    def set_note(self, note: str, tags: tuple[str, ...] = ()) -> None:
        """Keep the user's note and tags."""
        write_json_atomic(self.folder / NOTE_NAME, {"note": note, "tags": list(tags)})

    def close(self) -> None:
        """Close the events file; the next event opens it again."""
        self._events.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"The events of run {self.id} could not be written: {reason(error)}."
            raise RunError(what, remedy(error), path=self.events_path) from error

    def ask(self, request: str, *, paused: bool = False) -> None:
        """Leave a request for the process that carries out this run and nothing else.

        Args:
            request: ``"go_on"``, ``"stop"`` or ``"cancel"``.
            paused: Whether it shall wait.

        Raises:
            ProjectError: The disk is full or the like.
        """
        self.write_json(CONTROL_NAME, {"request": request, "paused": paused})

    @contextlib.contextmanager
    def carrying_out(self, timeout: float = 1.0) -> Iterator[None]:
        """Hold the lock of who carries out the run; the system gives it back when the process ends, however it does.

        Args:
            timeout: Seconds to wait for it; who only looks whether it is held has it for a moment, too.

        Raises:
            RunError: Another one carries it out, it is no longer there, or something in it is a link
                to another folder.
        """
        lock = FileLock(self.folder / LOCK_NAME)
        try:
            if not self.folder.is_dir():  # the lock would make it anew, on a disk that was pulled out even elsewhere
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder))
            refuse_links(self.folder)
            lock.acquire(timeout=timeout)
        except Timeout:
            raise RunError(f"Run {self.id} is carried out by another process already.", path=self.folder) from None
        except OSError as error:
            raise RunError(
                f"Run {self.id} cannot be written: {reason(error)}.", remedy(error), path=self.folder
            ) from error
        with lock:
            yield

    @property
    def is_carried_out(self) -> bool:
        """Whether someone holds that lock now."""
        if not (self.folder / LOCK_NAME).exists():
            return False
        try:
            with self.carrying_out(timeout=0):
                return False
        except RunError as error:
            return error.__cause__ is None  # a folder that cannot be written tells nothing

    @property
    def is_under_way(self) -> bool:
        """Whether a process of this machine carries it out, or is about to."""
        summary = summary_of(self.id, read_record(self.folder), writable=True)
        return self.is_carried_out or self.as_it_lives(summary).status == "running"

    def take(self, *, writable: bool = False) -> bool:
        """Take a queued run out of the queue, to be begun by this process; of several who try, one does.

        Args:
            writable: Whether the caller holds the project's write lock, see `summary_of`.

        Returns:
            Whether it is this process's now; not if it was begun, taken or deleted in the meantime.

        Raises:
            RunError, ProjectError: The disk is full, read-only or the like.
        """
        try:
            with self.carrying_out():
                if summary_of(self.id, read_record(self.folder), writable=writable).status != "queued":
                    return False
                self.claim(ProcessMark.here())
                return True
        except RunError as error:
            if error.__cause__ is None or not self.folder.exists():
                return False
            raise

    def claim(self, process: ProcessMark, *, begun: bool = False, own_process: bool = False) -> None:
        """Record who carries out the run; its status is ``"running"``.

        Args:
            process: Who.
            begun: Whether the events are those of this process already, and no longer those of one before it.
            own_process: Whether it does nothing else, and heeds requests that it finds in the run folder.
        """
        values = {"status": "running", "process": process.to_json(), "own_process": own_process, "error": ""}
        self._update(begun=self.begun + 1, **values) if begun else self._update(**values)

    @property
    def begun(self) -> int:
        """How often a process has begun or gone on with the run; with it, its events may have been cut."""
        record = self.read_json(RUN_NAME)
        begun = record.get("begun") if isinstance(record, dict) else None
        return begun if isinstance(begun, int) else 0

    @property
    def own_process(self) -> ProcessMark | None:
        """The process that carries out this run and nothing else, or did last; `None` if a window or command did."""
        record = self.read_json(RUN_NAME)
        return self._mark if isinstance(record, dict) and record.get("own_process") else None

    @property
    def _mark(self) -> ProcessMark | None:
        record = self.read_json(RUN_NAME)
        return ProcessMark.from_json(record.get("process")) if isinstance(record, dict) else None

    def _update(self, **values: Any) -> None:  # noqa: ANN401  JSON values
        record = self.read_json(RUN_NAME)
        if not isinstance(record, dict):
            path = self.folder / RUN_NAME
            raise RunError(f"{RUN_NAME} of run {self.id} cannot be read: it is damaged (not an object).", path=path)
        write_json_atomic(self.folder / RUN_NAME, {**record, **values})

    def _json_path(self, name: str) -> Path:
        return self.folder / (name if name.endswith(".json") else f"{name}.json")
