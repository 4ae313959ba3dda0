"""Print what is gained on tables and series: going on from another table's run, and forecasts beside plain methods.

``python -m tests.benchmarks.tables [--seeds 5] [--only surveys|diamonds|forecasts] [--backbones table_mlp,...]``

Surveys: on affairs of married people, of the readers of Redbook (6,366 rows, 1974) and of Psychology Today (601 rows,
1969), as statsmodels brings them (Fair 1978, Journal of Political Economy). Seven of their columns mean the same, on
scales that differ in part. A network is trained on Redbook, and goes on with few rows of Psychology Today.

Diamonds: the prices of 53,940, as plotnine brings them (Wickham 2009, ggplot2). A network is trained on those of an
ideal cut (21,551 rows), and goes on with few of those of a fair cut (1,610 rows).

Forecasts: daily weather of Seattle, 2012 to 2015 (NOAA, as vega_datasets brings it), and weekly carbon dioxide on Mauna
Loa, 1958 to 2001 (statsmodels). Beside the model stands a ridge regression on the very same windows.

The data packages must be installed, without what they need themselves, since they are only read:
``pip install --no-deps statsmodels vega_datasets plotnine``. Intervals are Student's 95 % intervals of the mean over
the seeds; each seed deals the rows anew and seeds the training.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.tasks import interval
from tlstudio.api import Cell, Split, Task
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
METRICS = {"classification": "balanced_accuracy", "regression": "r2"}

Values = Mapping[str, Cell]


@dataclass(frozen=True)
class Plain:
    """What people use on tables.

    Attributes:
        name: For people.
        model: Makes the model.
        both: Whether it learns from the rows of both tables, not from the few alone.
        view: What it sees of a row.
    """

    name: str
    model: Callable[[], Any]
    both: bool = False
    view: Callable[[Values], Values] = lambda row: row


@dataclass(frozen=True)
class Pair:
    """Two tables of a kind.

    Attributes:
        name: Name of the first table.
        source: Its rows.
        target: The rows of the second.
        label: The column that is learned.
        task: The task.
        plain: What stands beside the networks.
    """

    name: str
    source: Sequence[dict[str, str]]
    target: Sequence[dict[str, str]]
    label: str
    task: Task
    plain: Sequence[Plain]


def main() -> None:
    """Train everything and print one Markdown row for each combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["surveys", "diamonds", "forecasts"])
    parser.add_argument("--backbones", default=",".join((*FOR_ROWS, *FOR_SERIES)))
    arguments = parser.parse_args()
    chosen = arguments.backbones.split(",")
    for_rows, for_series = ([name for name in names if name in chosen] for names in (FOR_ROWS, FOR_SERIES))
    manager = PluginManager()
    manager.discover()
    with tempfile.TemporaryDirectory() as folder, Project.create(Path(folder) / "project") as project:
        for name, pair in {"surveys": surveys, "diamonds": diamonds}.items():
            if arguments.only in (None, name):
                transfer(pair(), project, Path(folder), manager.registry, arguments.seeds, for_rows)
        if arguments.only in (None, "forecasts"):
            print("| series | method | test MASE, mean ± 95 % interval | per seed | test MAE |\n|---|---|---|---|---|")
            forecasts(project, manager.registry, arguments.seeds, for_series)


def surveys() -> Pair:
    """Whether somebody had an affair, of two surveys."""
    redbook = read("statsmodels", "datasets/fair/fair.csv")
    today = read("statsmodels", "datasets/fair/fair_pt.csv")
    source = [{**{name: row[name] for name in SHARED}, "affair": told(row["affairs"])} for row in redbook]
    target = [
        {
            **{name: row[OTHER_NAMES.get(name, name)] for name in SHARED},
            "sex": row["sex"],
            "affair": told(row["naffairs"]),
        }
        for row in today
    ]
    plain = [
        Plain("LogisticRegression", lambda: LogisticRegression(class_weight="balanced", max_iter=1000)),
        Plain("HistGradientBoosting", lambda: HistGradientBoostingClassifier(class_weight="balanced", random_state=0)),
    ]
    return Pair("Redbook", source, target, "affair", "classification", plain)


def diamonds() -> Pair:
    """Prices of diamonds of two cuts."""
    rows = read("plotnine", "data/diamonds.csv")
    of_cut = {
        cut: [{name: value for name, value in row.items() if name != "cut"} for row in rows if row["cut"] == cut]
        for cut in ("Ideal", "Fair")
    }

    def regression() -> RidgeCV:
        return RidgeCV(np.logspace(-1, 3, 9))

    def expert(row: Values) -> Values:
        return {"weight": math.log(float(str(row["carat"]))), "color": row["color"], "clarity": row["clarity"]}

    plain = [
        Plain("RidgeCV", regression),
        Plain("HistGradientBoosting", lambda: HistGradientBoostingRegressor(random_state=0)),
        Plain("RidgeCV", regression, both=True),
        Plain("HistGradientBoosting", lambda: HistGradientBoostingRegressor(random_state=0), both=True),
        Plain(
            "RidgeCV of log price on log weight, color and clarity",
            lambda: TransformedTargetRegressor(regression(), func=np.log, inverse_func=np.exp),
            view=expert,
        ),
    ]
    return Pair("ideal cut", of_cut["Ideal"], of_cut["Fair"], "price", "regression", plain)


