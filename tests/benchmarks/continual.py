"""Print how much is forgotten when drawings of new classes are learned one set after another.

``python -m tests.benchmarks.continual [--seeds 5] [--protect nothing,replay,ewc,lwf]``

The 15 classes of the demo's drawings are cut into three data sets of five, which are learned in turn
(EfficientNet-Lite0, full fine-tuning, 96 px). Each seed splits the data and seeds the training. Forgetting is what was
lost of the best accuracy on the earlier sets (Chaudhry et al. 2018); intervals are Student's 95 % intervals of the mean
over the seeds.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.tasks import interval
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.revision import Revision
from tlstudio.engine.continual import learn_in_sequence
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA
from tlstudio.engine.sequence_plan import plan_sequence
from tlstudio.engine.sequences import Protection, SequenceResult
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

_PARTS = 3
RECIPE = {
    "backbone": {"name": "tf_efficientnet_lite0", "options": {"image_size": 96}},
    "strategy": "full",
    "training": {"epochs": 4},
}
KEPT = 25  # samples of each earlier set: five of each class


def import_parts(project: Project, folder: Path, seed: int, registry: Registry) -> list[Revision]:
    """Import the drawings as data sets of five classes each."""
    source = next(data for data in DEMO_DATA if data.name == "images").path()
    classes = sorted(path.name for path in source.iterdir() if path.is_dir())
    revisions = []
    for number, names in enumerate(np.array_split(np.array(classes), _PARTS)):
        part = folder / f"part{number + 1}"
        for name in names:
            shutil.copytree(source / str(name), part / str(name))
        request, _ = plan_import(
            registry.formats.values(), part, name=part.name, task="classification", seed=seed, options={}
        )
        revisions.append(import_dataset(request, project.datasets_folder).revision)
    return revisions


def measure(protection: Protection, seed: int, registry: Registry) -> tuple[SequenceResult, float]:
    """Learn the three data sets in turn; returns what was measured, and the CPU seconds."""
    with tempfile.TemporaryDirectory() as folder, Project.create(Path(folder) / "project") as project:
        revisions = import_parts(project, Path(folder), seed, registry)
        values = {**RECIPE, "training": {**RECIPE["training"], "seed": seed}}  # type: ignore[dict-item]  # a table
        start = time.process_time()
        options = {"kept": KEPT} if protection == "replay" else None
        plan = plan_sequence(revisions, values, registry, protection=protection, options=options)
        result = learn_in_sequence(project, registry, plan, on_event=lambda _event: None, control=RunControl())
        return result, time.process_time() - start


def main() -> None:
    """Print one Markdown row for each protection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--protect", default="nothing,replay,ewc,lwf")
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    print("| protection | mean accuracy in the end | forgotten | seeds | CPU seconds |\n|---|---|---|---|---|")
    names: tuple[Protection, ...] = ("nothing", "replay", "ewc", "lwf")
    for protection in names:
        if protection not in arguments.protect.split(","):
            continue
        results = [measure(protection, seed, manager.registry) for seed in range(arguments.seeds)]
        average = interval(np.array([result.average for result, _ in results]))
        forgotten = interval(np.array([result.forgetting for result, _ in results]))
        seconds = np.mean([seconds for _, seconds in results])
        print(f"| {protection} | {average} | {forgotten} | {arguments.seeds} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
