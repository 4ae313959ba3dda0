"""A real window is closed, cancelled and killed at random moments of a run, and so is the run's own process.

Each trial is one window in a process of its own, on a project that all trials share.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import psutil

from tlstudio.api import RunError, TLStudioError
from tlstudio.api.files import text_of
from tlstudio.engine.advise import complete
from tlstudio.engine.checkpoint_reading import find_resumption
from tlstudio.engine.control import RunControl
from tlstudio.engine.executors import follow_run
from tlstudio.selftest import Check, Trial
from tlstudio.selftest.material import installed_registry, make_project, unheard
from tlstudio.store.project import Project

EXIT_SECONDS = 5.0
_PATIENCE = 120.0  # seconds for a window to come up, and for a process that was left to begin
_GRACE = 10.0  # seconds for processes of a killed window to notice it
_LATEST = 20.0  # seconds after the start of a run, at most, until something is done to it
_BAD_WORDS = ("QThread: Destroyed", "Fatal Python error", "Traceback (most recent call last)", "terminate called")
_HOME = "TLSTUDIO_HOME"

KINDS: tuple[tuple[str, str], ...] = (
    *product(("stop", "cancel", "kill window", "terminate window"), ("window", "process")),
    *product(("leave", "kill run"), ("process",)),
)
"""What is done, and where the run is."""


@dataclass
class _Window:
    """A window in a process of its own, and what it has said so far."""

    process: subprocess.Popen[str]
    errors: Path
    words: dict[str, float] = field(default_factory=dict)
    said: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Read what it says, in a thread that ends with it."""
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, word: str) -> bool:
        """Wait until it has said a word; returns whether it has."""
        with self.said:
            return self.said.wait_for(lambda: word in self.words or self.process.poll() is not None, _PATIENCE) and (
                word in self.words
            )

    def _read(self) -> None:
        if self.process.stdout is not None:
            with self.process.stdout as words:
                for line in words:
                    with self.said:
                        self.words[line.strip()] = time.monotonic()
                        self.said.notify_all()
        with self.said:
            self.said.notify_all()


def run_trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Open ``count`` windows and end each at a random moment in one of the ways in turn."""
    registry = installed_registry()
    make_project(folder, registry)
    project_folder = folder / "project"
    values = {
        "backbone": {"name": "mobilenet_v3_small", "options": {"weights": "random", "image_size": 32}},
        "strategy": "full",
        "training": {"epochs": 100_000, "batch_size": 4, "checkpoint_every": 0, "device": "cpu", "threads": 1},
    }
    with Project.open(project_folder) as project:
        recipe = complete(values, project.dataset("images"), registry)
    (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    rng = random.Random(seed)  # noqa: S311  no secret
    kinds = rng.sample(KINDS, len(KINDS))
    for number in range(count):
        action, runs_in = kinds[number % len(kinds)]
        # Early moments have more to break, but most of a run is not early.
        after = rng.uniform(0.0, rng.choice((3.0, _LATEST)))
        details = _try(folder, action, runs_in, after)
        yield Trial(f"{action}, run in a {runs_in}", not details, f"after {after:.2f} s: {details}" if details else "")


def _try(folder: Path, action: str, runs_in: str, after: float) -> str:
    """Do one thing to one window; returns what was not as it must be, or ``""``."""
    plan = {
        "project": str(folder / "project"),
        "recipe": str(folder / "recipe.toml"),
        "runs_in": runs_in,
        "action": action if action in ("stop", "leave", "cancel") else "wait",
        "after": after,
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    home = folder / "home"
    window = _open_window(folder, home)
    if not window.wait_for("started"):
        window.process.kill()
        window.process.wait()
        return f"the window did not start: {text_of(window.errors)[-500:]}"
    wrong = []
    if action in ("kill window", "terminate window", "kill run"):
        time.sleep(after)
        wrong += _break(window, action, folder / "project", home)
    else:
        window.wait_for("closing")
        wrong += _ends_in_time(window, window.words.get("closing", time.monotonic()))
    if action != "kill window" and window.process.returncode not in (0, None):
        wrong.append(f"the window ended with code {window.process.returncode}")
    text = text_of(window.errors)
    wrong += [f"it said: {text[-500:]}" for word in _BAD_WORDS if word in text]
    wrong += _look_at_project(folder / "project")
    wrong += _orphans(home)
    return "; ".join(wrong)


def _open_window(folder: Path, home: Path) -> _Window:
    environment = {**os.environ, _HOME: str(home), "QT_QPA_PLATFORM": "offscreen"}
    errors = folder / "stderr.txt"
    with errors.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603  this very interpreter with a module of ours
            [sys.executable, "-m", "tlstudio.gui.rehearsal", str(folder / "plan.json")],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            encoding="utf-8",
            errors="replace",
        )
    window = _Window(process, errors)
    window.listen()
    return window


def _break(window: _Window, action: str, project: Path, home: Path) -> list[str]:
    """Kill or terminate the window, or kill the process of its run and then terminate the window."""
    if action == "kill run":
        for process in _processes_of(home):
            with contextlib.suppress(psutil.Error):
                if "tlstudio.engine.child" in process.cmdline():
                    process.kill()
    if action == "kill window" or os.name == "nt":  # there, a process cannot be asked to end
        window.process.kill()
    else:
        window.process.send_signal(signal.SIGTERM)
    return _ends_in_time(window, time.monotonic())


def _ends_in_time(window: _Window, since: float) -> list[str]:
    with contextlib.suppress(subprocess.TimeoutExpired):
        window.process.wait(max(0.1, since + 4 * EXIT_SECONDS - time.monotonic()))
    seconds = time.monotonic() - since
    if window.process.poll() is None:
        window.process.kill()
        window.process.wait()
        return ["the window did not end"]
    return [f"the window took {seconds:.1f} s to end"] if seconds > EXIT_SECONDS else []


def _look_at_project(folder: Path) -> list[str]:
    """Open the project as the next window would, end what goes on, and look at every run; they are deleted then."""
    wrong = []
    try:
        with Project.open(folder) as project:
            for summary in project.runs():
                run = project.run(summary.id)
                if summary.status == "running":
                    control = RunControl()
                    control.cancel()
                    with contextlib.suppress(RunError):  # it has just ended
                        follow_run(summary.id, project, on_event=unheard, control=control)
                if run.status not in ("cancelled", "interrupted", "failed", "stopped"):
                    wrong.append(f"the run is {run.status}")
                find_resumption(run.folder / "checkpoints")
                project.delete_run(summary.id)
    except (TLStudioError, OSError) as error:
        wrong.append(f"the project: {error}")
    return wrong


def _orphans(home: Path) -> list[str]:
    """What is left of the window and its run after a moment; it is ended."""
    deadline = time.monotonic() + _GRACE
    while (left := _processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    names = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            names.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
            process.kill()
    return [f"left behind: {', '.join(names)}"] if names else []


def _processes_of(home: Path) -> list[psutil.Process]:
    """All processes that were started, directly or not, with this home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(_HOME) == str(home):
                found.append(process)
    return found


CHECK = Check(
    name="close",
    title="Windows that are closed, cancelled, killed and terminated at random moments of a run end well",
    count=6,
    thorough=200,
    run=run_trials,
    left_out=("A screen: the windows are drawn, but nowhere to be seen.",),
)
