"""Print what learning without labels is worth: a probe on what was pretrained beside one on what it began with.

``python -m tests.benchmarks.pretraining [--seeds 3] [--only images|texts] [--epochs 60] [--movies movies.csv]``

Images: a small network with random weights learns from the drawings of ``clipart15`` without their labels, by SimCLR.
Texts: MiniLM goes on with masked language modelling on sentences of film reviews (``movies.csv`` is described in
``tests.benchmarks.tasks``), else on the news of the demo; what scores words is new at first.

Each seed splits the labelled data anew and seeds the training; the items of its test split are not among those without
labels. Intervals are Student's 95 % intervals of the mean over the seeds.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.tasks import interval
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.events import EpochEnded, RunEnded, RunEvent
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

IMAGES: dict[str, Any] = {"name": "test_resnet", "options": {"weights": "random", "image_size": 64}}
MINILM: dict[str, Any] = {"name": "all-MiniLM-L6-v2", "options": {"max_length": 64}}


def main() -> None:
    """Train everything and print one Markdown row for each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("images", "texts"), action="append")
    parser.add_argument("--epochs", type=int, default=60, help="of SimCLR")
    parser.add_argument("--backbone", default=IMAGES["name"], help="of the images")
    parser.add_argument("--texts", type=int, default=2000, help="of the reviews, drawn for each seed")
    parser.add_argument("--movies", type=Path)
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    chosen = arguments.only or ("images", "texts")
    print("| data | measure | before | after | gain | seeds | CPU s of pretraining |\n|---|---|---|---|---|---|---|")
    if "images" in chosen:
        backbone = {**IMAGES, "name": arguments.backbone}
        training = {"epochs": arguments.epochs, "batch_size": 128}
        head = {"name": "contrastive"}
        title = f"drawings, SimCLR from scratch, {arguments.backbone}, {arguments.epochs} epochs"
        pretrain = {"backbone": backbone, "head": head, "training": training}
        print_rows(title, [one_seed(seed, pretrain, None, 0, manager.registry) for seed in range(arguments.seeds)])
    if "texts" in chosen:
        training = {"epochs": 3, "batch_size": 32}
        pretrain = {"backbone": MINILM, "head": {"name": "masked_language_model"}, "training": training}
        movies: Path = arguments.movies or next(data for data in DEMO_DATA if data.name == "texts").path()
        named = f"{arguments.texts:,} reviews" if arguments.movies else "news"
        title = f"{named}, masked language modelling, MiniLM, 3 epochs"
        print_rows(
            title,
            [one_seed(seed, pretrain, movies, arguments.texts, manager.registry) for seed in range(arguments.seeds)],
        )


def print_rows(title: str, results: Sequence[Mapping[str, tuple[float, float]]]) -> None:
    """Print the mean over the seeds of each measure, before and after pretraining."""
    seconds = np.mean([result["seconds"][1] for result in results])
    for name in results[0]:
        if name != "seconds":
            before, after = (np.array([result[name][place] for result in results]) for place in (0, 1))
            cells = (title, name, interval(before), interval(after), interval(after - before), len(results))
            print(f"| {' | '.join(map(str, cells))} | {seconds:.0f} |", flush=True)


def one_seed(
    seed: int, pretrain: dict[str, Any], table: Path | None, count: int, registry: Registry
) -> dict[str, tuple[float, float]]:
    """Measure a probe before and after pretraining; returns each measure as ``(before, after)``."""
    with tempfile.TemporaryDirectory() as folder, Project.create(Path(folder) / "project") as project:
        labelled = imported(project, registry, table, count, Path(folder), seed)
        plain = without_labels(project, registry, labelled, Path(folder), seed)
        training = {**pretrain["training"], "seed": seed}
        start = time.process_time()
        ended, epochs = train(project, registry, plain, {**pretrain, "training": training})
        seconds = time.process_time() - start
        training = {"seed": seed, "augmentation": "none"}
        probe = {"strategy": "linear_probe", "training": training}
        first, _ = train(project, registry, labelled, {**probe, "backbone": pretrain["backbone"]})
        second, _ = train(project, registry, labelled, {**probe, "backbone": {"start_from": ended.run}})
        found = {
            "test accuracy of a probe": (first.metrics["test"]["accuracy"], second.metrics["test"]["accuracy"]),
            "loss without labels, first and last epoch": (epochs[0]["loss"], epochs[-1]["loss"]),
            "seconds": (0.0, seconds),
        }
        for name in ("contrastive_accuracy", "masked_accuracy"):
            if name in epochs[0]:
                found[f"{name}, first and last epoch"] = epochs[0][name], epochs[-1][name]
        return found


def imported(project: Project, registry: Registry, table: Path | None, count: int, folder: Path, seed: int) -> Revision:
    """Import the labelled data as split for a seed: drawings, or so many texts of a table, or those of a folder."""
    source, options = table, {}
    if source is None:
        source = next(data for data in DEMO_DATA if data.name == "images").path()
    elif source.is_file():
        with source.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        drawn = np.random.default_rng(seed).choice(len(rows), count, replace=False)
        source, options = folder / "labelled.csv", {"text_column": "text", "label_column": "sentiment"}
        write(source, [rows[index] for index in drawn])
    request, _ = plan_import(registry.formats.values(), source, name="labelled", options=options, seed=seed)
    return import_dataset(request, project.datasets_folder).revision


def without_labels(project: Project, registry: Registry, labelled: Revision, folder: Path, seed: int) -> Revision:
    """Import what is not in the test split once more, without labels."""
    indices = np.concatenate([labelled.indices("train"), labelled.indices("validation")])
    samples = list(labelled.samples(indices))
    if labelled.modality == "image":
        source = folder / "plain"
        source.mkdir()
        for number, sample in enumerate(samples):
            if sample.image is not None:
                shutil.copy(sample.image, source / f"{number}{sample.image.suffix}")
    else:
        source = folder / "plain.csv"
        write(source, [{"text": sample.text or ""} for sample in samples])
    request, _ = plan_import(
        registry.formats.values(), source, name="plain", task="pretraining", fractions=(0.9, 0.1, 0.0), seed=seed
    )
    return import_dataset(request, project.datasets_folder).revision


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def train(
    project: Project, registry: Registry, revision: Revision, values: dict[str, Any]
) -> tuple[RunEnded, list[Mapping[str, float]]]:
    """Train a run; returns its end and the validation of each epoch."""
    ended: list[RunEnded] = []
    epochs: list[Mapping[str, float]] = []

    def listen(event: RunEvent) -> None:
        if isinstance(event, EpochEnded):
            epochs.append(event.validation)
        elif isinstance(event, RunEnded):
            ended.append(event)

    recipe = complete(values, revision, registry)
    execute_run(recipe, project, registry, on_event=listen, control=RunControl())
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    return ended[0], epochs


if __name__ == "__main__":
    main()
