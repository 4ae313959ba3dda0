"""``resume``, ``attach`` and ``selftest``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from tlstudio.cli.common import (
    FAILED,
    command,
    find_registry,
    open_project,
    project_argument,
    run_argument,
)
from tlstudio.cli.following import events_option, listeners, show_ended
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output, StatusLine, duration
from tlstudio.cli.run_names import find_run


@command("resume", example="tlstudio resume birds latest\ntlstudio resume birds 2026-11-21-003-lora")
@project_argument
@run_argument
@events_option
def resume(output: Output, *, project: Path, run_id: str, events_path: str | None) -> int:
    """Go on with a run that was cancelled, has failed or was interrupted, from its last checkpoint.

    What follows is bit for bit what would have followed then.
    """
    output.words_to_stderr |= events_path == "-"
    with open_project(project, output, program="tlstudio resume", write=True) as opened:
        from tlstudio.engine.control import RunControl
        from tlstudio.engine.execute import resume_run

        run_id = find_run(opened, run_id, output).id
        registry = find_registry(output)
        control = RunControl()
        with listeners(events_path) as (listen, ended), stop_gently(control.cancel):
            run = resume_run(run_id, opened, registry, on_event=listen, control=control)
        return show_ended(output, project, run, ended[-1])


@command("attach", example="tlstudio attach birds latest")
@project_argument
@run_argument
@events_option
@click.option("--cancel", is_flag=True, help="Ask the run to end at its next step, and end it if it does not.")
def attach(output: Output, *, project: Path, run_id: str, events_path: str | None, cancel: bool) -> int:
    """Follow a run that another process carries out, from its beginning. Ctrl+C leaves it running."""
    output.words_to_stderr |= events_path == "-"
    with open_project(project, output) as opened:
        from tlstudio.engine.control import RunControl
        from tlstudio.engine.executors import follow_run

        run_id = find_run(opened, run_id, output).id
        control = RunControl()
        if cancel:
            control.cancel()
        with listeners(events_path) as (listen, ended), stop_gently(control.let_go, what="following; the run goes on"):
            run = follow_run(run_id, opened, on_event=listen, control=control)
        if ended:
            return show_ended(output, project, run, ended[-1])
        output.say(f"Run {run.id} goes on.")
        output.result({"run": run.id, "status": "running", "folder": run.folder})
        return 0


@command("selftest", example="tlstudio selftest\ntlstudio selftest --only resume --count 100 --seed 7")
@click.option(
    "--only", multiple=True, metavar="CHECK", help="Only resume, store, plugins, close or hostile; may be repeated."
)
@click.option("--count", type=click.IntRange(min=1), help="How often each check tries; a few times if left out.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is tried.")
@click.option("--thorough", is_flag=True, help="As often as the published figures; takes hours.")
@click.option("--keep", is_flag=True, help="Keep the folder in which it was tried.")
def selftest(output: Output, *, only: tuple[str, ...], count: int | None, seed: int, thorough: bool, keep: bool) -> int:
    """Break things on this machine, in a folder of its own, and count what survives.

    Exit code 0 only if all of it did.
    """
    from tlstudio.selftest.checks import CHECKS

    names = [check.name for check in CHECKS]
    if unknown := [name for name in only if name not in names]:
        raise click.BadParameter(f"{unknown[0]} is no check; there are {', '.join(names)}.", param_hint="--only")
    results, rows, failures = [], [], []
    root = Path(tempfile.mkdtemp(prefix="tlstudio-selftest-"))
    for check in CHECKS:
        if only and check.name not in only:
            continue
        times = count or (check.thorough if thorough else check.count)
        output.hint(f"{check.title}: {times} times ...")
        start, tried, survived = time.monotonic(), 0, 0
        folder = root / check.name
        folder.mkdir()
        with StatusLine() as status:
            status.update("Trying", "")
            for trial in check.run(folder, times, seed):
                tried, survived = tried + 1, survived + trial.survived
                left = (time.monotonic() - start) / tried * (times - tried)
                status.update("Trying", f"{tried} of {times}, {survived} survived, {duration(left)} left")
                if not trial.survived:
                    failures.append({"check": check.name, "trial": trial.name, "details": trial.details})
                    status.line(click.style("Not survived: ", fg="red", bold=True) + f"{trial.name}: {trial.details}")
        seconds = time.monotonic() - start
        rows.append([check.name, tried, survived, f"{seconds:.0f} s"])
        results.append({"check": check.name, "tried": tried, "survived": survived, "seconds": round(seconds, 1)})
        for sentence in check.left_out:
            output.hint(f"Not tried: {sentence}")
    output.say()
    output.table(["check", "tried", "survived", "time"], rows)
    if keep or failures:
        output.hint(f"\nWhat was tried is kept in {root}")
    else:
        import shutil

        shutil.rmtree(root, ignore_errors=True)
    output.result({"seed": seed, "checks": results, "failures": failures, "survived": not failures})
    return FAILED if failures else 0
