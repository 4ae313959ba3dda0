"""Print the table of tasks in the README: what small models reach on real data, with seeds and intervals.

``python -m tests.benchmarks.tasks [--seeds 5] [--only NAME ...] [--movies movies.csv]``

Each seed splits the data anew and seeds the training. The interval is Student's 95 % interval of the mean over the
seeds. ``movies.csv`` has the columns ``text``, ``sentiment`` and ``score``: sentences of film reviews, graded by twenty
people each (Hutto & Gilbert 2014; the files are in the source package of vaderSentiment). It is not shipped.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tests.scenes import Scene, compose, write_coco, write_masks
from tlstudio.api import Task
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

SPANS = {
    "money": r"[£$€]\s?\d[\d.,]*\d?(?:\s?(?:m|bn|million|billion|trillion)\b)?",
    "share": r"\d+(?:\.\d+)?\s?%",
    "year": r"\b(?:19|20)\d\d\b",
}


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: What is learned, and of what.
        method: Backbone and strategy, for people.
        source: Writes the data of a seed into a folder and returns what is imported.
        task: The task.
        metrics: The test metrics that are printed.
        recipe: Values of the recipe.
        format_options: Options of the format.
    """

    title: str
    method: str
    source: Callable[[Path, int], Path]
    task: Task
    metrics: tuple[str, ...]
    recipe: dict[str, Any]
    format_options: dict[str, Any] = field(default_factory=dict)


def rows(movies: Path | None) -> dict[str, Row]:
    """All rows by name; those on ``movies.csv`` only where it is."""
    minilm = {"name": "all-MiniLM-L6-v2", "options": {"max_length": 64}}
    images = next(data for data in DEMO_DATA if data.name == "images")
    found = {
        "clipart": Row(
            "804 drawings, 15 classes",
            "EfficientNet-Lite0, linear probe",
            lambda _folder, _seed: images.path(),
            "classification",
            ("accuracy", "f1_macro"),
            {"strategy": "linear_probe", "backbone": {"name": "tf_efficientnet_lite0", "options": {"image_size": 160}}},
        ),
        "spans": Row(
            "amounts of money, percentages and years in 1,500 sentences of the news (marked by rules)",
            "MiniLM, full, 2 epochs",
            write_spans,
            "token_classification",
            ("f1_micro", "f1_macro"),
            {"strategy": "full", "backbone": minilm, "training": {"epochs": 2}},
        ),
    }
    lite0 = {"name": "tf_efficientnet_lite0", "options": {"image_size": 160}}
    pictures = "240 pictures composed of drawings of 3 classes, those of the test split never seen"
    composed: tuple[tuple[str, Task, Callable[..., Path], tuple[str, ...]], ...] = (
        ("boxes", "detection", write_coco, ("map", "map_50")),
        ("masks", "segmentation", write_masks, ("mean_iou", "pixel_accuracy")),
    )
    for name, task, write, metrics in composed:
        recipe = {"strategy": "full", "backbone": lite0, "training": {"epochs": 8}}
        found[name] = Row(pictures, "EfficientNet-Lite0, full, 8 epochs", Composed(write), task, metrics, recipe)
    if movies is not None:
        tasks: tuple[tuple[str, Task, str, tuple[str, ...]], ...] = (
            ("sentiment", "classification", "sentiment", ("accuracy", "f1_macro")),
            ("score", "regression", "score", ("r2", "mae")),
        )
        for name, task, column, metrics in tasks:
            found[name] = Row(
                f"10,605 sentences of film reviews, {name}",
                "MiniLM, linear probe",
                lambda _folder, _seed: movies,
                task,
                metrics,
                {"strategy": "linear_probe", "backbone": minilm},
                {"text_column": "text", "label_column": column},
            )
    return found


@dataclass(frozen=True)
class Composed:
    """Composes pictures, and writes them as annotation tools do; splits have no drawing in common."""

    write: Callable[[Path, Mapping[str, Sequence[Scene]]], Path]

    def __call__(self, folder: Path, seed: int) -> Path:
        """Write them."""
        parts = {"train": (144, slice(0, 20)), "val": (32, slice(20, 24)), "test": (64, slice(24, None))}
        splits = {
            name: compose(count, seed=3 * seed + number, part=part)
            for number, (name, (count, part)) in enumerate(parts.items())
        }
        return self.write(folder / "scenes", splits)


def write_spans(folder: Path, _seed: int, count: int = 1500) -> Path:
    """Mark spans in real sentences by rules, and write them as JSON lines."""
    texts = next(data for data in DEMO_DATA if data.name == "texts")
    path = folder / "news.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for sentence, _ in zip(_sentences(texts.path()), range(count), strict=False):
            marked = [
                {"start": found.start(), "end": found.end(), "label": name}
                for name, pattern in SPANS.items()
                for found in re.finditer(pattern, sentence)
            ]
            marked.sort(key=lambda span: int(str(span["start"])))
            apart = [s for n, s in enumerate(marked) if not n or int(str(s["start"])) >= int(str(marked[n - 1]["end"]))]
            file.write(json.dumps({"text": sentence, "spans": apart}, ensure_ascii=False) + "\n")
    return path


def _sentences(folder: Path) -> Iterator[str]:
    """Sentences of news, every third without anything to mark."""
    plain = 0
    anything = re.compile("|".join(SPANS.values()))
    for path in sorted(folder.rglob("*.txt")):
        text = " ".join(path.read_text("utf-8", errors="replace").split())
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", text):
            if not 40 <= len(sentence) <= 240:
                continue
            if anything.search(sentence):
                plain += 1
                yield sentence
            elif plain >= 2:
                plain -= 2
                yield sentence


def measure(row: Row, seed: int, registry: Registry) -> tuple[Mapping[str, float], float]:
    """Train one row with one seed; returns the test metrics and the seconds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Project.create(Path(folder) / "project") as project,
    ):
        data = Path(folder) / "data"
        data.mkdir()
        request, _ = plan_import(
            registry.formats.values(),
            row.source(data, seed),
            name="data",
            task=row.task,
            seed=seed,
            options=row.format_options,
        )
        revision = import_dataset(request, project.datasets_folder).revision
        training = {**row.recipe.get("training", {}), "seed": seed}
        recipe = complete({**row.recipe, "training": training}, revision, registry)
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
        return ended[0].metrics["test"], time.perf_counter() - start


def interval(values: np.ndarray) -> str:
    """Write the mean and Student's 95 % interval of it."""
    if len(values) < 2:
        return f"{values.mean():.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


def main() -> None:
    """Print one Markdown row for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", action="append")
    parser.add_argument("--movies", type=Path)
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    print("| name | data | method | test metrics, mean ± 95 % interval | seeds | seconds a run |")
    print("|---|---|---|---|---|---|")
    for name, row in rows(arguments.movies).items():
        if arguments.only and name not in arguments.only:
            continue
        results = [measure(row, seed, manager.registry) for seed in range(arguments.seeds)]
        figures = ", ".join(
            f"{metric} {interval(np.array([found[metric] for found, _ in results]))}" for metric in row.metrics
        )
        seconds = np.mean([seconds for _, seconds in results])
        print(f"| {name} | {row.title} | {row.method} | {figures} | {arguments.seeds} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
