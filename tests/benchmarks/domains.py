"""Print the tables of two domains in the README: what one domain's labels are worth in another.

``python -m tests.benchmarks.domains [--pair drawings|reviews] [--seeds 3] [--first-seed 0] [--only NAME ...]
[--split test] [--sentences FOLDER]``

Drawings: each seed deals the drawings of eight classes of ``clipart15`` into two halves, so that no drawing is in both
domains: one stays in colour, of the other the edges are drawn white on black (chalk).
Reviews: sentences about products, and sentences about films, that twenty people graded from -4 to 4; those that they
found good or bad by half a point at least, so many of each domain drawn for each seed. They lie in the source
distribution of vaderSentiment 3.3.2 (MIT; Hutto & Gilbert 2014, ICWSM), in ``additional_resources``, which is unpacked
by hand into FOLDER.

The first rows learn from the labels of the source alone; those that adapt see the target's train split without labels
besides. The last rows learn from eight labelled samples a class of the target, alone or beside all of the source. All
are measured on the same samples of the target that no row has seen. The interval is Student's 95 % interval of the mean
over the seeds; that of the difference is over the differences of the seeds. Each row keeps its last epoch; all methods
have their defaults, and options of the training stand with the pair: they were set beforehand.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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

CLASSES = ("dessert", "flag", "fruit", "mammal", "music", "roadsign", "sport", "vehicle")
ADAPTING = ("coral", "mmd", "dann")
NAMES = ("source", "source, LP-FT", *ADAPTING, "target", "joint", "joint, one head")
SHOTS = 8
SENTENCES = 800
"""So many sentences of each domain are drawn for a seed."""
CLEAR = 0.5
"""Sentences with grades nearer to 0 are neither good nor bad."""


@dataclass(frozen=True)
class Pair:
    """Two domains with the same classes.

    Attributes:
        source: Data set whose labels are all known.
        target: Data set that is measured.
        draw: Writes both, for a seed, into a folder: ``source`` and ``target`` by name; the last is what was given by
            ``--sentences``.
        fractions: Shares of train, validation and test of the source and of the target.
        format_options: Options of the format.
        recipe: What all rows have in common.
        training: Training options of rows that learn from the source's labels, and of those that learn from the
            target's.
    """

    source: str
    target: str
    draw: Callable[[Path, int, Path | None], Mapping[str, Path]]
    fractions: tuple[Fractions, Fractions]
    format_options: dict[str, Any]
    recipe: dict[str, Any]
    training: tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: What is learned from, for people.
        of_target: Learns from the target's labels, not from the source's.
        against: Name of the row that it is compared with; ``""``: none.
        recipe: Values of the recipe.
    """

    title: str
    of_target: bool
    against: str
    recipe: dict[str, Any]


def rows_of(pair: Pair) -> dict[str, Row]:
    """All rows by name."""
    source, target = f"{pair.source} with labels", f"{SHOTS} {pair.target} a class with labels"
    few = {"strategy": "full", "dataset": {"shots": SHOTS}}
    adapting = {
        name: Row(
            f"{source}, {pair.target} without",
            False,
            "source",
            {"strategy": "full", "methods": {name: {"target": pair.target}}},
        )
        for name in ADAPTING
    }
    joint = Row(f"{target}, and {source}", True, "target", {**few, "methods": {"joint": {"source": pair.source}}})
    return {
        "source": Row(source, False, "", {"strategy": "full"}),
        "source, LP-FT": Row(source, False, "source", {"strategy": "lp_ft"}),
        **adapting,
        "target": Row(target, True, "", few),
        "joint": joint,
        "joint, one head": replace(
            joint, recipe={**few, "methods": {"joint": {"source": pair.source, "head": "shared"}}}
        ),
    }


def draw(folder: Path, seed: int, _given: Path | None) -> Mapping[str, Path]:
    """Deal the drawings into two folders, one in colour and one as chalk."""
    images = next(data for data in DEMO_DATA if data.name == "images").path()
    rng = np.random.default_rng(seed)
    domains = (folder / "colour", folder / "chalk")
    for source in (images / name for name in CLASSES):
        files = sorted(source.iterdir())
        for place, number in enumerate(rng.permutation(len(files))):
            target = domains[place % 2] / source.name / f"{files[number].stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(files[number]) as opened:
                image = opened.convert("RGB")
            if place % 2:
                image = image.convert("L").filter(ImageFilter.FIND_EDGES)
            image.save(target)
    return {domain.name: domain for domain in domains}


