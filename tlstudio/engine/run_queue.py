"""Runs that wait for their turn, and who works them off: ``python -m tlstudio.engine.run_queue PROJECT``.

The queue is the run folders whose status is ``"queued"``, oldest first. Whoever works it off takes one after the other
and has a process of its own carry it out, while no other run of the project is under way. It needs no window and no
right to write the project: it writes into the folders of the runs that it has taken. If it is killed, the present run
goes on in its process, and the rest stay queued.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tlstudio import startup
from tlstudio.api import ProjectError, RunError, TLStudioError
from tlstudio.engine.begin import new_run
from tlstudio.engine.control import RunControl
from tlstudio.engine.executors import start_and_follow, start_process
from tlstudio.engine.recipe import Recipe
from tlstudio.privacy import CleanStream
from tlstudio.store.files import open_own, reason, remedy
from tlstudio.store.format import read_facts
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.store.run_record import RunSummary, read_record, summary_of

if TYPE_CHECKING:
    from tlstudio.engine.execution import EventListener

LOCK_NAME = ".queue.lock"
STOP_NAME = ".queue.stop"
OUTPUT_NAME = ".queue.log"
_LOOK_EVERY = 0.25  # seconds
_A_LOOK = 0.01  # longer than who only looks has the lock
_LOCK_SECONDS = 5.0  # one that was told to stop may take a moment to go


class QueueBusyError(ProjectError):
    """Another process works the queue off already."""


def add_to_queue(recipe: Recipe, project: Project) -> Run:
    """Make the folder of a run that waits for its turn.

    Args:
        recipe: A complete recipe, as `tlstudio.engine.advise.complete` gives it.
        project: The project, open for writing.

    Raises:
        ProjectError: It cannot be made.
    """
    return new_run(recipe, project, queued=True)


def queued_runs(project: Project) -> list[RunSummary]:
    """The runs that wait, in the order of their turns.

    What their records say counts: who only looks whether a run is carried out holds its lock for a moment, too.
    """
    rows = (row for row in reversed(project.runs()) if row.status in ("queued", "running"))
    said = (summary_of(row.id, read_record(project.runs_folder / row.id)) for row in rows)
    return [row for row in said if row.status == "queued"]


def is_run_under_way(project: Project) -> bool:
    """Whether a process of this machine carries out a run of a project now."""
    running = (Run(project.runs_folder / row.id) for row in project.runs() if row.status == "running")
    return any(run.is_under_way for run in running)


def is_worked_off(project: Project) -> bool:
    """Whether a process works the queue off now, or waits to begin its next run."""
    path = project.folder / LOCK_NAME
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_A_LOOK, poll_interval=0.001)
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written tells nothing
        return False
    lock.release()
    return False


def start_queue(project: Project) -> subprocess.Popen[bytes] | None:
    """Start a process that works the queue off and outlives this one.

    Returns:
        The process; `None` where there is one already that was not told to stop.

    Raises:
        ProjectError: It cannot be started, or the project is one that can only be read.
    """
    if is_worked_off(project) and not (project.folder / STOP_NAME).exists():
        return None
    forget_stop(project)
    command = [sys.executable, "-m", "tlstudio.engine.run_queue", str(project.folder)]
    try:
        with open_own(project.folder / OUTPUT_NAME, "wb") as output:
            process = start_process(command, output)
    except OSError as error:
        what = f"The process that works off the queue cannot be started: {reason(error)}."
        raise ProjectError(what, remedy(error), path=project.folder) from error
    # Someone has to take its exit code, or it stays as a zombie while this process lives.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()
    return process


def stop_queue(project: Project) -> None:
    """Have nobody begin a queued run any more: the present run goes on, the others stay queued.

    Raises:
        ProjectError: The disk is full or the like, or the project is one that can only be read.
    """
    read_facts(project.folder, write=True)
    path = project.folder / STOP_NAME
    try:
        open_own(path, "ab").close()
    except OSError as error:
        raise ProjectError(f"{path} could not be written: {reason(error)}.", remedy(error), path=path) from error


def forget_stop(project: Project) -> None:
    """Take back a stop that was asked for: the queue is to be worked off now.

    Raises:
        ProjectError: The project is one that can only be read, or the stop cannot be taken back.
    """
    read_facts(project.folder, write=True)
    path = project.folder / STOP_NAME
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if path.exists():  # a disk that is read-only says so of what is not there, too
            what = f"The queue stays stopped: {path} cannot be removed: {reason(error)}."
            raise ProjectError(what, remedy(error) or "Remove it by hand.", path=path) from error


def work_off(project: Project, *, on_event: EventListener, control: RunControl) -> None:
    """Carry out the queued runs of a project one after the other, until none is left or a stop is asked for.

    A run that fails, that cannot be begun, or that somebody cancels, does not keep the next one from its turn.

    Args:
        project: The project; open for reading is enough, but this version must know its format.
        on_event: Hears every event of every run, in this thread.
        control: Cancel ends the present run and the queue; let go ends the queue, and the present run goes on.

    Raises:
        QueueBusyError: Another process works it off already.
        ProjectError: A newer version has made the project, or the disk is full, read-only or the like.
        RunError: All that is left cannot be begun.
    """
    read_facts(project.folder, write=True)
    stop = project.folder / STOP_NAME
    with _alone(project), _heeding_stop(project, control):
        while queued_runs(project) and not (control.request == "cancel" or control.has_let_go or stop.exists()):
            run = _take_next(project)
            if run is None:
                control.wait(_LOOK_EVERY)
            else:
                start_and_follow(run, project, on_event=on_event, control=control)


def _take_next(project: Project) -> Run | None:
    """Take the oldest queued run that can be taken; `None` while another run of the project is under way.

    Raises:
        RunError: None of them can be taken; the reason of the oldest.
    """
    if is_run_under_way(project):
        return None
    refused: RunError | None = None
    for row in queued_runs(project):
        run = Run(project.runs_folder / row.id)
        try:
            if run.take():
                return run
        except RunError as error:  # as of a folder of somebody else
            refused = refused or error
    if refused is not None:
        raise refused
    return None


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    lock = FileLock(project.folder / LOCK_NAME)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        what = f"Another process works off the queue of the project {project.name} already."
        raise QueueBusyError(what, "Its runs are done in their turn.", path=project.folder) from None
    except OSError as error:
        what = f"The queue of the project {project.folder} cannot be worked off: {reason(error)}."
        raise ProjectError(what, remedy(error), path=project.folder) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _heeding_stop(project: Project, control: RunControl) -> Iterator[None]:
    """Let go of the present run, and begin no other, as soon as `stop_queue` was called."""
    path, over = project.folder / STOP_NAME, threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY):
            if path.exists():
                control.let_go()
                return

    thread = threading.Thread(target=watch, name="queue stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main(project_folder: str) -> int:
    """Work off the queue of a project; returns the exit code."""
    startup.stay_offline(os.environ)
    sys.stdout, sys.stderr = CleanStream(sys.stdout), CleanStream(sys.stderr)  # they end in the project's folder
    try:
        with Project.open(Path(project_folder), write=False) as project:
            work_off(project, on_event=lambda _event: None, control=RunControl())
    except QueueBusyError:
        return 0  # it is worked off, as was wished: two have started it at the same moment
    except TLStudioError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
