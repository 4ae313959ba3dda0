"""What a run tells while it trains and when it has ended, for people and for programs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tlstudio.cli.common import CANCELLED, FAILED
from tlstudio.cli.metrics import metrics_table
from tlstudio.cli.output import Output
from tlstudio.cli.progress import EventPrinter

if TYPE_CHECKING:
    from tlstudio.engine.events import RunEnded, RunEvent
    from tlstudio.store.run import Run

events_option = click.option(
    "--events", "events_path", metavar="FILE", help="Write each event as a line of JSON into a file, or to - (here)."
)
Listen = Callable[["RunEvent"], None]


@contextlib.contextmanager
def listeners(events_path: str | None) -> Iterator[tuple[Listen, list[RunEnded]]]:
    """Give a function that hears the events, and the list into which it puts each run's end."""
    from tlstudio.engine.events import RunEnded, to_json

    printer = EventPrinter()
    ended: list[RunEnded] = []
    with _events_file(events_path) as file:

        def listen(event: RunEvent) -> None:
            if file is not None:
                file.write(to_json(event, time=time.time()) + "\n")
                file.flush()
            printer.show(event)
            if isinstance(event, RunEnded):
                ended.append(event)

        try:
            yield listen, ended
        finally:
            printer.close()


@contextlib.contextmanager
def _events_file(path: str | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
    elif path == "-":
        yield sys.stdout
    else:
        from tlstudio.data.own_folders import refuse_as_output

        # A pipe is for another program; a file of another kind would be lost.
        refuse_as_output(Path(path), suffix=".jsonl" if Path(path).is_file() else "")
        try:
            file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  closed below
        except OSError as error:
            raise click.BadParameter(f"{path} cannot be written: {error.strerror}.", param_hint="--events") from error
        with file:
            yield file


def run_json(run: Run, ended: RunEnded) -> dict[str, Any]:
    """The end of a run, for programs."""
    return {
        "run": run.id,
        "status": ended.status,
        "metrics": ended.metrics,
        "best_epoch": ended.best_epoch,
        "seconds": round(ended.seconds, 3),
        "folder": run.folder,
        **({"error": ended.error} if ended.error else {}),
        **({"suggestion": ended.suggestion} if ended.suggestion else {}),
    }


def show_ended(output: Output, project: Path, run: Run, ended: RunEnded) -> int:
    """Tell how a run has ended; returns the exit code."""
    code = say_ended(output, run, ended)
    if code == 0:
        output.hint(f"\nNext: tlstudio evaluate {project} {run.id}")
        output.hint(f"      tlstudio export {project} {run.id} FOLDER")
    output.result(run_json(run, ended))
    return code


def say_ended(output: Output, run: Run, ended: RunEnded) -> int:
    """Tell how a run has ended, without what comes next; returns the exit code."""
    if ended.traceback:
        output.hint(ended.traceback)
        output.hint("This is a bug in TL Studio or in a plugin: please report it with the lines above.")
    if ended.status == "failed":
        output.hint(click.style("Failed: ", fg="red", bold=True) + ended.error)
        output.hint(f"What it did is kept in {run.folder}")
        if ended.suggestion:
            options = " ".join(f"-o {name}={value}" for name, value in ended.suggestion.items())
            output.hint(f"Try again with: {options}")
        return FAILED
    if ended.status == "cancelled":
        output.hint(f"Run {run.id} was cancelled after {ended.seconds:.1f} s; tlstudio resume goes on with it.")
        return CANCELLED
    from tlstudio.engine.recipe import parse_recipe

    best = f", kept epoch {ended.best_epoch}" if ended.best_epoch else ""
    if best and parse_recipe(run.read_recipe()).training.keep == "last":
        best += ", the last one, as training.keep says"
    output.say(f"Run {run.id}: {ended.status} in {ended.seconds:.1f} s{best}.")
    output.say()
    metrics_table(output, ended.metrics)
    output.say()
    output.say(f"Folder: {run.folder}")
    return 0
