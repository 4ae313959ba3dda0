"""Print the tables of few labels in the README: what each way to learn makes of a few labelled samples a class.

``python -m tests.benchmarks.few_labels [--seeds 5] [--shots 8 --shots 0] [--data NAME ...] [--only NAME ...]
[--movies movies.csv] [--split test] [--results FILE]``

Each seed splits the data anew, draws the labelled samples and seeds the training; all rows of a seed learn from the
same samples and are measured on the same others. The interval is Student's 95 % interval of the mean over the seeds;
those of differences to another row are over the differences of the seeds. No row looks at the validation split: each
keeps its last epoch. Options are those that are recommended, but for the number of steps, of 16 labelled samples each,
and the learning rates in `RATES`: these were set beforehand. Whoever looks for better ones does so by
``--split validation`` on seeds that the table does not have (``--first-seed 100``).
``movies.csv`` is described in ``tests.benchmarks.tasks``. What is in the file of results is not measured again.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.benchmarks.tasks import interval
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.splits import Fractions
from tlstudio.engine.advise import complete
from tlstudio.engine.averaging import WiseFT
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.derived import Bench
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

TEXTS = 800
"""So many of the sentences are drawn for a seed: enough beside 64 labelled ones."""
BATCH = 16
Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Data:
    """Data to learn from.

    Attributes:
        title: For people.
        backbone: The backbone that all rows use.
        steps: So many steps are made by rows that train the network, where that is more than three epochs.
        fractions: Shares of train, validation and test.
        format_options: Options of the format.
        shots: Labelled samples of each class; 0: all. A class of the drawings has no more than 19 to learn from.
        augmented: Name in `AUGMENTED` of the row that is shown: the best one by 8 labels a class on seeds 100, 101.
    """

    title: str
    backbone: dict[str, Any]
    steps: int
    fractions: Fractions
    format_options: dict[str, Any]
    shots: tuple[int, ...]
    augmented: str

    def source(self, folder: Path, seed: int, movies: Path | None) -> Path:
        """Return what is imported for a seed."""
        if movies is None:
            return next(data for data in DEMO_DATA if data.name == "images").path()
        with movies.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        drawn = np.random.default_rng(seed).choice(len(rows), TEXTS, replace=False)
        path = folder / f"movies{seed}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows[index] for index in drawn)
        return path


DATA = {
    "movies": Data(
        f"{TEXTS:,} sentences of film reviews, 2 classes; MiniLM, 32 tokens",
        {"name": "all-MiniLM-L6-v2", "options": {"max_length": 32}},
        30,
        (0.5, 0.02, 0.48),
        {"text_column": "text", "label_column": "sentiment"},
        (8, 32, 0),
        "light",
    ),
    "clipart15": Data(
        "804 drawings, 15 classes; EfficientNet-Lite0, 96 px",
        {"name": "tf_efficientnet_lite0", "options": {"image_size": 96}},
        64,
        (0.6, 0.05, 0.35),
        {},
        (8, 16, 0),
        "trivialaugment",
    ),
}

PROBE, FULL, SCRATCH = "linear_probe", "full", "scratch"
ROWS: dict[str, dict[str, Any]] = {
    SCRATCH: {"strategy": "full"},
    PROBE: {"strategy": "linear_probe"},
    FULL: {"strategy": "full"},
    "lp_ft": {"strategy": "lp_ft", "methods": {"wise_ft": {}}},
    "lora": {"strategy": {"name": "lora", "options": {"rank": 8}}},
    "l2_sp": {"strategy": "full", "methods": {"l2_sp": {}}},
    "nearest_mean": {"strategy": {"name": "nearest_mean", "options": {"distance": "cosine"}}},
    "setfit": {"strategy": "setfit"},
    "fixmatch": {"strategy": "full", "methods": {"fixmatch": {"ratio": 3}}},
}
"""Values of the recipe by the name of a row."""

AUGMENTED: dict[str, dict[str, Any]] = {
    **{name: {"training": {"augmentation": name}} for name in ("none", "light", "strong")},
    **{name: {"training": {"augmentation": name}} for name in ("randaugment", "trivialaugment")},
    **{name: {"methods": {name: {}}} for name in ("mixup", "cutmix")},
}
"""Full fine-tuning with other ways to vary samples than is recommended, by name. One of them is shown for each data
set, the others where they are asked for by ``--only``."""

FITTED = (PROBE, "nearest_mean")
"""Rows whose network stays as it is: they have the training options that are recommended."""

WISE = "wise_ft"
"""The row that is made of the run of LP-FT: the mean of its weights before and after the network has learned."""

RATES = {
    **{f"movies/{row}": 1e-4 for row in (FULL, "lp_ft", "l2_sp", "fixmatch", *AUGMENTED)},
    f"movies/{SCRATCH}": 5e-4,
    f"clipart15/{SCRATCH}": 1e-3,
}
"""Learning rates by data and row, where they are not those that are recommended."""


def values_of(data: str, row: str, shots: int, seed: int, num_train: int) -> dict[str, Any]:
    """Values of the recipe of a row that learns from so many samples."""
    chosen = DATA[data]
    merged = ROWS[row] if row in ROWS else {**ROWS[FULL], **AUGMENTED[row]}
    training: dict[str, Any] = {"keep": "last", **merged.get("training", {}), "seed": seed}
    if row not in FITTED:
        training |= {"batch_size": BATCH, "epochs": max(3, round(chosen.steps / math.ceil(num_train / BATCH)))}
    if f"{data}/{row}" in RATES:
        training["learning_rate"] = RATES[f"{data}/{row}"]
    backbone = chosen.backbone
    if row == SCRATCH:
        backbone = {**backbone, "options": {**backbone["options"], "weights": "random"}}
    return {**merged, "dataset": {"shots": shots}, "backbone": backbone, "training": training}


def measure(
    project: Project, data: str, row: str, shots: int, seed: int, registry: Registry, split: Split
) -> dict[str, tuple[float, float]]:
    """Train a row; returns its accuracy and the CPU seconds that it took, and those of what is made of it."""
    revision = project.dataset(data)
    num_train = shots * len(revision.classes) or len(revision.indices("train"))
    recipe = complete(values_of(data, row, shots, seed, num_train), revision, registry)
    ended: list[RunEnded] = []
    start = time.process_time()
    run = execute_run(
        recipe,
        project,
        registry,
        on_event=lambda event: ended.append(event) if isinstance(event, RunEnded) else None,
        control=RunControl(),
    )
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    seconds = time.process_time() - start
    found = {row: (ended[0].metrics[split]["accuracy"], seconds)}
    if WISE in recipe.methods:
        averaged = WiseFT(Bench(run, project, registry)).measure(0.5)
        found[WISE] = averaged.metrics[split]["accuracy"], seconds
    return found


def imported(folder: Path, data: str, seed: int, registry: Registry, movies: Path | None) -> Project:
    """Make a project with the data as split for a seed."""
    project = Project.create(folder / f"{data}{seed}")
    chosen = DATA[data]
    request, _ = plan_import(
        registry.formats.values(),
        chosen.source(folder, seed, movies if data == "movies" else None),
        name=data,
        task="classification",
        seed=seed,
        fractions=chosen.fractions,
        options=chosen.format_options,
    )
    import_dataset(request, project.datasets_folder)
    return project


class Results:
    """Accuracies and seconds by data, split, labels, row and seed, kept in a file where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.found: dict[str, tuple[float, float]] = {}
        if path is not None and path.exists():
            self.found = {key: tuple(value) for key, value in json.loads(path.read_text("utf-8")).items()}

    @staticmethod
    def key(data: str, split: str, shots: int, row: str, seed: int) -> str:
        """What a result is kept by."""
        return f"{data} {split} {shots} {row} {seed}"

    def add(self, key: str, value: tuple[float, float]) -> None:
        """Keep a result."""
        self.found[key] = value
        if self._path is not None:
            self._path.write_text(json.dumps(self.found, indent=0), "utf-8")


