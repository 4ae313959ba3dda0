"""``queue``: works off the runs that wait."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlstudio.cli.common import (
    CANCELLED,
    FAILED,
    command,
    open_project,
    project_argument,
)
from tlstudio.cli.following import listeners
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.metrics import shown_metric
from tlstudio.cli.output import Output, duration
from tlstudio.cli.results import run_json

if TYPE_CHECKING:
    from tlstudio.engine.events import RunEnded, RunEvent
    from tlstudio.store.project import Project
    from tlstudio.store.run_record import RunSummary


@command(
    "queue", example="tlstudio train birds --strategy lora --queue\ntlstudio queue birds\ntlstudio queue birds --detach"
)
@project_argument
@click.option("--detach", is_flag=True, help="Do so in a process of its own and return at once.")
@click.option("--stop", is_flag=True, help="Have no queued run begun any more; the present one goes on.")
def queue(output: Output, *, project: Path, detach: bool, stop: bool) -> int:
    """Train the runs that wait (train --queue), one after the other, the oldest first. Ctrl+C ends the present one.

    Each has a process of its own. One that fails does not keep the next from its turn. What is not begun stays queued.
    """
    if detach and stop:
        raise click.UsageError("Choose one: --detach or --stop.")
    with open_project(project, output) as opened:
        from tlstudio.engine.run_queue import queued_runs, start_queue, stop_queue

        waiting = [run.id for run in queued_runs(opened)]
        if stop:
            stop_queue(opened)
            output.say(f"No queued run is begun any more; {_count(waiting)} queued.")
            output.result({"project": project, "queued": waiting, "status": "stopped"})
            return 0
        if not waiting:
            output.say(f"No run is queued. Queue one: tlstudio train {project} --queue")
            output.result({"project": project, "runs": [], "queued": []})
            return 0
        if detach:
            where = "by the process that does so already" if start_queue(opened) is None else "in a process of its own"
            output.say(f"{_count(waiting)} worked off {where}: {', '.join(waiting)}.")
            output.hint(f"Next: tlstudio runs {project}, tlstudio queue {project} --stop")
            output.result({"project": project, "queued": waiting, "status": "running"})
            return 0
        return _work_off(output, opened)


def _work_off(output: Output, project: Project) -> int:
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.events import RunEnded
    from tlstudio.engine.run_queue import forget_stop, queued_runs, work_off

    control = RunControl()
    with listeners(None) as (listen, ended), stop_gently(control.cancel):

        def hear(event: RunEvent) -> None:
            listen(event)
            if isinstance(event, RunEnded):
                output.say(_line(event, project.run(event.run).summary()))

        forget_stop(project)
        work_off(project, on_event=hear, control=control)
    summaries = {run.id: run for run in project.runs()}
    done = [summaries[end.run] for end in ended if end.run in summaries]
    if done:
        output.say()
        output.table(["run", "status", "metric", "validation", "test", "epoch", "time"], map(_row, done), left=3)
    left = [run.id for run in queued_runs(project)]
    if left:
        output.hint(f"\n{_count(left)} still queued: tlstudio queue {project.folder}")
    output.result({"project": project.folder, "runs": [run_json(run) for run in done], "queued": left})
    if control.request == "cancel":
        return CANCELLED
    states = {end.status for end in ended}
    return FAILED if "failed" in states else CANCELLED if "cancelled" in states else 0


def _line(ended: RunEnded, run: RunSummary) -> str:
    name, value = shown_metric(run, "test" if ended.metrics.get("test") else "validation")
    figures = "" if value is None else f", {name} {value:.3f}"
    return f"Run {ended.run}: {ended.status} in {duration(ended.seconds)}{figures}. {ended.error}".rstrip()


def _row(run: RunSummary) -> list[object]:
    metric, test = shown_metric(run, "test")
    other, validation = shown_metric(run, "validation")
    time = duration(run.seconds) if run.seconds else None
    return [run.id, run.status, metric or other, validation, test, run.best_epoch or None, time]


def _count(runs: list[str]) -> str:
    return "1 run is" if len(runs) == 1 else f"{len(runs)} runs are"
