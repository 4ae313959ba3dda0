"""Runs are killed at random moments and gone on with; each must end bit for bit as one that nobody touched."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from tlstudio.api import TLStudioError
from tlstudio.api.files import text_of
from tlstudio.api.weights import sha256_of
from tlstudio.engine.advise import complete
from tlstudio.engine.checkpoint import BASE, KINDS, find_snapshots
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import EpochEnded, RunEvent, StepLogged, from_json
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.processes import quick_processes
from tlstudio.selftest import Check, Trial
from tlstudio.selftest.material import installed_registry, make_project, unheard
from tlstudio.store.project import Project
from tlstudio.store.run import Run

_KILLS_A_RUN = 4
_MOST_LANES = 4  # runs side by side
_SHOWN = 4000  # characters of what a run has printed that did not end
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
        image = {"name": "test_resnet", "options": {"weights": "random", "image_size": 32}}
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
    kinds = (*KINDS, "start", *find_snapshots(folder))
    names = (BASE, *(f"{kind}/model.safetensors" for kind in kinds), "last/training.safetensors")
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
    """Kill runs ``count`` times in all, in every setting in turn, some runs side by side."""
    make_project(folder, installed_registry())
    # Those who are killed cannot give back their semaphores; the system does, and nobody needs to be told.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    context = quick_processes(__name__, "torchvision.models", "transformers.models.bert", "peft", "timm")
    rng = random.Random(seed)  # noqa: S311  no secret
    chosen = [SETTINGS[number % len(SETTINGS)] for number in range(-(-count // _KILLS_A_RUN))]
    rng.shuffle(chosen)
    moments = [rng.random() for _ in range(count)]
    lanes = ThreadPoolExecutor(max(1, min(_MOST_LANES, os.cpu_count() or 1)))
    try:
        distinct = list(dict.fromkeys(chosen))
        references = lanes.map(partial(_reference, context, folder), distinct)
        expected = dict(zip(distinct, references, strict=True))

        def kill(number: int) -> list[Trial]:
            some = moments[number * _KILLS_A_RUN : (number + 1) * _KILLS_A_RUN]
            details = _kill(context, folder, folder / f"trial-{number}", chosen[number], some, expected[chosen[number]])
            return [Trial(str(chosen[number]), not details, details)] * len(some)

        for trials in lanes.map(kill, range(len(chosen))):
            yield from trials
    finally:
        lanes.shutdown(cancel_futures=True)


def _reference(context: BaseContext, folder: Path, setting: Setting) -> tuple[Outcome, float]:
    """Train without a kill; returns what comes of it and how many seconds it takes."""
    place = folder / f"reference-{SETTINGS.index(setting)}"
    seconds = _attempt(context, folder, place, setting, None)
    with Project.open(place, write=False) as project:
        return outcome_of(project.run(project.runs()[0].id)), seconds


def _kill(
    context: BaseContext,
    folder: Path,
    place: Path,
    setting: Setting,
    moments: Sequence[float],
    expected: tuple[Outcome, float],
) -> str:
    """Train with a kill at each of some moments, as parts of what is expected; returns what is wrong in the end."""
    outcome, seconds = expected
    for moment in moments:
        _attempt(context, folder, place, setting, moment * seconds)
    _attempt(context, folder, place, setting, None)
    with Project.open(place) as project:
        summaries = project.runs()
        if [summary.status for summary in summaries] == ["done"]:
            details = outcome.difference(outcome_of(project.run(summaries[0].id)))
        else:
            ends = [f"{summary.id}: {summary.status} {summary.error}" for summary in summaries]
            details = "; ".join(ends) or "no run"
    if not details:
        shutil.rmtree(place)
    return details


def _attempt(context: BaseContext, folder: Path, project: Path, setting: Setting, kill_after: float | None) -> float:
    """Begin or go on with the run of a project in a process, kill it after so many seconds; returns those it ran."""
    if not project.exists():
        shutil.copytree(folder / "project", project)
    began = context.Event()
    values = setting.recipe(folder / "encoder")
    output = project.with_name(f"{project.name}.log")
    args = (project, setting.data, values, began, output)
    process = context.Process(target=_train, args=args)  # type: ignore[attr-defined]
    process.start()
    while not began.wait(0.1) and process.is_alive():
        pass
    start = time.monotonic()
    process.join(_PATIENCE if kill_after is None else kill_after)
    seconds = time.monotonic() - start
    if kill_after is None and process.exitcode != 0:
        process.kill()
        what = f"A run that nobody killed did not end ({setting}, exit code {process.exitcode})."
        raise TLStudioError(what, text_of(output)[-_SHOWN:].strip())
    process.kill()
    process.join()
    return seconds


def _train(folder: Path, dataset: str, values: dict[str, Any], began: Event, output: Path) -> None:
    with output.open("ab") as file:  # those who are killed, and who helped them, complain: nobody needs to be told
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
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