def transfer(
    pair: Pair, project: Project, folder: Path, registry: Registry, seeds: int, backbones: Sequence[str]
) -> None:
    """Compare learning from few rows alone with going on from the other table."""
    metric = METRICS[pair.task]
    print(f"| rows to learn from | method | test {metric}, mean ± 95 % interval | per seed |\n|---|---|---|---|")
    options = {"label_column": pair.label}
    write(folder / f"{pair.label}.csv", pair.source)
    first = bring(project, registry, folder / f"{pair.label}.csv", task=pair.task, options=options)
    sources = {name: run(project, first, registry, name, 0)[0] for name in backbones}
    for few in FEW:
        results: dict[str, list[float]] = {}
        for seed in range(seeds):
            made = np.random.default_rng([few, seed])
            splits = deal([row[pair.label] for row in pair.target], few, made, stratify=pair.task == "classification")
            path = folder / f"{pair.label}_{few}_{seed}.csv"
            write(path, [{**row, "split": split} for row, split in zip(pair.target, splits, strict=True)])
            second = bring(project, registry, path, task=pair.task, options={**options, "split_column": "split"})
            for name in backbones:
                methods: dict[str, dict[str, str]] = {
                    "from nothing": {},
                    f"going on from {pair.name}": {"start_from": sources[name]},
                    f"going on from {pair.name}, the head alone": {
                        "start_from": sources[name],
                        "strategy": "linear_probe",
                    },
                }
                for method, how in methods.items():
                    _, measured = run(project, second, registry, name, seed, **how)
                    results.setdefault(f"{name}, {method}", []).append(measured[metric])
            for plain in pair.plain:
                name = f"scikit-learn {plain.name}" + (", rows of both" if plain.both else "")
                results.setdefault(name, []).append(score(plain, first, second))
        for name, values in results.items():
            print(f"| {few} | {name} | {interval(np.array(values))} | {each(values)} |", flush=True)


def forecasts(project: Project, registry: Registry, seeds: int, backbones: Sequence[str]) -> None:
    """Compare forecasts with those of a ridge regression."""
    for name, (length, horizon, target, values) in WINDOWS.items():
        package, ending = ("statsmodels", "datasets/co2/co2.csv") if name == "co2" else ("vega_datasets", f"{name}.csv")
        options = {"length": length, "horizon": horizon, "target_column": target, "value_columns": values}
        revision = bring(project, registry, found(package, ending), format="series", options=options)
        for backbone in backbones:
            measured = [run(project, revision, registry, backbone, seed)[1] for seed in range(seeds)]
            scaled, plainly = (np.array([values[key] for values in measured]) for key in ("mase", "mae"))
            print(f"| {name} | {backbone} | {interval(scaled)} | {each(scaled)} | {plainly.mean():.3f} |", flush=True)
        scaled_error, error = ridge(revision)
        print(f"| {name} | scikit-learn Ridge | {scaled_error:.3f} | | {error:.3f} |", flush=True)


def run(
    project: Project,
    revision: Revision,
    registry: Registry,
    backbone: str,
    seed: int,
    *,
    start_from: str = "",
    strategy: str = "full",
) -> tuple[str, dict[str, float]]:
    """Train with the settings that are recommended; returns the run and its metrics on test."""
    chosen: dict[str, Any] = {"start_from": start_from} if start_from else {"name": backbone}
    training: dict[str, Any] = {"seed": seed, "threads": 1}
    values: dict[str, Any] = {"backbone": chosen, "strategy": strategy, "training": training}
    if revision.task != "forecasting":
        training["keep"] = "last"  # of few rows, none can be spared to choose an epoch by
    if revision.task == "classification":
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


def deal(labels: Sequence[str], few: int, made: np.random.Generator, *, stratify: bool) -> list[str]:
    """Give each row its split: few to train, stratified by class; few to validation, which chooses nothing."""
    splits = np.full(len(labels), "test", dtype=object)
    kinds = np.array(labels if stratify else [""] * len(labels))
    for name in sorted(set(kinds)):
        rows = made.permutation(np.flatnonzero(kinds == name))
        count = max(2, round(few * len(rows) / len(labels)))
        splits[rows[:count]] = "train"
        splits[rows[count : count + 5]] = "validation"
    return [str(split) for split in splits]


def score(plain: Plain, first: Revision, second: Revision) -> float:
    """The metric of a model of scikit-learn on the same splits, learning from all rows of the first if it may."""

    def rows_of(revision: Revision, split: Split) -> tuple[list[Values], list[Any]]:
        samples = list(revision.samples(revision.indices(split)))
        return [plain.view(sample.values or {}) for sample in samples], [sample.label for sample in samples]

    rows, labels = rows_of(second, "train")
    if plain.both:
        more, theirs = rows_of(first, "train")
        rows, labels = rows + more, labels + theirs
    fitted = make_pipeline(DictVectorizer(sparse=False), StandardScaler(), plain.model()).fit(rows, labels)
    measure = balanced_accuracy_score if second.task == "classification" else r2_score
    asked, expected = rows_of(second, "test")
    return float(measure(expected, fitted.predict(asked)))


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


def each(values: Sequence[float] | np.ndarray) -> str:
    """Write the value of each seed."""
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
