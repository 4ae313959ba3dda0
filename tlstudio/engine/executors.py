"""Where a run lives: in the calling thread, or in a process of its own. Both say the same events.

An executor is called like `tlstudio.engine.execute.execute_run`, which is the one that runs right there.
`execute_in_process` starts a child that outlives the caller; `follow_run` hears a child that is there already.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import psutil

from tlstudio.api import RunError, TLStudioError
from tlstudio.engine.begin import new_run, recipe_to_resume
from tlstudio.engine.child import CRASH_NAME, DELETED_SECONDS, OUTPUT_NAME, clean_file, was_deleted
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import Progress, RunEnded, RunEvent, RunStatus, from_json, to_json
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.used_plugins import plugin_to_blame
from tlstudio.plugins import Registry
from tlstudio.privacy import without_secrets
from tlstudio.startup import trust_no_folder
from tlstudio.store.files import open_own, reason
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project
from tlstudio.store.run import CONTROL_NAME, FINAL_STATUSES, Run
from tlstudio.store.run_record import read_record, summary_of

if TYPE_CHECKING:  # torch is behind it, and a process that only follows others need not load that
    from tlstudio.engine.execution import EventListener

CANCEL_SECONDS = 5.0
"""How long a child may take to heed a cancel before it is ended for certain."""
_DETACHED = 0x00000008 | 0x00000200  # DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP; named on Windows only
_LOOK_EVERY = 0.1  # seconds
_ENDS: tuple[RunStatus, ...] = ("done", "stopped", "cancelled", "failed")
_SHOWN = 8000  # characters of where a process crashed, and of what it printed last


class Executor(Protocol):
    """Does what a recipe says; see `tlstudio.engine.execute.execute_run`."""

    def __call__(
        self, recipe: Recipe, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
    ) -> Run:
        """Execute a run and return it."""


def execute_in_process(
    recipe: Recipe, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
) -> Run:
    """Do what a recipe says in a process of its own, and follow it.

    The process goes on if the caller ends, or is told to let go (`RunControl.let_go`).

    Args:
        recipe: A complete recipe.
        project: The project, open for writing.
        registry: Not used: the process loads the plugins itself.
        on_event: Hears every event, in this thread.
        control: Pause, stop, cancel and let go. A cancel that is not heeded in `CANCEL_SECONDS` ends the process.

    Raises:
        ProjectError: The run folder cannot be made.
        RunError: The process cannot be started.
    """
    run = new_run(recipe, project)
    start_and_follow(run, project, on_event=on_event, control=control)
    return run


def resume_in_process(
    run_id: str, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
) -> Run:
    """Go on with a run in a process of its own; see `tlstudio.engine.execute.resume_run`."""
    recipe_to_resume(project.run(run_id), registry)
    run = project.resume_run(run_id)
    start_and_follow(run, project, on_event=on_event, control=control)
    return run


def follow_run(run_id: str, project: Project, *, on_event: EventListener, control: RunControl) -> Run:
    """Follow a run that another process carries out, from its first event to its end.

    Args:
        run_id: The run.
        project: Its project.
        on_event: Hears every event, those of the past first.
        control: Pause, stop, cancel and let go.

    Raises:
        RunError: There is no such run, or it is not running in a process of this machine.
    """
    run = project.run(run_id)
    status, mark = run.status, run.own_process
    if status != "running":
        raise RunError(f"Run {run_id} is {status}: nobody carries it out.", path=run.folder)
    if mark is None or mark.is_gone() is not False:
        raise RunError(
            f"Run {run_id} is carried out by a window or a command, not by a process of its own on this machine.",
            "Look at it there.",
            path=run.folder,
        )
    if _asked_before(run).get("paused"):  # by who followed it before
        control.pause()
    _follow(run, _Other(mark), on_event, control)
    return run


def start_and_follow(run: Run, project: Project, *, on_event: EventListener, control: RunControl) -> None:
    """Have a process of its own carry out a run that this one has made or taken, and follow it to its end.

    Args:
        run: The run; its status is ``"running"`` already.
        project: Its project.
        on_event: Hears every event, in this thread.
        control: Pause, stop, cancel and let go.
    """
    on_event(Progress("Starting a process"))
    command = [sys.executable, "-m", "tlstudio.engine.child", str(project.folder), run.id]
    try:
        begun = run.begun
        (run.folder / CONTROL_NAME).unlink(missing_ok=True)
        with open_own(run.folder / OUTPUT_NAME, "ab") as output:  # to append, so that it can be cut and written on
            output.truncate(0)
            process = start_process(command, output)
    except (OSError, TLStudioError) as error:
        why = f"{error.filename or command[0]}: {reason(error)}." if isinstance(error, OSError) else str(error)
        sentence = without_secrets(f"The process of the run cannot be started: {why}")
        ended = RunEnded(run.id, "failed", error=sentence)
        _write_end(run, ended)
        on_event(ended)
        return
    with contextlib.suppress(psutil.NoSuchProcess, TLStudioError):
        run.claim(ProcessMark.of(process.pid), own_process=True)  # from now on, it is there for others, too
    _follow(run, _Child(process), on_event, control, begun)


def start_process(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a process that neither a closed terminal nor the end of this one ends with it.

    Raises:
        OSError: It cannot be started.
    """
    on_windows = sys.platform == "win32"
    environment = dict(os.environ)
    trust_no_folder(environment)
    return subprocess.Popen(  # noqa: S603  this very interpreter with a module of ours
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=not on_windows,
        creationflags=_DETACHED if on_windows else 0,
    )


