"""``ensemble``, and what ``train --folds`` does: several runs that predict together."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry, open_project, project_argument
from tlstudio.cli.deriving import several_runs, working
from tlstudio.cli.metrics import JUDGING_METRICS
from tlstudio.cli.output import Output, StatusLine
from tlstudio.cli.prediction import to_csv, to_screen
from tlstudio.cli.run_names import find_runs

if TYPE_CHECKING:
    from tlstudio.engine.ensembles import EnsembleReport
    from tlstudio.engine.recipe import Recipe
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run


@command(
    "ensemble",
    example="tlstudio ensemble birds 2026-11-22-001-full 2026-11-22-002-lora\n"
    "tlstudio ensemble birds 2026-11-22-001-full 2026-11-22-002-lora --predict ~/new --output predictions.csv\n"
    "tlstudio train birds --strategy full --method snapshots && tlstudio ensemble birds latest",
)
@project_argument
@several_runs
@click.option(
    "--predict", "source", type=click.Path(path_type=Path), help="Predict this file, folder or table instead."
)
@click.option("--output", "csv", type=click.Path(path_type=Path), help="CSV file for --predict; printed if left out.")
def ensemble(output: Output, *, project: Path, run_ids: Sequence[str], source: Path | None, csv: Path | None) -> int:
    """Let several runs predict together: the mean of their probabilities, or of their values.

    They must have learned the same data; their backbones and strategies may differ. Of a single run, its snapshots
    predict together (--method snapshots). Each is computed, so that this takes as long as all of them.
    """
    if csv is not None and source is None:
        raise click.UsageError("--output goes with --predict.")
    if source is not None:
        return _predict(output, project, run_ids, source, csv)
    with working(output, project, "", write=False) as (opened, registry, control, on_progress):
        from tlstudio.engine.ensembles import measure_ensemble

        runs = _find(opened, registry, run_ids, output)
        report = measure_ensemble(runs, opened, registry, control=control, on_progress=on_progress)
    for split in report.together:
        _show(output, report, split)
    output.result(report_json(report))
    return 0


def _find(project: Project, registry: Registry, names: Sequence[str], output: Output) -> list[Run]:
    from tlstudio.engine.soups import what_differs

    return find_runs(project, names, output, functools.partial(what_differs, registry=registry, same_weights=False))


def _predict(output: Output, folder: Path, run_ids: Sequence[str], source: Path, csv: Path | None) -> int:
    from tlstudio.api import DataError
    from tlstudio.data.own_folders import refuse_as_output

    if not source.exists():
        raise DataError(f"There is no file or folder {source}.", "Check the path.", path=source)
    if csv is not None:
        refuse_as_output(csv, suffix=".csv")
    with open_project(folder, output) as project:
        with StatusLine() as status:
            status.update("Loading the models", "")
            from tlstudio.engine.ensembles import EnsemblePredictor

            registry = find_registry(output)
            runs = _find(project, registry, run_ids, output)
            predictor = EnsemblePredictor.from_runs(runs, registry)
        output.hint(f"Models: {predictor.title}")
        if csv is not None:
            return to_csv(output, predictor, registry, source, csv, {})
        return to_screen(output, predictor, predictor.samples_in(source, registry), source)


def _show(output: Output, report: EnsembleReport, split: str) -> None:
    together = report.together[split]
    names = [name for name in (report.monitor, "accuracy", "loss") if name in report.common(split)]
    names = list(dict.fromkeys(names))
    rows: list[list[object]] = [
        [run, *(one[split].get(name) for name in names)] for run, one in zip(report.runs, report.members, strict=True)
    ]
    rows.append(["mean", *(report.spread(split, name)[0] for name in names)])
    rows.append(["standard deviation", *(report.spread(split, name)[1] for name in names)])
    rows.append(["together", *(together[name] for name in names)])
    output.table([f"on the {split} split", *names], rows)


def report_json(report: EnsembleReport) -> dict[str, Any]:
    """What several runs are worth together, for programs."""
    members = [{"run": run, "metrics": one} for run, one in zip(report.runs, report.members, strict=True)]
    spread = {
        split: {
            name: dict(zip(("mean", "sd"), report.spread(split, name), strict=True)) for name in report.common(split)
        }
        for split in report.together
    }
    return {"runs": members, "together": report.together, "alone": spread, "metric": report.monitor}


def show_folds(output: Output, project: Project, registry: Registry, runs: Sequence[Run]) -> None:
    """Tell what the runs of all folds are worth: each on its fold, all together on the test split.

    Args:
        output: Where to.
        project: Their project.
        registry: The components.
        runs: They, finished.
    """
    from tlstudio.api import RunError
    from tlstudio.engine.ensembles import measure_ensemble

    found = [run.metrics()["validation"] for run in runs]
    names = [name for name in (*JUDGING_METRICS, "loss") if all(name in metrics for metrics in found)]
    names = list(dict.fromkeys(names))[:4]
    rows: list[list[object]] = [[run.id, *(m[name] for name in names)] for run, m in zip(runs, found, strict=True)]
    spread = {name: _spread([metrics[name] for metrics in found]) for name in names}
    rows.append(["mean", *(spread[name]["mean"] for name in names)])
    rows.append(["standard deviation", *(spread[name]["sd"] for name in names)])
    output.say()
    output.table(["each on its fold", *names], rows)
    told: dict[str, Any] = {}
    try:
        with StatusLine() as status:
            report = measure_ensemble(
                runs,
                project,
                registry,
                on_progress=lambda what, done, total: status.update(what, f"{done:,} of {total:,}"),
            )
    except RunError as error:  # no test split, or a head of which there is no mean
        output.hint(f"Note: {error}")
    else:
        output.say()
        _show(output, report, "test")
        told = report_json(report)
    output.hint(f"\nNext: tlstudio ensemble {project.folder} {' '.join(run.id for run in runs)} --predict SOURCE")
    folds = [{"run": run.id, "metrics": run.metrics()} for run in runs]
    output.result({"folds": folds, "validation": spread, "ensemble": told or None})


def _spread(values: Sequence[float]) -> Mapping[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}


Train = Callable[["Recipe"], "tuple[Run, int]"]


def train_folds(output: Output, recipe: Recipe, project: Project, registry: Registry, train: Train) -> int:
    """Train a run for each fold, one after the other, and tell what they are worth.

    Args:
        output: Where to tell it.
        recipe: With folds.
        project: The project, open for writing.
        registry: The components.
        train: Trains one; gives the run and the exit code.

    Returns:
        The exit code: that of the first run that was not trained to its end.
    """
    from tlstudio.engine.recipe import fold_recipes

    runs = []
    for number, one in enumerate(fold_recipes(recipe), start=1):
        output.hint(f"Fold {number} of {recipe.dataset.folds}")
        run, code = train(one)
        if code:
            return code
        runs.append(run)
    show_folds(output, project, registry, runs)
    return 0
