"""Print what is gained on tables and series: going on from another table's run, and forecasts beside plain methods.

``python -m tests.benchmarks.tables [--seeds 5] [--only transfer|forecasts] [--backbones table_mlp,patch_transformer]``

Transfer: two surveys on affairs of married people, of the readers of Redbook (6,366 rows, 1974) and of Psychology Today
(601 rows, 1969), as statsmodels brings them (Fair 1978, Journal of Political Economy). Seven of their columns mean the
same, on scales that differ in part. A network is trained on Redbook, and goes on with few rows of Psychology Today.

Forecasts: daily weather of Seattle, 2012 to 2015 (NOAA, as vega_datasets brings it), and weekly carbon dioxide on Mauna
Loa, 1958 to 2001 (statsmodels). Beside the model stands a ridge regression on the very same windows.

Both data packages must be installed: ``pip install statsmodels vega_datasets``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlstudio.api.weights import file_in_distribution
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import RunEnded, RunEvent
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

SHARED = ("rate_marriage", "age", "yrs_married", "children", "religious", "educ", "occupation")
OTHER_NAMES = {"yrs_married": "nmarried", "children": "nchildren", "educ": "education"}
FEW = (20, 50, 100)
FOR_ROWS = ("table_mlp", "ft_transformer")
FOR_SERIES = ("patch_transformer", "series_resnet")
WINDOWS = {"seattle-weather": (60, 14, "temp_max", ""), "co2": (52, 12, "co2", "co2")}


def main() -> None:
    """Train everything and print one Markdown row for each combination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["transfer", "forecasts"])
    parser.add_argument("--backbones", default=",".join((*FOR_ROWS, *FOR_SERIES)))
    arguments = parser.parse_args()
    chosen = arguments.backbones.split(",")
    for_rows, for_series = ([name for name in names if name in chosen] for names in (FOR_ROWS, FOR_SERIES))
    manager = PluginManager()
    manager.discover()
    with tempfile.TemporaryDirectory() as folder, Project.create(Path(folder) / "project") as project:
        if arguments.only != "forecasts":
            print("| rows to learn from | method | test balanced accuracy, mean ± s.d. | per seed |\n|---|---|---|---|")
            transfer(project, Path(folder), manager.registry, arguments.seeds, for_rows)
        if arguments.only != "transfer":
            print("| series | method | test MASE, mean ± s.d. | test MAE |\n|---|---|---|---|")
            forecasts(project, manager.registry, arguments.seeds, for_series)


def transfer(project: Project, folder: Path, registry: Registry, seeds: int, backbones: Sequence[str]) -> None:
    """Compare learning from few rows alone with going on from the other survey."""
    source_rows = read("statsmodels", "datasets/fair/fair.csv")
    rows = [{**{name: row[name] for name in SHARED}, "affair": told(row["affairs"])} for row in source_rows]
    write(folder / "redbook.csv", rows)
    survey = read("statsmodels", "datasets/fair/fair_pt.csv")
    target = [
        {
            **{name: row[OTHER_NAMES.get(name, name)] for name in SHARED},
            "sex": row["sex"],
            "affair": told(row["naffairs"]),
        }
        for row in survey
    ]
    redbook = bring(project, registry, folder / "redbook.csv")
    sources = {name: run(project, redbook, registry, name, 0)[0] for name in backbones}
    for few in FEW:
        results: dict[str, list[float]] = {}
        for seed in range(seeds):
            made = np.random.default_rng([few, seed])
            splits = deal([row["affair"] for row in target], few, made)
            path = folder / f"survey_{few}_{seed}.csv"
            write(path, [{**row, "split": split} for row, split in zip(target, splits, strict=True)])
            revision = bring(project, registry, path)
            for name in backbones:
                _, alone = run(project, revision, registry, name, seed)
                _, further = run(project, revision, registry, name, seed, start_from=sources[name])
                results.setdefault(f"{name}, from nothing", []).append(alone["balanced_accuracy"])
                results.setdefault(f"{name}, going on from Redbook", []).append(further["balanced_accuracy"])
            for name, model in plain_classifiers().items():
                results.setdefault(name, []).append(plain(revision, model))
        for name, values in results.items():
            print(
                f"| {few} | {name} | {spread(values)} | {', '.join(f'{value:.3f}' for value in values)} |", flush=True
            )


def forecasts(project: Project, registry: Registry, seeds: int, backbones: Sequence[str]) -> None:
    """Compare forecasts with those of a ridge regression."""
    for name, (length, horizon, target, values) in WINDOWS.items():
        package, ending = ("statsmodels", "datasets/co2/co2.csv") if name == "co2" else ("vega_datasets", f"{name}.csv")
        options = {"length": length, "horizon": horizon, "target_column": target, "value_columns": values}
        revision = bring(project, registry, found(package, ending), format="series", options=options)
        for backbone in backbones:
            measured = [run(project, revision, registry, backbone, seed)[1] for seed in range(seeds)]
            scaled, plainly = ([values[key] for values in measured] for key in ("mase", "mae"))
            print(f"| {name} | {backbone} | {spread(scaled)} | {np.mean(plainly):.3f} |", flush=True)
        scaled_error, error = ridge(revision)
        print(f"| {name} | scikit-learn Ridge | {scaled_error:.3f} | {error:.3f} |", flush=True)