class _Child:
    """A process that this one has started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ended(self) -> bool:
        return self._process.poll() is not None

    def how(self) -> str:
        """How it ended, as the end of a sentence."""
        code = self._process.returncode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = " (perhaps the memory was used up)" if name == "SIGKILL" else ""
                return f"was ended by the signal {name}{hint}"
        return f"ended with code {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def let_go(self) -> None:
        # Someone has to take its exit code, or it stays as a zombie while this process lives.
        threading.Thread(target=self._process.wait, name="reaper", daemon=True).start()


class _Other:
    """A process that an earlier window has started."""

    def __init__(self, mark: ProcessMark) -> None:
        self._mark = mark

    def ended(self) -> bool:
        return self._mark.is_gone() is not False

    def how(self) -> str:
        """How it ended, as the end of a sentence."""
        return "has ended without a word"

    def let_go(self) -> None:
        pass

    def kill(self) -> None:
        with contextlib.suppress(psutil.Error):
            if not self.ended():
                process = psutil.Process(self._mark.pid)
                process.kill()
                process.wait(CANCEL_SECONDS)


def _follow(
    run: Run, process: _Child | _Other, on_event: EventListener, control: RunControl, begun_before: int = 0
) -> None:
    """Pass on events and requests until the run has ended or the control has been let go.

    Args:
        run: The run.
        process: Who carries it out.
        on_event: Hears every event.
        control: The requests.
        begun_before: How often the run had been begun before this process. Until it has begun, the events are those of
            an earlier one; and each time that it begins anew, it has cut off a part of them.
    """
    asked = ("go_on", False)
    cancelled_at = deleted_at = 0.0
    killed = False
    events = _Tail(run.events_path)
    begun = begun_before
    while True:
        gone = process.ended()  # before reading: what it has said last is read after that
        with contextlib.suppress(RunError):  # it is being replaced, or the disk is away: it is looked at again
            if run.begun != begun:
                begun, events = run.begun, _Tail(run.events_path)
        for event in events.read() if begun > begun_before else ():
            on_event(event)
            if isinstance(event, RunEnded):
                _wait_for(process)
                return
        if gone:
            ended = _end_of(run, process, killed=killed)
            _write_end(run, ended)
            on_event(ended)
            return
        wanted = (control.request, control.paused)
        if wanted != asked:
            with contextlib.suppress(TLStudioError):  # a full disk: it is tried again
                run.ask(control.request, paused=control.paused)
                asked = wanted
        if control.has_let_go and control.request != "cancel":
            process.let_go()
            return
        if control.request == "cancel":
            cancelled_at = cancelled_at or time.monotonic()
            if control.has_let_go or time.monotonic() - cancelled_at > CANCEL_SECONDS:
                process.kill()
                killed = True
                continue
        deleted_at = (deleted_at or time.monotonic()) if was_deleted(run) else 0.0
        if deleted_at and time.monotonic() - deleted_at > DELETED_SECONDS + CANCEL_SECONDS:
            process.kill()  # it has not noticed
        time.sleep(_LOOK_EVERY)


def _wait_for(process: _Child | _Other) -> None:
    """Give a process that has said its last word the time to go, so that its memory is free for certain."""
    deadline = time.monotonic() + CANCEL_SECONDS
    while not process.ended():
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(_LOOK_EVERY)


def _end_of(run: Run, process: _Child | _Other, *, killed: bool) -> RunEnded:
    if was_deleted(run):
        return RunEnded(
            run.id, "failed", error=f"The folder of run {run.id} was deleted while it ran, so it has ended."
        )
    summary = run.summary()
    for status in _ENDS:
        if summary.status == status:  # it has recorded its end and not said it
            return RunEnded(run.id, status, summary.metrics, summary.best_epoch, summary.seconds, summary.error)
    # Who writes there when a process crashes, or past Python, knows of no secrets.
    reported, printed = clean_file(run.folder / CRASH_NAME), clean_file(run.folder / OUTPUT_NAME)
    # Another one who follows the run may have cancelled it, and ended its process.
    if killed or _asked_before(run).get("request") == "cancel":
        return RunEnded(run.id, "cancelled")
    crash = reported.partition("Extension modules:")[0][:_SHOWN].strip()
    output = printed[-_SHOWN:].strip()
    plugin = plugin_to_blame(run, crash)
    place = f" in the plugin '{plugin}'" if plugin else ""
    sentence = (
        f"The process of the run {process.how()}{place}. The window and your data are whole; go on with the run, "
    )
    sentence += "or train with another plugin or a smaller batch if it happens again."
    return RunEnded(run.id, "failed", error=sentence, traceback="\n".join(part for part in (crash, output) if part))


def _asked_before(run: Run) -> dict[str, object]:
    """What somebody has asked of the process of a run."""
    with contextlib.suppress(RunError):
        asked = run.read_json(CONTROL_NAME)
        if isinstance(asked, dict):
            return asked
    return {}


def _write_end(run: Run, ended: RunEnded) -> None:
    """Record the end of a run for a process that no longer can; of several who followed it, one does."""
    # Suppressed: another process carries the run out by now, or the disk is full, and the run counts as interrupted.
    with contextlib.suppress(TLStudioError), run.carrying_out():
        if summary_of(run.id, read_record(run.folder)).status in FINAL_STATUSES:
            return
        run.append_event(to_json(ended, time=time.time()))
        run.finish(ended.status, ended.metrics, ended.best_epoch, ended.seconds, ended.error)


class _Tail:
    """Reads a growing file of events."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""

    def read(self) -> Iterator[RunEvent]:
        """Yield what has come since the last call; a line that is still being written waits for its end."""
        try:
            with open_own(self._path) as file:
                file.seek(self._position)
                new = file.read()
        except OSError:  # it is not there yet, or the disk is away
            return
        self._position += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                yield from_json(line.decode())[0]
