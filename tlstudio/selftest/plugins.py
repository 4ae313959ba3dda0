"""Bad plugins beside a good one in real starts: the good one must be there, and the bad one named with its reason."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlstudio.selftest import Check, Trial
from tlstudio.selftest.material import draw_images, installed_registry
from tlstudio.selftest.plugin_sources import BAD_PLUGINS, GOOD_NAME, BadPlugin, strategy

_NAMED_WITHIN = 10.0  # seconds beyond what two starts without it take on this machine now
_PATIENCE = 300.0  # seconds after which a start or a training is given up


def run_trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Try so many bad plugins, each in a start of its own."""
    chosen = list(BAD_PLUGINS)
    random.Random(seed).shuffle(chosen)  # noqa: S311  no secret
    project: Path | None = None
    for number in range(count):
        bad = chosen[number % len(chosen)]
        home = folder / f"home-{number}"
        (home / "plugins").mkdir(parents=True)
        (home / "plugins" / f"{GOOD_NAME}.py").write_text(strategy("good"), encoding="utf-8")
        without = _start(home)
        bad.write(home / "plugins")
        details = without.spoiled() or _judge(bad, _start(home), without)
        if bad.trains and not details:
            project = project or _make_project(folder)
            details = _judge_training(bad, home, project)
        yield Trial(bad.name.replace("_", " "), not details, details)


@dataclass(frozen=True, slots=True)
class _Started:
    """What ``tlstudio plugins --json`` has said.

    Attributes:
        seconds: How long it took.
        code: Its exit code; `None`: it did not come to an end.
        output: Its standard output.
    """

    seconds: float
    code: int | None
    output: str

    def spoiled(self) -> str:
        """Say what is wrong with the start itself and with all plugins but the bad one; empty if nothing is."""
        if self.code != 0:
            return f"the start ended with {self.code}"
        try:
            records = self.records()
        except (ValueError, LookupError):
            return f"the output is spoiled: {self.output[:200]!r}"
        states = {record["name"]: record["state"] for record in records if record["distribution"] == "tlstudio"}
        states[GOOD_NAME] = next((one["state"] for one in records if one["name"] == GOOD_NAME), "missing")
        hurt = [f"{name} is {state}" for name, state in states.items() if state != "ok"]
        return ", ".join(hurt)

    def records(self) -> list[dict[str, Any]]:
        """Every plugin; the whole output must be this one JSON value."""
        return list(json.loads(self.output)["plugins"])


def _start(home: Path) -> _Started:
    began = time.monotonic()
    command = [sys.executable, "-m", "tlstudio", "plugins", "--json"]
    environment = {**os.environ, "TLSTUDIO_HOME": str(home)}
    with (home / "messages.txt").open("wb") as messages, (home / "output.txt").open("wb") as output:
        try:
            code: int | None = subprocess.run(  # noqa: S603  this very program
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=messages, env=environment, timeout=_PATIENCE
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    text = (home / "output.txt").read_text(encoding="utf-8", errors="replace")
    return _Started(time.monotonic() - began, code, text)


def _judge(bad: BadPlugin, start: _Started, without: _Started) -> str:
    """Say what is wrong with a start beside a bad plugin; empty if nothing is."""
    if spoiled := start.spoiled():
        return spoiled
    record = next((one for one in start.records() if one["file"] in (bad.name, f"{bad.name}.py")), None)
    if record is None:
        return "it is not listed"
    if bad.trains or not bad.reason:
        return "" if record["state"] == "ok" else f"it is {record['state']}: {record['error']}"
    if record["state"] == "ok" or bad.reason not in record["error"]:
        return f"it is {record['state']} for another reason: {record['error']!r}"
    allowed = _NAMED_WITHIN + 2 * without.seconds
    return f"it was named after {start.seconds:.1f} s, not {allowed:.1f} s" if start.seconds > allowed else ""


def _make_project(folder: Path) -> Path:
    from tlstudio.data.importing import import_dataset
    from tlstudio.data.planning import plan_import
    from tlstudio.store.project import Project

    draw_images(folder / "images")
    with Project.create(folder / "project", "Self-test") as project:
        request, _ = plan_import(installed_registry().formats.values(), folder / "images", name="images")
        import_dataset(request, project.datasets_folder)
    return folder / "project"


def _judge_training(bad: BadPlugin, home: Path, folder: Path) -> str:
    """Train with the plugin, in a process, which it may end; say what is wrong afterwards."""
    from tlstudio.store.project import Project

    process = multiprocessing.get_context("spawn").Process(target=_train, args=(home, folder, bad.name))
    process.start()
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
    if process.exitcode != 0:
        return f"the process that followed the run ended with {process.exitcode}"
    with Project.open(folder, write=False) as project:
        run = next(one for one in project.runs() if one.strategy == bad.name)
    if run.status != "failed" or bad.reason not in run.error or f"the plugin '{bad.name}'" not in run.error:
        return f"its run is {run.status} for another reason: {run.error!r}"
    return ""


def _train(home: Path, folder: Path, name: str) -> None:
    os.environ["TLSTUDIO_HOME"] = str(home)
    from tlstudio.engine.advise import complete
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.executors import execute_in_process
    from tlstudio.plugins import PluginManager
    from tlstudio.store.project import Project

    registry = PluginManager.of_user().registry
    with Project.open(folder) as project:
        values = {
            "backbone": {"name": "mobilenet_v3_small", "options": {"weights": "random", "image_size": 32}},
            "strategy": name,
            "training": {"epochs": 1, "device": "cpu", "threads": 1},
        }
        recipe = complete(values, project.dataset("images"), registry)
        execute_in_process(recipe, project, registry, on_event=lambda _event: None, control=RunControl())


CHECK = Check(
    name="plugins",
    title="Bad plugins beside a good one: the good one is there, and the bad one is named with its reason in time",
    count=8,
    thorough=len(BAD_PLUGINS),
    run=run_trials,
    left_out=("A plugin that means harm: what a plugin does after it has come in is done with the user's rights.",),
)
