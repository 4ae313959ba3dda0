"""What the training thread of the window may be asked to do: execute a run here or in a process, go on, or follow.

Everything behind it (torch above all) is imported when the work is done, in that thread and not in the window's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.events import RunEvent
    from tlstudio.engine.recipe import Recipe
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run

    Listener = Callable[[RunEvent], None]

Place = Literal["automatic", "window", "process"]
LONG_SECONDS = 120.0
"""A run that is estimated to take longer gets a process of its own, which outlives the window."""


def takes_process(place: Place, seconds: float | None) -> bool:
    """Whether a run goes into a process of its own.

    Args:
        place: What the user has chosen.
        seconds: Estimate of its time, `None` while unknown.
    """
    return place == "process" or (place == "automatic" and seconds is not None and seconds > LONG_SECONDS)


@dataclass(frozen=True)
class RunWork:
    """One run to be done.

    Attributes:
        do: Does it in the calling thread, which hears its events and holds its reins, and returns the run.
        in_process: Whether it goes on without this window.
        run_id: Id of the run; ``""`` if it is a new one.
    """

    do: Callable[[Listener, RunControl], Run]
    in_process: bool
    run_id: str = ""


def execute(recipe: Recipe, project: Project, registry: Registry, *, in_process: bool) -> RunWork:
    """A new run, see `tlstudio.engine.executors.Executor`."""

    def do(listener: Listener, control: RunControl) -> Run:
        from tlstudio.engine.execute import execute_run
        from tlstudio.engine.executors import execute_in_process

        executor = execute_in_process if in_process else execute_run
        return executor(recipe, project, registry, on_event=listener, control=control)

    return RunWork(do, in_process)


def resume(run_id: str, project: Project, registry: Registry, *, in_process: bool) -> RunWork:
    """Go on with a run from its last checkpoint, see `tlstudio.engine.execute.resume_run`."""

    def do(listener: Listener, control: RunControl) -> Run:
        from tlstudio.engine.execute import resume_run
        from tlstudio.engine.executors import resume_in_process

        if in_process:
            return resume_in_process(run_id, project, registry, on_event=listener, control=control)
        return resume_run(run_id, project, registry, on_event=listener, control=control)

    return RunWork(do, in_process, run_id)


def follow(run_id: str, project: Project) -> RunWork:
    """Follow a run that another process carries out, see `tlstudio.engine.executors.follow_run`."""

    def do(listener: Listener, control: RunControl) -> Run:
        from tlstudio.engine.executors import follow_run

        return follow_run(run_id, project, on_event=listener, control=control)

    return RunWork(do, in_process=True, run_id=run_id)
