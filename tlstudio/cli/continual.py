"""``continual``: data sets learned one after another, and what is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tlstudio.cli.common import command, find_registry, open_project, project_argument
from tlstudio.cli.following import listeners
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output
from tlstudio.cli.run_names import find_run

if TYPE_CHECKING:
    from tlstudio.api import Problem
    from tlstudio.data.revision import Revision
    from tlstudio.engine.sequences import Protection, SequenceResult
    from tlstudio.store.project import Project


@command(
    "continual",
    example="tlstudio continual birds spring summer autumn --protect replay\n"
    "tlstudio continual birds spring summer --protect lwf --strategy lora -o training.epochs=5\n"
    "tlstudio continual birds --go-on latest",
)
@project_argument
@click.argument("datasets", nargs=-1, metavar="DATASET DATASET ...")
@click.option(
    "--protect",
    "protection",
    type=click.Choice(["nothing", "replay", "ewc", "lwf"]),
    default="replay",
    show_default=True,
    help="What is done against forgetting, from the second data set on.",
)
@click.option("--strategy", default="full", show_default=True, help="What learns and how.")
@click.option("--backbone", help="Pretrained network of the first run; each run starts from the one before.")
@click.option(
    "--go-on",
    metavar="RUN",
    help="Go on with a sequence that has not come to its end, with its last run; all is as it was asked for then.",
)
@click.option(
    "-o",
    "assignments",
    multiple=True,
    metavar="SECTION.OPTION=VALUE",
    help="Any option of all runs, such as training.epochs=5; methods.replay.kept=50 is one of the protection.",
)
def continual(
    output: Output,
    *,
    project: Path,
    datasets: Sequence[str],
    protection: Protection,
    strategy: str,
    backbone: str | None,
    assignments: Sequence[str],
    go_on: str | None,
) -> None:
    """Learn data sets one after another with one model, and show how much of the earlier ones it forgets."""
    if bool(datasets) == bool(go_on):
        raise click.UsageError("Name the data sets in their order, or with --go-on a run that ends what was begun.")
    if go_on and (given := _given("protection", "strategy", "backbone", "assignments")):
        raise click.UsageError(f"With --go-on all is as it was asked for then: leave {', '.join(given)} out.")
    with open_project(project, output, program="tlstudio continual", write=True) as opened:
        from tlstudio.engine.advise import set_values
        from tlstudio.engine.continual import go_on_in_sequence, learn_in_sequence
        from tlstudio.engine.control import RunControl
        from tlstudio.engine.sequence_plan import plan_sequence

        registry = find_registry(output)
        control = RunControl()
        with listeners(None) as (listen, _), stop_gently(control.cancel):
            if go_on:
                run_id = find_run(opened, go_on, output).id
                result = go_on_in_sequence(run_id, opened, registry, on_event=listen, control=control)
            else:
                revisions, gone = _open(opened, datasets)
                start: dict[str, Any] = {"strategy": {"name": strategy}}
                if backbone:
                    start["backbone"] = {"name": backbone}
                values = set_values(start, assignments)
                plan = plan_sequence(revisions, values, registry, protection=protection, gone=gone)
                result = learn_in_sequence(opened, registry, plan, on_event=listen, control=control)
    show_sequence(output, result)


def _open(project: Project, names: Sequence[str]) -> tuple[list[Revision], list[Problem]]:
    """Open the data sets that there are, and say which others are not."""
    from tlstudio.api import DataError, Problem

    found: list[Revision] = []
    gone: list[Problem] = []
    for name in names:
        try:
            found.append(project.dataset(*name.partition("@")[::2]))
        except DataError as error:
            gone.append(Problem("datasets", error.what, error.remedy))
    return found, gone


def _given(*parameters: str) -> list[str]:
    """Those of these options that were given on the command line, as they are written there."""
    context = click.get_current_context()
    return [
        max(one.opts, key=len)
        for one in context.command.params
        if one.name in parameters and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    ]


def show_sequence(output: Output, result: SequenceResult) -> None:
    """Print the matrix of a sequence, and what it comes to."""
    better = "more is better" if result.better == "max" else "less is better"
    output.say(f"{result.metric} on the test split of each data set, after each run ({better}):")
    output.say()
    rows = [[run, *row] for run, row in zip(result.runs, result.matrix, strict=True)]
    output.table(["after run", *result.datasets], rows)
    output.say()
    output.say(f"In the end {result.average:.3f} on average; forgotten: {result.forgetting:.3f}.")
    output.result({**asdict(result), "average": result.average, "forgetting": result.forgetting})
