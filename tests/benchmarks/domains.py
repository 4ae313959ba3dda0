"""Print the table of two domains in the README: colour drawings, and others of the same classes drawn in chalk.

``python -m tests.benchmarks.domains [--seeds 3] [--first-seed 0] [--only NAME ...] [--split test]``

Each seed deals the drawings of eight classes of ``clipart15`` into two halves, so that no drawing is in both domains:
one stays in colour, of the other the edges are drawn white on black. The first rows learn from the labels of the colour
drawings alone; those that adapt see the chalk drawings of the train split without labels besides. The last rows learn
from eight labelled chalk drawings a class, alone or beside all colour drawings. All are measured on the same chalk
drawings that no row has seen. The interval is Student's 95 % interval of the mean over the seeds; that of the
difference is over the differences of the seeds. Each row keeps its last epoch, and all methods have their defaults.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFilter

from tests.benchmarks.tasks import interval
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.splits import Fractions
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.evaluate import evaluate_run
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

COLOUR, CHALK = "colour", "chalk"
FRACTIONS: dict[str, Fractions] = {COLOUR: (0.8, 0.1, 0.1), CHALK: (0.4, 0.25, 0.35)}
CLASSES = ("dessert", "flag", "fruit", "mammal", "music", "roadsign", "sport", "vehicle")
LITE0 = {"name": "tf_efficientnet_lite0", "options": {"image_size": 96}}
SHOTS = 8


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: What is learned from, for people.
        data: The data set of the run.
        against: Name of the row that it is compared with; ``""``: none.
        recipe: Values of the recipe.
        training: Training options.
    """

    title: str
    data: str
    against: str
    recipe: dict[str, Any]
    training: dict[str, Any] = field(default_factory=lambda: {"epochs": 5})


def adapted(name: str, **options: Any) -> Row:
    """A row that sees the chalk drawings without labels."""
    methods = {name: {"target": CHALK, **options}}
    return Row("colour with labels, chalk without", COLOUR, "source", {"strategy": "full", "methods": methods})


ROWS = {
    "source": Row("colour with labels", COLOUR, "", {"strategy": "full"}),
    "source, LP-FT": Row("colour with labels", COLOUR, "source", {"strategy": "lp_ft"}),
    "coral": adapted("coral"),
    "mmd": adapted("mmd"),
    "dann": adapted("dann"),
    "target": Row(
        "8 chalk a class with labels",
        CHALK,
        "",
        {"strategy": "full", "dataset": {"shots": SHOTS}},
        {"epochs": 12},
    ),
    "joint": Row(
        "8 chalk a class and all colour with labels",
        CHALK,
        "target",
        {"strategy": "full", "dataset": {"shots": SHOTS}, "methods": {"joint": {"source": COLOUR}}},
        {"epochs": 12},
    ),
}


def draw(folder: Path, seed: int) -> None:
    """Deal the drawings into two folders, one in colour and one as chalk."""
    images = next(data for data in DEMO_DATA if data.name == "images").path()
    rng = np.random.default_rng(seed)
    for source in (images / name for name in CLASSES):
        files = sorted(source.iterdir())
        for place, number in enumerate(rng.permutation(len(files))):
            domain = (COLOUR, CHALK)[place % 2]
            target = folder / domain / source.name / f"{files[number].stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(files[number]) as opened:
                image = opened.convert("RGB")
            if domain == CHALK:
                image = image.convert("L").filter(ImageFilter.FIND_EDGES)
            image.save(target)


def make_project(folder: Path, seed: int, registry: Registry) -> Project:
    """Make a project with both domains as dealt and split for a seed."""
    draw(folder / "drawn", seed)
    project = Project.create(folder / "project")
    for domain, fractions in FRACTIONS.items():
        request, _ = plan_import(
            registry.formats.values(), folder / "drawn" / domain, task="classification", seed=seed, fractions=fractions
        )
        import_dataset(request, project.datasets_folder)
    return project


def measure(
    project: Project, row: Row, seed: int, registry: Registry, split: Literal["validation", "test"]
) -> tuple[float, float]:
    """Train a row; returns its accuracy on chalk drawings and the CPU seconds that it took."""
    training = {"keep": "last", **row.training, "seed": seed}
    recipe = complete({**row.recipe, "backbone": LITE0, "training": training}, project.dataset(row.data), registry)
    ended: list[RunEnded] = []
    start = time.process_time()
    run = execute_run(
        recipe,
        project,
        registry,
        on_event=lambda event: ended.append(event) if isinstance(event, RunEnded) else None,
        control=RunControl(),
    )
    seconds = time.process_time() - start
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    return evaluate_run(run, project, registry, split=split, dataset=CHALK).metrics["accuracy"], seconds


def main() -> None:
    """Train everything and print one Markdown row for each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(ROWS))
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.only or ROWS}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        with (
            tempfile.TemporaryDirectory() as folder,
            make_project(Path(folder), seed, manager.registry) as project,
        ):
            for name, values in found.items():
                values.append(measure(project, ROWS[name], seed, manager.registry, arguments.split))
                print(f"seed {seed}, {name}: {values[-1][0]:.3f} in {values[-1][1]:.0f} s", file=sys.stderr, flush=True)
    print("| row | learned from | accuracy on chalk | beyond its comparison | seeds | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for name, values in found.items():
        row, accuracy = ROWS[name], np.array([value for value, _ in values])
        beyond = "-"
        if row.against in found:
            others = np.array([value for value, _ in found[row.against]])
            beyond = f"{interval(accuracy - others)} ({row.against})"
        seconds = np.mean([seconds for _, seconds in values])
        print(f"| {name} | {row.title} | {interval(accuracy)} | {beyond} | {len(values)} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
