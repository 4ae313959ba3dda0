"""A process that carries out one run: ``python -m tlstudio.engine.child PROJECT RUN``.

The run folder is the only channel. The process writes its events there, and looks there for what is asked of it
(``control.json``); so it outlives the window, and any program can follow it, now or later.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
from pathlib import Path

from tlstudio import startup
from tlstudio.api import TLStudioError
from tlstudio.engine.control import RunControl
from tlstudio.privacy import CleanStream
from tlstudio.store.run import CONTROL_NAME

CRASH_NAME = "crash.log"
OUTPUT_NAME = "output.log"
_LOOK_EVERY = 0.1  # seconds


def main(project_folder: str, run_id: str) -> int:
    """Carry out a run whose folder has been made; returns the exit code."""
    startup.stay_offline(os.environ)
    startup.share_the_cores(os.environ)
    startup.keep_freed_memory()
    sys.stdout, sys.stderr = CleanStream(sys.stdout), CleanStream(sys.stderr)  # they end in the run's folder
    folder = Path(project_folder)
    with (folder / "runs" / run_id / CRASH_NAME).open("w", encoding="utf-8") as crash:
        faulthandler.enable(crash)
        try:
            _carry_out(folder, run_id)
        except TLStudioError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        finally:
            faulthandler.disable()
    return 0


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
        watch = threading.Thread(target=_watch, args=(run.folder / CONTROL_NAME, control, over), daemon=True)
        watch.start()
        manager = PluginManager.of_user()
        recipe = Recipe.model_validate(run.read_recipe())
        carry_out(run, recipe, project, manager.registry, on_event=lambda _event: None, control=control)
        over.set()
        watch.join()


def _watch(path: Path, control: RunControl, over: threading.Event) -> None:
    """Pass on what the control file asks for, until the run is over."""
    seen: object = None
    while not over.wait(_LOOK_EVERY):
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
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
