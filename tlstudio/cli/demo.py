"""``demo``: a project with real data, trained once."""

from __future__ import annotations

import time
from pathlib import Path

import click

from tlstudio.cli.common import CANCELLED, Outcome, command, find_registry
from tlstudio.cli.following import events_option, listeners, run_json, say_ended
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output


@command("demo", example="tlstudio demo --headless\ntlstudio demo --headless --folder demo --only images")
@click.option("--headless", is_flag=True, help="Only train; do not open the window afterwards.")
@click.option("--folder", type=click.Path(path_type=Path), help="Project folder; one of your own if left out.")
@click.option("--only", type=click.Choice(["images", "texts"]), help="Only one of the two data sets.")
@events_option
def demo(output: Output, *, headless: bool, folder: Path | None, only: str | None, events_path: str | None) -> Outcome:
    """Make a project with real images and real texts, and train on each. Needs no network."""
    import os

    from tlstudio.api import TLStudioError
    from tlstudio.startup import user_folder, why_no_window

    if not headless and (sentence := why_no_window(os.environ)):
        raise TLStudioError(sentence)  # told before a minute of training, not after it
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.demo import run_demo

    output.words_to_stderr |= events_path == "-"
    folder = folder or user_folder() / "demo"
    registry = find_registry(output)
    control = RunControl()
    start = time.monotonic()
    with listeners(events_path) as (listen, ended), stop_gently(control.cancel):
        runs = run_demo(folder, registry, only=(only,) if only else (), on_event=listen, control=control)
    results, codes = [], []
    for run, end in zip(runs, ended, strict=True):
        output.say()
        codes.append(say_ended(output, run, end))
        results.append(run_json(run, end))
    if control.request == "cancel":
        codes.append(CANCELLED)
    output.hint(f"\nThe project is in {folder}; it took {time.monotonic() - start:.0f} s.")
    output.hint(f"Next: tlstudio {folder}   (opens the window)")
    output.result({"project": folder, "runs": results, "seconds": round(time.monotonic() - start, 3)})
    code = next((code for code in codes if code), 0)
    return Outcome(code, open_project=None if headless else folder)
