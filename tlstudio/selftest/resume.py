"""Runs are killed at random moments and gone on with; each must end bit for bit as one that nobody touched."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from tlstudio.api import TLStudioError
from tlstudio.api.weights import sha256_of
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import EpochEnded, RunEvent, StepLogged, from_json
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.processes import quick_processes
from tlstudio.selftest import Check, Trial
from tlstudio.selftest.material import installed_registry, make_project, unheard
from tlstudio.store.project import Project
from tlstudio.store.run import Run

_KILLS_A_RUN = 4
_PATIENCE = 300.0  # seconds after which a run that was not killed is given up


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to train.

    Attributes:
        strategy: Name of the strategy.
        data: ``"images"`` or ``"texts"``.
        workers: Loader processes.
        accumulate: Batches that make one step.
    """

    strategy: str
    data: str
    workers: int
    accumulate: int

    def __str__(self) -> str:
        return f"{self.strategy}, {self.data}, {self.workers} loaders, accumulation {self.accumulate}"

    def recipe(self, encoder: Path) -> dict[str, Any]:
        """What to train; checkpoints are made after each step, so that many kills fall into one."""
        image = {"name": "mobilenet_v3_small", "options": {"weights": "random", "image_size": 32}}
        text = {"name": "auto_model", "options": {"weights": str(encoder), "max_length": 32}}
        return {
            "backbone": image if self.data == "images" else text,
            "strategy": self.strategy,
            "training": {
                "epochs": 40 if self.strategy == "linear_probe" else 3,
                "batch_size": 4,
                "accumulate": self.accumulate,
                "num_workers": self.workers,
                "checkpoint_every": 0,
                "device": "cpu",
                "threads": 1 + (self.workers == 0),
            },
        }


SETTINGS = tuple(
    Setting(*values) for values in product(("linear_probe", "full", "lora"), ("images", "texts"), (0, 2), (1, 4))
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that two runs of one recipe must have in common to the last bit.

    Attributes:
        files: SHA-256 of the files with parameters, optimizer and random states.
        rows: What was logged and measured, without times.
        metrics: The metrics of the end.
    """

    files: dict[str, str]
    rows: tuple[str, ...]
    metrics: dict[str, dict[str, float]]

    def difference(self, other: Outcome) -> str:
        """Say in what another differs; empty if in nothing."""
        parts = [
            name for name in sorted(self.files.keys() | other.files) if self.files.get(name) != other.files.get(name)
        ]
        if self.rows != other.rows:
            pairs = zip(self.rows, other.rows, strict=False)
            first = next((f"{one} / {two}" for one, two in pairs if one != two), f"{len(self.rows)}/{len(other.rows)}")
            parts.append(f"metric rows ({first})")
        if self.metrics != other.metrics:
            parts.append("metrics")
        return ", ".join(parts)


def outcome_of(run: Run) -> Outcome:
    """Read what a finished run has left."""
    folder = run.folder / "checkpoints"
    names = ("base.safetensors", "best/model.safetensors", "last/model.safetensors", "last/training.safetensors")
    rows = (row_of(from_json(line)[0]) for line in run.event_lines())
    files = {name: sha256_of(folder / name) for name in names if (folder / name).exists()}
    return Outcome(files, tuple(row for row in rows if row), run.metrics())


def row_of(event: RunEvent) -> str:
    """The numbers of an event that follow from the recipe alone; empty for other events."""
    match event:
        case StepLogged(interim=False):
            return json.dumps([event.step, event.epoch, event.loss, dict(event.learning_rates)])
        case EpochEnded():
            values = [event.epoch, event.step, event.train_loss, dict(event.validation), event.best_epoch, event.worst]
            return json.dumps(values)
        case _:
            return ""


def run_trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Kill runs ``count`` times in all, in every setting in turn."""
    registry = installed_registry()
    make_project(folder, registry)
    # Those who are killed cannot give back their semaphores; the system does, and nobody needs to be told.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    context = quick_processes(__name__, "torchvision.models", "transformers.models.bert", "peft", "timm")
    rng = random.Random(seed)  # noqa: S311  no secret
    expected: dict[Setting, tuple[Outcome, float]] = {}
    chosen = [SETTINGS[number % len(SETTINGS)] for number in range(-(-count // _KILLS_A_RUN))]
    rng.shuffle(chosen)
    for number, setting in enumerate(chosen):
        if setting not in expected:
            reference = folder / f"reference-{len(expected)}"
            seconds = _attempt(context, folder, reference, setting, None)
            with Project.open(reference, write=False) as project:
                expected[setting] = outcome_of(project.run(project.runs()[0].id)), seconds
        kills = min(_KILLS_A_RUN, count - number * _KILLS_A_RUN)
        outcome, seconds = expected[setting]
        trial_folder = folder / f"trial-{number}"
        for _ in range(kills):
            _attempt(context, folder, trial_folder, setting, rng.uniform(0.0, seconds))
        _attempt(context, folder, trial_folder, setting, None)
        with Project.open(trial_folder) as project:
            summaries = project.runs()
            done = [summary.id for summary in summaries if summary.status == "done"]
            if len(summaries) == len(done) == 1:
                details = outcome.difference(outcome_of(project.run(done[0])))
            else:
                details = (
                    "; ".join(f"{summary.id}: {summary.status} {summary.error}" for summary in summaries) or "no run"
                )
        yield from (Trial(str(setting), not details, details) for _ in range(kills))
        if not details:
            shutil.rmtree(trial_folder)


def _attempt(context: BaseContext, folder: Path, project: Path, setting: Setting, kill_after: float | None) -> float:
    """Begin or go on with the run of a project in a process, kill it after so many seconds; returns those it ran."""
    if not project.exists():
        shutil.copytree(folder / "project", project)
    began = context.Event()
    values = setting.recipe(folder / "encoder")
    process = context.Process(target=_train, args=(project, setting.data, values, began))  # type: ignore[attr-defined]
    process.start()
    while not began.wait(0.1) and process.is_alive():
        pass
    start = time.monotonic()
    process.join(_PATIENCE if kill_after is None else kill_after)
    seconds = time.monotonic() - start
    if kill_after is None and process.exitcode != 0:
        process.kill()
        raise TLStudioError(f"A run that nobody killed did not end ({setting}, exit code {process.exitcode}).")
    process.kill()
    process.join()
    return seconds


def _train(folder: Path, dataset: str, values: dict[str, Any], began: Event) -> None:
    registry = installed_registry()
    with Project.open(folder) as project:
        began.set()
        control, summaries = RunControl(), project.runs()
        if any(summary.status == "done" for summary in summaries):
            return
        if summaries:
            resume_run(summaries[0].id, project, registry, on_event=unheard, control=control)
        else:
            recipe = complete(values, project.dataset(dataset), registry)
            execute_run(recipe, project, registry, on_event=unheard, control=control)


CHECK = Check(
    name="resume",
    title="Runs that are killed at random moments and gone on with end bit for bit as ones that nobody touched",
    count=12,
    thorough=2400,
    run=run_trials,
    left_out=("Power loss: the disk's own cache cannot be cut off here.",),
)
