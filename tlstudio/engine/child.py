"""A process that carries out one run: ``python -m tlstudio.engine.child PROJECT RUN``.

The run folder is the only channel. The process writes its events there, and looks there for what is asked of it
(``control.json``); so it outlives the window, and any program can follow it, now or later.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import threading
from pathlib import Path

from tlstudio import startup
from tlstudio.api import TLStudioError
from tlstudio.engine.control import RunControl
from tlstudio.privacy import CleanStream, without_secrets
from tlstudio.store.files import open_own, reason
from tlstudio.store.format import PROJECT_NAME, RUNS_NAME
from tlstudio.store.run import CONTROL_NAME, Run
from tlstudio.store.run_record import RUN_NAME

CRASH_NAME = "crash.log"
OUTPUT_NAME = "output.log"
DELETED_SECONDS = 3.0
"""How long the folder of a run must be gone from its project before it counts as deleted."""
_LOOK_EVERY = 0.1  # seconds
_MOST_KEPT = 2**18  # bytes of what a process has printed: what is cleaned takes time


def main(project_folder: str, run_id: str) -> int:
    """Carry out a run whose folder has been made; returns the exit code."""
    startup.stay_offline(os.environ)
    startup.share_the_cores(os.environ)
    startup.keep_freed_memory()
    sys.stdout, sys.stderr = CleanStream(sys.stdout), CleanStream(sys.stderr)  # they end in the run's folder
    project = Path(project_folder)
    folder = project / RUNS_NAME / run_id
    try:
        crash = open_own(folder / CRASH_NAME, "wb")
    except OSError as error:
        sys.stderr.write(f"{folder / CRASH_NAME} cannot be written: {reason(error)}.\n")
        return 2
    with crash:
        faulthandler.enable(crash)
        try:
            _carry_out(project, run_id)
        except TLStudioError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        finally:
            faulthandler.disable()
            clean_file(folder / OUTPUT_NAME)
    return 0


def was_deleted(run: Run) -> bool:
    """Whether a run is gone although its project is there, and not with a disk that was pulled out."""
    with contextlib.suppress(OSError):
        try:
            (run.folder / RUN_NAME).stat()
        except FileNotFoundError:
            (run.folder.parents[1] / PROJECT_NAME).stat()
            return True
    return False


def clean_file(path: Path) -> str:
    """Leave secrets out of what a process and those that it has started have left in a file; returns what stays.

    Of a file that is too long, the end stays.

    Args:
        path: The file; a missing one is empty.
    """
    text = ""
    with contextlib.suppress(OSError), open_own(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _MOST_KEPT))
        found = file.read()
        if size > len(found):
            found = found.partition(b"\n")[2]  # half a secret would not be known
        text = without_secrets(found.decode(errors="replace"))
        if size > len(found) or text.encode() != found:
            file.seek(0)
            file.write(text.encode())
            file.truncate()
    return text


def _carry_out(folder: Path, run_id: str) -> None:
    # Imported here, so that a crash in a library that is being loaded is in the log already.
    from tlstudio.engine.execute import carry_out
    from tlstudio.engine.recipe import Recipe
    from tlstudio.plugins import PluginManager
    from tlstudio.store.project import Project

    # For reading: the right to write is the window's. Of the run's own folder, this process is the one writer.
    with Project.open(folder, write=False) as project:
        run = project.run(run_id)
        control = RunControl(own_process=True)
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(run, control, over), daemon=True)
        watch.start()
        manager = PluginManager.of_user()
        recipe = Recipe.model_validate(run.read_recipe())
        carry_out(run, recipe, project, manager.registry, on_event=lambda _event: None, control=control)
        over.set()
        watch.join()


def _watch(run: Run, control: RunControl, over: threading.Event) -> None:
    """Pass on what the control file asks for, until the run is over or was deleted."""
    path = run.folder / CONTROL_NAME
    seen: object = None
    looks_deleted = 0
    while not over.wait(_LOOK_EVERY):
        looks_deleted = looks_deleted + 1 if was_deleted(run) else 0
        if looks_deleted * _LOOK_EVERY > DELETED_SECONDS:
            sys.stderr.write(f"The folder of run {run.id} was deleted: the run ends.\n")
            control.cancel()
            return
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # there is none, or it is being replaced
        if asked == seen:
            continue
        seen = asked
        match asked:
            case {"request": "cancel"}:
                control.cancel()
            case {"request": "stop"}:
                control.stop()
            case {"paused": True}:
                control.pause()
            case _:
                control.resume()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