def choose(folder: Path, seed: int, given: Path | None) -> Mapping[str, Path]:
    """Draw the sentences of both domains.

    Raises:
        SystemExit: No folder was given, or the sentences are not in it.
    """
    rng = np.random.default_rng(seed)
    tables = {}
    for name, prefix in (("products", "amazonReviewSnippets"), ("films", "movieReviewSnippets")):
        found = sorted(given.rglob(f"{prefix}_GroundTruth.txt")) if given is not None else []
        if not found:
            raise SystemExit(f"{prefix}_GroundTruth.txt is not in {given}: name the folder with --sentences.")
        graded = [line.split("\t") for line in found[0].read_text("utf-8", errors="replace").splitlines()]
        clear = [(text, float(grade)) for _, grade, text in graded if abs(float(grade)) >= CLEAR]
        tables[name] = folder / f"{name}.csv"
        tables[name].parent.mkdir(parents=True, exist_ok=True)
        with tables[name].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "sentiment"])
            for index in rng.choice(len(clear), SENTENCES, replace=False):
                text, grade = clear[index]
                writer.writerow([text, "good" if grade > 0 else "bad"])
    return tables


PAIRS = {
    "drawings": Pair(
        "colour",
        "chalk",
        draw,
        ((0.8, 0.1, 0.1), (0.4, 0.25, 0.35)),
        {},
        {"backbone": {"name": "tf_efficientnet_lite0", "options": {"image_size": 96}}},
        ({"epochs": 5}, {"epochs": 12}),
    ),
    "reviews": Pair(
        "products",
        "films",
        choose,
        ((0.9, 0.05, 0.05), (0.5, 0.02, 0.48)),
        {"text_column": "text", "label_column": "sentiment"},
        {"backbone": {"name": "all-MiniLM-L6-v2", "options": {"max_length": 32}}},
        (
            {"epochs": 2, "batch_size": 16, "learning_rate": 1e-4},
            {"epochs": 60, "batch_size": 16, "learning_rate": 1e-4},
        ),
    ),
}
"""Pairs by the name by which they are chosen. The reviews' learning rate is that of ``few_labels``."""


def make_project(folder: Path, pair: Pair, seed: int, given: Path | None, registry: Registry) -> Project:
    """Make a project with both domains as dealt and split for a seed."""
    drawn = pair.draw(folder / "drawn", seed, given)
    project = Project.create(folder / "project")
    for domain, fractions in zip((pair.source, pair.target), pair.fractions, strict=True):
        request, _ = plan_import(
            registry.formats.values(),
            drawn[domain],
            name=domain,
            task="classification",
            seed=seed,
            fractions=fractions,
            options=pair.format_options,
        )
        import_dataset(request, project.datasets_folder)
    return project


def measure(
    project: Project, pair: Pair, row: Row, seed: int, registry: Registry, split: Literal["validation", "test"]
) -> tuple[float, float]:
    """Train a row; returns its accuracy on the target and the CPU seconds that it took."""
    training = {"keep": "last", **pair.training[row.of_target], "seed": seed}
    data = project.dataset(pair.target if row.of_target else pair.source)
    recipe = complete({**pair.recipe, **row.recipe, "training": training}, data, registry)
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
    return evaluate_run(run, project, registry, split=split, dataset=pair.target).metrics["accuracy"], seconds


def main() -> None:
    """Train everything and print one Markdown row for each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", choices=list(PAIRS), default="drawings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--sentences", type=Path)
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    pair = PAIRS[arguments.pair]
    rows = rows_of(pair)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.only or rows}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        with (
            tempfile.TemporaryDirectory() as folder,
            make_project(Path(folder), pair, seed, arguments.sentences, manager.registry) as project,
        ):
            for name, values in found.items():
                values.append(measure(project, pair, rows[name], seed, manager.registry, arguments.split))
                print(f"seed {seed}, {name}: {values[-1][0]:.3f} in {values[-1][1]:.0f} s", file=sys.stderr, flush=True)
    print(f"| row | learned from | accuracy on {pair.target} | beyond its comparison | seeds | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for name, values in found.items():
        row, accuracy = rows[name], np.array([value for value, _ in values])
        beyond = "-"
        if row.against in found:
            others = np.array([value for value, _ in found[row.against]])
            beyond = f"{interval(accuracy - others)} ({row.against})"
        seconds = np.mean([seconds for _, seconds in values])
        print(f"| {name} | {row.title} | {interval(accuracy)} | {beyond} | {len(values)} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
