"""What the training thread of the window may be asked to do: execute a run here or in a process, go on, or follow.

Everything behind it (torch above all) is imported when the work is done, in that thread and not in the window's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tlstudio.api import TLStudioError
from tlstudio.engine.sequences import is_to_go_on

if TYPE_CHECKING:
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.events import RunEvent, RunStatus
    from tlstudio.engine.recipe import Recipe
    from tlstudio.engine.sequence_plan import SequencePlan
    from tlstudio.engine.sequences import SequenceResult
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

    do: Callable[[Listener, RunControl], Run | None]
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
    """Go on with a run from its last checkpoint, see `tlstudio.engine.execute.resume_run`; and with its sequence."""

    def do(listener: Listener, control: RunControl) -> Run | None:
        if is_to_go_on(project.run(run_id)):
            return _go_on_in_sequence(run_id, project, registry, listener, control, in_process=in_process)
        from tlstudio.engine.execute import resume_run
        from tlstudio.engine.executors import resume_in_process

        if in_process:
            return resume_in_process(run_id, project, registry, on_event=listener, control=control)
        return resume_run(run_id, project, registry, on_event=listener, control=control)

    return RunWork(do, in_process, run_id)


def follow(run_id: str, project: Project, registry: Registry) -> RunWork:
    """Follow a run that another process carries out, see `tlstudio.engine.executors.follow_run`; then its sequence."""

    def do(listener: Listener, control: RunControl) -> Run | None:
        if project.writable and is_to_go_on(project.run(run_id)):
            return _go_on_in_sequence(run_id, project, registry, listener, control, in_process=True)
        from tlstudio.engine.executors import follow_run

        return follow_run(run_id, project, on_event=listener, control=control)

    return RunWork(do, in_process=True, run_id=run_id)


def learn_in_sequence(plan: SequencePlan, project: Project, registry: Registry, *, in_process: bool) -> RunWork:
    """Several new runs one after another, see `tlstudio.engine.continual.learn_in_sequence`."""

    def do(listener: Listener, control: RunControl) -> Run | None:
        from tlstudio.engine import continual

        def learn(hear: Listener) -> SequenceResult:
            return continual.learn_in_sequence(
                project, registry, plan, on_event=hear, control=control, in_process=in_process
            )

        return _with_one_end(learn, project, listener, control)

    return RunWork(do, in_process)


def _go_on_in_sequence(
    run_id: str, project: Project, registry: Registry, listener: Listener, control: RunControl, *, in_process: bool
) -> Run | None:
    from tlstudio.engine import continual

    def learn(hear: Listener) -> SequenceResult:
        return continual.go_on_in_sequence(
            run_id, project, registry, on_event=hear, control=control, in_process=in_process
        )

    return _with_one_end(learn, project, listener, control)


def _with_one_end(
    learn: Callable[[Listener], SequenceResult], project: Project, listener: Listener, control: RunControl
) -> Run | None:
    """Do several runs as if they were one: only the end of the last one is told, when all is done."""
    from tlstudio.engine.events import RunEnded

    ended: list[RunEnded] = []

    def hear(event: RunEvent) -> None:
        if isinstance(event, RunEnded):
            ended.append(event)
        else:
            listener(event)

    try:
        result = learn(hear)
        if not ended and not control.has_let_go:  # all that was left was to measure a run that had ended before
            last = project.run(result.runs[-1]).summary()
            ended.append(RunEnded(last.id, "done", last.metrics, last.best_epoch, last.seconds))
    except TLStudioError as error:
        if not ended:
            raise
        if ended[-1].status in ("done", "stopped"):  # but what was to follow did not come
            status: RunStatus = "cancelled" if control.request == "cancel" else "failed"
            ended.append(replace(ended[-1], status=status, error=str(error)))
    if not ended:
        return None
    listener(ended[-1])
    return project.run(ended[-1].run)
