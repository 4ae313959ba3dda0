"""What all commands share: how one is declared, where plugins come from, how a run is named."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.output import Output

if TYPE_CHECKING:
    from tlstudio.plugins import PluginManager, Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run
    from tlstudio.store.run_record import RunSummary

FAILED, WRONG_USE, CANCELLED = 1, 2, 130
SHOWN_METRICS = (
    *("mean_iou", "map", "wer", "cer", "rougeL", "bleu", "chrf", "exact_match"),  # what one task alone is judged by
    *("accuracy", "f1_macro", "f1_micro", "f1", "average_precision_macro", "ndcg_at_10", "roc_auc"),
    *("rmse", "mae", "mase", "r2", "perplexity", "loss"),
)
"""Metrics in the order in which they are shown; a run is known by the first that it has."""
JUDGING_METRICS = {
    **dict.fromkeys(("f1_macro", "mean_iou", "map"), "max"),
    "wer": "min",
    **dict.fromkeys(("f1_micro", "f1"), "max"),
    "rmse": "min",
    **dict.fromkeys(("roc_auc", "accuracy"), "max"),
    "loss": "min",
}
"""By which metric the best run is chosen, the first that it has, and whether more or less of it is better."""
_MOST_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Exit code: 0 done, 1 failed, 2 wrong use or bad input, 130 cancelled.
        open_project: A project that the window shall be opened on now.
    """

    code: int = 0
    open_project: Path | None = None


CommandFunction = Callable[..., Outcome | int | None]


def command(name: str, *, example: str) -> Callable[[CommandFunction], click.Command]:
    """Declare a command: it gets ``--json``, an example in its help, and an `Output` as first argument.

    Args:
        name: Its name.
        example: One or more command lines, shown in its help.
    """
    lines = "\n".join(f"  {line}" for line in example.splitlines())

    def decorate(function: CommandFunction) -> click.Command:
        @functools.wraps(function)
        def call(*, as_json: bool, **values: Any) -> Outcome | int | None:  # noqa: ANN401  what click has parsed
            return function(Output(as_json=as_json), **values)

        with_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, last.")
        summary = (function.__doc__ or "").strip().split("\n\n")[0].split(". ")[0].rstrip(".") + "."
        made = click.command(name, short_help=summary, epilog=f"\b\nExample:\n{lines}")(with_json(call))
        made.params.sort(key=lambda param: isinstance(param, click.Option) and param.name == "as_json")
        return made

    return decorate


project_argument = click.argument("project", type=click.Path(path_type=Path))
run_argument = click.argument("run_id", metavar="RUN")


def find_plugins(output: Output) -> PluginManager:
    """Load all plugins; one that fails is told in a line and left out."""
    from tlstudio.plugins import PluginManager

    manager = PluginManager.of_user()
    if manager.safe_mode:
        output.hint("Safe mode: only the plugins that come with TL Studio are loaded.")
    for record in manager.plugins:
        if record.state in ("failed", "skipped"):
            output.hint(f"Warning: the plugin {record.name} is left out: {record.error} (tlstudio plugins says more.)")
    return manager


def find_registry(output: Output) -> Registry:
    """Load all plugins and return what they bring."""
    return find_plugins(output).registry


def open_project(folder: Path, output: Output, *, program: str = "", write: bool = False) -> Project:
    """Open a project and tell what was mended.

    Args:
        folder: Its folder.
        output: Where to tell it.
        program: What to call this program if others want to write, too.
        write: Whether to take the right to write.
    """
    from tlstudio.store.project import Project

    project = Project.open(folder, write=write, program=program) if write else Project.open(folder, write=False)
    for note in project.notes:
        output.hint(note)
    return project


def only_dataset(project: Project) -> str:
    """Name the data set of a project that has one.

    Raises:
        DataError: It has none, or several.
    """
    from tlstudio.api import DataError

    names = project.datasets()
    if len(names) != 1:
        remedy = f"Choose one: --dataset {' or '.join(names)}." if names else "Import one: tlstudio import --help."
        count = "several data sets" if names else "no data set yet"
        raise DataError(f"The project {project.name} has {count}.", remedy, field="dataset.name")
    return names[0]


def find_run(project: Project, name: str) -> Run:
    """Find a run by its id, or ``latest`` that was begun, or ``best`` (of the finished ones on the newest's data set).

    Raises:
        RunError: There is none; the sentence names near ones.
    """
    from tlstudio.api import RunError

    if name not in ("latest", "best"):
        return project.run(name)
    summaries = [
        run
        for run in project.runs()
        if (run.status != "queued" if name == "latest" else run.status in ("done", "stopped"))
    ]
    if not summaries:
        raise RunError(
            f"The project {project.name} has no {'finished ' if name == 'best' else ''}run yet.",
            f"Train one: tlstudio train {project.folder}.",
            path=project.runs_folder,
        )
    return project.run(summaries[0].id if name == "latest" else best_of(summaries).id)


def best_of(summaries: Sequence[RunSummary]) -> RunSummary:
    """The best run by validation, of those that have the first one's data set and metric."""
    first = summaries[0]
    validation = first.metrics.get("validation", {})
    metric = next((name for name in JUDGING_METRICS if name in validation), "")
    sign = 1 if JUDGING_METRICS.get(metric) == "max" else -1
    rivals = [
        (sign * value, run)
        for run in summaries
        if run.dataset == first.dataset
        and math.isfinite(value := run.metrics.get("validation", {}).get(metric, math.nan))
    ]
    return max(rivals, key=lambda rival: rival[0], default=(0.0, first))[1]


def shown_metric(run: RunSummary, split: str) -> tuple[str, float | None]:
    """Name and value of the metric that a run is known by; ``("", None)`` if it was not evaluated."""
    values = run.metrics.get(split, {})
    return next(((name, values[name]) for name in SHOWN_METRICS if name in values), ("", None))


def metrics_table(output: Output, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print metrics: a row a split, a column a metric."""
    found = dict.fromkeys(name for values in metrics.values() for name in values)
    # The known ones first, the loss last: it compares runs of one kind, but says little by itself.
    order = {name: place for place, name in enumerate(SHOWN_METRICS)}
    columns = sorted(found, key=lambda name: (name == "loss", order.get(name, len(order))))
    if len(columns) > _MOST_COLUMNS:
        columns = [name for name in columns if not name.endswith(")")]  # each class by itself, such as ap(cat)
    rows = [[split, *(values.get(name) for name in columns)] for split, values in metrics.items()]
    output.table(["", *columns], rows)