def run(
    project: Project, revision: Revision, registry: Registry, backbone: str, seed: int, *, start_from: str = ""
) -> tuple[str, dict[str, float]]:
    """Train with the settings that are recommended; returns the run and its metrics on test."""
    chosen: dict[str, Any] = {"start_from": start_from} if start_from else {"name": backbone}
    training: dict[str, Any] = {"seed": seed, "threads": 1}
    values: dict[str, Any] = {"backbone": chosen, "training": training}
    if revision.task == "classification":
        training["keep"] = "last"  # of few rows, none can be spared to choose an epoch by
        values["head"] = {"name": "classification", "options": {"class_weights": "balanced"}}
    recipe = complete(values, revision, registry)
    ended: list[RunEnded] = []

    def hear(event: RunEvent) -> None:
        if isinstance(event, RunEnded):
            ended.append(event)

    done = execute_run(recipe, project, registry, on_event=hear, control=RunControl())
    if ended[0].status != "done":
        raise SystemExit(ended[0].error + ended[0].traceback)
    return done.id, dict(ended[0].metrics["test"])


def deal(labels: Sequence[str], few: int, made: np.random.Generator) -> list[str]:
    """Give each row its split: few to train, stratified; five a class to validation, which chooses nothing."""
    splits = np.full(len(labels), "test", dtype=object)
    for name in sorted(set(labels)):
        rows = made.permutation(np.flatnonzero(np.array(labels) == name))
        count = max(2, round(few * len(rows) / len(labels)))
        splits[rows[:count]] = "train"
        splits[rows[count : count + 5]] = "validation"
    return [str(split) for split in splits]


def plain_classifiers() -> dict[str, Callable[[], Any]]:
    """What people use on tables."""
    return {
        "scikit-learn LogisticRegression": lambda: make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
        ),
        "scikit-learn HistGradientBoosting": lambda: HistGradientBoostingClassifier(
            class_weight="balanced", random_state=0
        ),
    }


def plain(revision: Revision, model: Callable[[], Any]) -> float:
    """Balanced accuracy of a classifier of scikit-learn on the same splits."""
    parts = {}
    for split in ("train", "test"):
        samples = list(revision.samples(revision.indices("train" if split == "train" else "test")))
        rows = [[float(str(cell)) for cell in (sample.values or {}).values()] for sample in samples]
        parts[split] = np.array(rows), [str(sample.label) for sample in samples]
    fitted = model().fit(*parts["train"])
    return float(balanced_accuracy_score(parts["test"][1], fitted.predict(parts["test"][0])))


def ridge(revision: Revision) -> tuple[float, float]:
    """MASE and MAE of a ridge regression from all values of a window to all that are forecast."""
    inputs, targets, last = {}, {}, {}
    for split in ("train", "test"):
        rows, following, known = [], [], []
        for sample in revision.samples(revision.indices("train" if split == "train" else "test")):
            channels = [np.array(cell) for cell in (sample.values or {}).values()]
            filled = [np.where(np.isnan(cell), np.nanmean(cell), cell) for cell in channels]
            level = filled[0].mean()
            known.append(channels[0][np.flatnonzero(~np.isnan(channels[0]))[-1]])
            rows.append(np.concatenate([filled[0] - level, *filled[1:]]))
            following.append(np.array(sample.label) - level)
            known[-1] -= level
        inputs[split], targets[split], last[split] = np.array(rows), np.array(following), np.array(known)
    model = make_pipeline(StandardScaler(), Ridge(alpha=10.0)).fit(inputs["train"], targets["train"])
    error = float(np.abs(model.predict(inputs["test"]) - targets["test"]).mean())
    naive = float(np.abs(targets["test"] - last["test"][:, None]).mean())
    return error / naive, error


def bring(project: Project, registry: Registry, path: Path, **options: Any) -> Revision:
    """Import a table."""
    request, _ = plan_import(registry.formats.values(), path, **{"format": "table", **options})
    return import_dataset(request, project.datasets_folder).revision


def read(package: str, ending: str) -> list[dict[str, str]]:
    """Read a table that a package brings."""
    with found(package, ending).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def found(package: str, ending: str) -> Path:
    """Find a file that a package brings."""
    path = file_in_distribution(package, ending)
    if path is None:
        raise SystemExit(f"{package} is not installed.")
    return path


def write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def told(affairs: str) -> str:
    """Whether there were any."""
    return "yes" if float(affairs) > 0 else "no"


def spread(values: Sequence[float]) -> str:
    """Write mean and standard deviation."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=min(1, len(values) - 1)):.3f}"


if __name__ == "__main__":
    main()
