"""Print the table of few labels in the README: what each way to learn makes of a few labelled samples a class.

``python -m tests.benchmarks.few_labels [--seeds 5] [--shots 8 --shots 32] [--data NAME ...] [--only NAME ...]
[--movies movies.csv] [--split test]``

Each seed splits the data anew, draws the labelled samples and seeds the training; all rows of a seed learn from the
same samples and are measured on the same others. The interval is Student's 95 % interval of the mean over the seeds;
that of the difference to the first row is over the differences of the seeds. No row looks at the validation split: each
keeps its last epoch, and settings were chosen by ``--split validation`` on seeds that the table does not have
(``--first-seed 100``). ``movies.csv`` is described in ``tests.benchmarks.tasks``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.tasks import interval
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.splits import Fractions
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

TEXTS = 2000
"""So many of the sentences are drawn for a seed: enough beside 64 labelled ones."""


@dataclass(frozen=True)
class Data:
    """Data to learn from.

    Attributes:
        title: For people.
        backbone: The backbone that all rows use.
        training: Training options of all rows.
        fractions: Shares of train, validation and test.
        format_options: Options of the format.
        shots: Labelled samples of each class. A class of the drawings has no more than 22 to learn from.
    """

    title: str
    backbone: dict[str, Any]
    training: dict[str, Any]
    fractions: Fractions
    format_options: dict[str, Any]
    shots: tuple[int, ...]

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
    "clipart15": Data(
        "804 drawings, 15 classes; EfficientNet-Lite0, 128 px",
        {"name": "tf_efficientnet_lite0", "options": {"image_size": 128}},
        {},
        (0.7, 0.1, 0.2),
        {},
        (8, 16),
    ),
    "movies": Data(
        f"{TEXTS:,} sentences of film reviews, 2 classes; MiniLM",
        {"name": "all-MiniLM-L6-v2", "options": {"max_length": 64}},
        {},
        (0.7, 0.05, 0.25),
        {"text_column": "text", "label_column": "sentiment"},
        (8, 32),
    ),
}

ROWS: dict[str, dict[str, Any]] = {
    "linear_probe": {"strategy": "linear_probe"},
    "nearest_mean": {"strategy": {"name": "nearest_mean", "options": {"distance": "cosine"}}},
    "full": {"strategy": "full"},
    "fixmatch": {"strategy": "full", "methods": {"fixmatch": {"ratio": 3}}},
    "setfit": {"strategy": "setfit"},
}
"""Values of the recipe by the name of a row; the first is what the others are compared with."""

ON_DATA: dict[tuple[str, str], dict[str, Any]] = {}
"""What differs from `ROWS` on a data set, by data set and row."""


def values_of(data: str, row: str, shots: int, seed: int) -> dict[str, Any]:
    """Values of the recipe of a row."""
    merged: dict[str, Any] = {**ROWS[row], **ON_DATA.get((data, row), {})}
    training = {"keep": "last", **DATA[data].training, **merged.get("training", {}), "seed": seed}
    return {**merged, "dataset": {"shots": shots}, "backbone": DATA[data].backbone, "training": training}


def measure(
    project: Project, data: str, row: str, shots: int, seed: int, registry: Registry, split: str
) -> tuple[float, float]:
    """Train a row; returns its accuracy and the seconds that it took."""
    recipe = complete(values_of(data, row, shots, seed), project.dataset(data), registry)
    ended: list[RunEnded] = []
    start = time.perf_counter()
    execute_run(
        recipe,
        project,
        registry,
        on_event=lambda event: ended.append(event) if isinstance(event, RunEnded) else None,
        control=RunControl(),
    )
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    return ended[0].metrics[split]["accuracy"], time.perf_counter() - start


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


def main() -> None:
    """Print one Markdown row for each row and number of shots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shots", type=int, action="append")
    parser.add_argument("--data", choices=DATA, action="append")
    parser.add_argument("--only", choices=ROWS, action="append")
    parser.add_argument("--movies", type=Path)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    names = [name for name in ROWS if not arguments.only or name in arguments.only]
    print("| data | labels a class | method | accuracy, mean ± 95 % interval | to the first | seeds | seconds a run |")
    print("|---|---|---|---|---|---|---|")
    for data in arguments.data or DATA:
        if data == "movies" and arguments.movies is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            projects = {seed: imported(Path(folder), data, seed, manager.registry, arguments.movies) for seed in seeds}
            for shots in arguments.shots or DATA[data].shots:
                print_rows(projects, data, names, shots, manager.registry, arguments.split)
            for project in projects.values():
                project.close()


def print_rows(
    projects: Mapping[int, Project], data: str, names: list[str], shots: int, registry: Registry, split: str
) -> None:
    """Train the rows on the data of each seed."""
    first: np.ndarray | None = None
    for name in names:
        results = [measure(project, data, name, shots, seed, registry, split) for seed, project in projects.items()]
        found = np.array([accuracy for accuracy, _ in results])
        first = found if first is None else first
        apart = "" if found is first else f"{'+' if found.mean() >= first.mean() else ''}{interval(found - first)}"
        seconds = np.mean([seconds for _, seconds in results])
        cells = (data, shots, name, interval(found), apart, len(found), f"{seconds:.0f}")
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
