"""Print what checkpoints cost: the same training with and without them, in turn, in one run.

``python -m tests.benchmarks.checkpoints [--rounds 3] [--epochs 2] [--every 10]``

Full fine-tuning of the starter text encoder (22 million parameters; with AdamW's moments a checkpoint is 270 MB) on
the demo texts. The ratio is that of the training times; the loop's own share is what it waited for the copy.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.figures import import_demo
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.events import CheckpointSaved, EpochEnded, RunEvent
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

NEVER = 86_400.0


def main() -> None:
    """Train in turn, and print seconds, checkpoints and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--every", type=float, default=10.0)
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    texts = next(data for data in DEMO_DATA if data.name == "texts")
    print("| checkpoint every | seconds of training | checkpoints | seconds each |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, Project.create(Path(folder) / "project") as project:
        revision = import_demo(project, texts, manager.registry, seed=0)
        times: dict[float, list[float]] = {NEVER: [], arguments.every: []}
        for number in range(arguments.rounds):
            # The order turns each round, so that a machine that slows down or warms up favours neither.
            for every in sorted(times, reverse=number % 2 == 1):
                seconds, saved = train(project, revision, manager.registry, arguments.epochs, every)
                times[every].append(seconds)
                name = "never" if every == NEVER else f"{every:g} s"
                each = f"{np.mean(saved):.2f}" if saved else ""
                print(f"| {name} | {seconds:.1f} | {len(saved)} | {each} |", flush=True)
    ratio = np.median(times[arguments.every]) / np.median(times[NEVER])
    print(f"\nWith checkpoints, training takes {ratio:.3f} times as long (medians of {arguments.rounds} rounds).")


def train(
    project: Project, revision: Revision, registry: Registry, epochs: int, every: float
) -> tuple[float, list[float]]:
    """Train once; returns the seconds of training and those that writing each checkpoint on the way took."""
    values = {
        "backbone": {"name": "all-MiniLM-L6-v2", "options": {"max_length": 64}},
        "strategy": "full",
        "training": {"epochs": epochs, "checkpoint_every": every, "keep": "last"},
    }
    events: list[RunEvent] = []
    execute_run(complete(values, revision, registry), project, registry, on_event=events.append, control=RunControl())
    end = max(number for number, event in enumerate(events) if isinstance(event, EpochEnded))
    last = events[end]
    assert isinstance(last, EpochEnded)
    saved = [event.seconds for event in events[:end] if isinstance(event, CheckpointSaved) and event.kind == "last"]
    return last.seconds, saved


if __name__ == "__main__":
    main()