def main() -> None:
    """Print a Markdown table for each data set: a row for each way to learn, columns for each number of labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shots", type=int, action="append", help="labelled samples of each class; 0: all")
    parser.add_argument("--data", choices=DATA, action="append")
    parser.add_argument("--only", choices=[*ROWS, *AUGMENTED], action="append")
    parser.add_argument("--movies", type=Path)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    results = Results(arguments.results)
    for data in arguments.data or DATA:
        if data == "movies" and arguments.movies is None:
            continue
        asked = arguments.only or [*ROWS, DATA[data].augmented]
        names = [name for name in (*ROWS, *AUGMENTED) if name in asked]
        measured: dict[int, dict[str, np.ndarray]] = {}
        for shots in arguments.shots or DATA[data].shots:
            # Of all labels, none are left aside for it to learn from.
            rows = [name for name in names if shots or name != "fixmatch"]
            for seed in seeds:
                wanted = [
                    row for row in rows if results.key(data, arguments.split, shots, row, seed) not in results.found
                ]
                if not wanted:
                    continue
                with (
                    tempfile.TemporaryDirectory() as folder,
                    imported(Path(folder), data, seed, manager.registry, arguments.movies) as project,
                ):
                    for row in wanted:
                        found = measure(project, data, row, shots, seed, manager.registry, arguments.split)
                        for name, value in found.items():
                            key = results.key(data, arguments.split, shots, name, seed)
                            results.add(key, value)
                            print(f"{key}: {value[0]:.3f} in {value[1]:.0f} s", file=sys.stderr, flush=True)
            shown = [name for row in rows for name in ((row, WISE) if row == "lp_ft" else (row,))]
            keys = {name: [results.key(data, arguments.split, shots, name, seed) for seed in seeds] for name in shown}
            measured[shots] = {name: np.array([results.found[key] for key in keys[name]]) for name in shown}
        print("\n".join(table(DATA[data].title, measured)))


def table(title: str, measured: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
    """Write the table of one data set, and below it what is told of pairs of rows.

    Args:
        title: Of the data.
        measured: Accuracy and seconds of each seed ``[S, 2]`` by labelled samples a class and row.
    """
    names = list(dict.fromkeys(name for rows in measured.values() for name in rows))
    heads = [cell for shots in measured for cell in (f"{shots or 'all'} a class", "to the probe")]
    lines = [f"{title}:", "", f"| method | {' | '.join(heads)} | CPU s |", f"|{'---|' * (len(heads) + 2)}"]
    for name in names:
        cells = [name]
        for rows in measured.values():
            cells += [interval(rows[name][:, 0]) if name in rows else "", apart(rows, name, PROBE)]
        seconds = [f"{rows[name][:, 1].mean():.0f}" for rows in measured.values() if name in rows]
        lines.append(f"| {' | '.join(cells)} | {', '.join(seconds)} |")
    lines.append("")
    for name, other in ((PROBE, SCRATCH), (FULL, SCRATCH), ("lp_ft", FULL)):
        told = {shots: apart(rows, name, other) for shots, rows in measured.items()}
        if any(told.values()):
            said = ", ".join(f"{value} ({shots or 'all'} a class)" for shots, value in told.items() if value)
            lines.append(f"{name} beyond {other}: {said}")
    return lines


def apart(rows: Mapping[str, np.ndarray], name: str, other: str) -> str:
    """Write by how much the accuracy of a row is above that of another, over the differences of the seeds."""
    if name not in rows or other not in rows or name == other:
        return ""
    difference = rows[name][:, 0] - rows[other][:, 0]
    return f"{'+' if difference.mean() >= 0 else ''}{interval(difference)}"


if __name__ == "__main__":
    main()
