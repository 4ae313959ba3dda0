"""Print the table of accuracies in the README: probe, full fine-tuning and LoRA beside scikit-learn.

``python -m tests.benchmarks.figures [--seeds 3] [--only images|texts] [--strategies linear_probe,full,lora]``

For each seed the demo data is split anew. scikit-learn's LogisticRegression is trained on the very features that the
linear probe has cached, with the same C, and evaluated on the same test split.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.demo import DEMO_DATA, DemoData
from tlstudio.engine.events import EpochEnded, RunEnded, RunEvent
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

# Smaller inputs than the defaults, so that two CPU cores fine-tune in minutes.
BACKBONE_OPTIONS: dict[str, dict[str, Any]] = {"images": {"image_size": 128}, "texts": {"max_length": 128}}
TRAINING: dict[str, dict[str, dict[str, Any]]] = {
    "images": {"full": {"epochs": 6}, "lora": {"epochs": 6}},
    "texts": {"full": {"epochs": 2}, "lora": {"epochs": 2}},
}


def main() -> None:
    """Train everything and print one Markdown row for each combination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=[data.name for data in DEMO_DATA], action="append")
    parser.add_argument("--strategies", default="linear_probe,full,lora")
    arguments = parser.parse_args()
    manager = PluginManager()
    manager.discover()
    print("| data | method | test accuracy, mean ± s.d. | per seed | seconds a run |\n|---|---|---|---|---|")
    for data in DEMO_DATA:
        if arguments.only and data.name not in arguments.only:
            continue
        rows: dict[str, list[tuple[float, float]]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(arguments.seeds):
                with Project.create(Path(folder) / str(seed)) as project:
                    revision = import_demo(project, data, manager.registry, seed)
                    for strategy in arguments.strategies.split(","):
                        for name, row in measure(project, revision, data.name, strategy, manager.registry).items():
                            rows.setdefault(name, []).append(row)
        for name, values in rows.items():
            accuracies = np.array([value for value, _ in values])
            spread = f"{accuracies.mean():.3f} ± {accuracies.std(ddof=min(1, len(values) - 1)):.3f}"
            each = ", ".join(f"{value:.3f}" for value in accuracies)
            print(f"| {data.name} | {name} | {spread} | {each} | {np.mean([s for _, s in values]):.0f} |", flush=True)


def import_demo(project: Project, data: DemoData, registry: Registry, seed: int) -> Revision:
    """Import a demo data set, split by a seed."""
    request, _ = plan_import(
        registry.formats.values(), data.path(), name=data.name, format=data.format, task="classification", seed=seed
    )
    return import_dataset(request, project.datasets_folder).revision


def measure(
    project: Project, revision: Revision, name: str, strategy: str, registry: Registry
) -> dict[str, tuple[float, float]]:
    """Train one strategy; returns test accuracy and seconds by method."""
    values = {
        "strategy": strategy,
        "training": {"seed": revision.seed, **TRAINING[name].get(strategy, {})},
    }
    recipe = complete(values, revision, registry)
    options = {**recipe.backbone.options, **BACKBONE_OPTIONS[name]}
    recipe = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update={"options": options})})
    ended: list[RunEnded] = []
    last: list[EpochEnded] = []

    def hear(event: RunEvent) -> None:
        if isinstance(event, RunEnded):
            ended.append(event)
        elif isinstance(event, EpochEnded):
            last.append(event)

    start = time.perf_counter()
    execute_run(recipe, project, registry, on_event=hear, control=RunControl())
    seconds = time.perf_counter() - start
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    rows = {strategy: (ended[0].metrics["test"]["accuracy"], seconds)}
    if strategy == "linear_probe":
        strategy_options = registry.strategy(strategy).Options.model_validate(recipe.strategy.options)
        rows["scikit-learn LogisticRegression"] = logistic_regression(
            project, revision, C=float(getattr(strategy_options, "C", 1.0))
        )
    return rows


def logistic_regression(project: Project, revision: Revision, C: float) -> tuple[float, float]:
    """Accuracy of scikit-learn's logistic regression on the features that the probe has cached."""
    (path,) = (project.folder / "cache").glob("*.npy")
    features = np.load(path, allow_pickle=False)
    labels = np.array([revision.label(index) for index in range(len(revision))])
    train, test = revision.indices("train"), revision.indices("test")
    start = time.perf_counter()
    model = LogisticRegression(C=C, max_iter=5000).fit(features[train], labels[train])
    return float(model.score(features[test], labels[test])), time.perf_counter() - start


if __name__ == "__main__":
    main()
