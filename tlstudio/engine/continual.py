"""Several data sets learned one after another, and how much of the earlier ones is forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from tlstudio.api import RunError
from tlstudio.engine.assemble import load_run_model, preprocessor_of, split_data
from tlstudio.engine.begin import new_run
from tlstudio.engine.control import RunControl
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.events import Note, Progress, RunEnded, RunEvent
from tlstudio.engine.execute import carry_out, resume_run
from tlstudio.engine.executors import follow_run, resume_in_process, start_and_follow
from tlstudio.engine.measuring import run_split
from tlstudio.engine.recipe import Recipe, parse_recipe
from tlstudio.engine.run_queue import is_run_under_way
from tlstudio.engine.sequence_plan import SequencePlan
from tlstudio.engine.sequences import BegunSequence, SequenceResult, read_begun
from tlstudio.engine.used_data import check_unchanged, recorded_data
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

# Means over the classes would count those that a data set does not have.
_METRICS: Mapping[str, tuple[str, Literal["max", "min"]]] = {"classification": ("accuracy", "max")}
_LOOK_EVERY = 0.25  # seconds
_ENDED_WELL = ("done", "stopped")


def learn_in_sequence(
    project: Project,
    registry: Registry,
    plan: SequencePlan,
    *,
    on_event: Callable[[RunEvent], None],
    control: RunControl,
    in_process: bool = False,
) -> SequenceResult:
    """Learn data sets one after another, and measure after each run what is left of the others.

    What was measured so far is kept in the folder of each run: `go_on_in_sequence` goes on from there.

    Args:
        project: The project, open for writing.
        registry: The components.
        plan: What to learn.
        on_event: Hears every event of every run.
        control: Pause, stop and cancel; a stop ends the sequence after the present run, which is kept and measured.
        in_process: Whether each run gets a process of its own, which goes on when it is let go.

    Returns:
        What was measured; not complete where it was stopped or let go.

    Raises:
        ProblemsError: The recipe of a later run is wrong.
        RunError: A run has failed or was cancelled; those before it are kept.
    """
    result = SequenceResult(plan.protection, "", "max", plan.datasets, (), ())
    return _Learning(project, registry, plan, on_event, control, in_process).go_on(result)


def go_on_in_sequence(
    run_id: str,
    project: Project,
    registry: Registry,
    *,
    on_event: Callable[[RunEvent], None],
    control: RunControl,
    in_process: bool = False,
) -> SequenceResult:
    """Go on with a sequence that has not come to its end, with its last run so far; see `learn_in_sequence`.

    A run that was interrupted goes on from its last checkpoint, one that another process carries out is followed.

    Raises:
        RunError: It is not the last run of a sequence; or as above.
        DataError: One of its data sets is gone, or was measured before and holds something else now.
    """
    run = project.run(run_id)
    begun = read_begun(run)
    if begun is None or begun.result.complete:
        what = f"Run {run_id} is not the last one of a sequence of data sets that could go on."
        raise RunError(what, "Name the run that was made last.", path=run.folder)
    result = begun.result
    revisions = tuple(project.dataset(*name.partition("@")[::2]) for name in result.datasets)
    for revision, done, _ in zip(revisions, result.runs, result.matrix, strict=False):
        check_unchanged(revision, recorded_data(project.run(done)))
    plan = SequencePlan(revisions, begun.values, result.protection, begun.options)
    learning = _Learning(project, registry, plan, on_event, control, in_process)
    return learning.go_on(result, None if len(result.matrix) == len(result.runs) else run)


@dataclass
class _Learning:
    """Carries out a plan; see `learn_in_sequence`."""

    project: Project
    registry: Registry
    plan: SequencePlan
    on_event: Callable[[RunEvent], None]
    control: RunControl
    in_process: bool

    def go_on(self, result: SequenceResult, present: Run | None = None) -> SequenceResult:
        """Do what is left.

        Args:
            result: What there is.
            present: The last run, if it has not ended or is not measured.
        """
        while not result.complete:
            self._tell(len(result.runs) + (present is None))
            if present is not None:
                ended = self._end(present)
            else:
                recipe = self._next(result)
                present = new_run(recipe, self.project)
                result = replace(result, runs=(*result.runs, present.id))
                self._keep(present, result)
                ended = self._begin(present, recipe)
            if not ended:
                return result  # it goes on without us
            result = self._measure(present, result)
            self._keep(present, result)
            present = None
            if self.control.request == "stop" or self.control.has_let_go:
                break
        return result

    def _tell(self, number: int) -> None:
        name = self.plan.revisions[number - 1].dataset
        self.on_event(Note(f"Data set {number} of {len(self.plan.revisions)}: {name}."))

    def _keep(self, run: Run, result: SequenceResult) -> None:
        BegunSequence(result, self.plan.values, self.plan.options).keep(run)

    def _next(self, result: SequenceResult) -> Recipe:
        """The next recipe, as soon as no run that was queued in the meantime is under way."""
        while result.runs and is_run_under_way(self.project):
            self.on_event(Progress("Waiting for another run of this project"))
            self.control.wait(_LOOK_EVERY)
            self._check_cancelled(result.runs[-1])
        return self.plan.recipe(result.runs, self.registry)

    def _begin(self, run: Run, recipe: Recipe) -> bool:
        def do(hear: Callable[[RunEvent], None]) -> None:
            if self.in_process:
                start_and_follow(run, self.project, on_event=hear, control=self.control)
            else:
                carry_out(run, recipe, self.project, self.registry, on_event=hear, control=self.control)

        return self._heard(run, do)

    def _end(self, run: Run) -> bool:
        """Bring a run to its end that was begun earlier."""
        status = run.status
        if status in _ENDED_WELL:
            return True

        def do(hear: Callable[[RunEvent], None]) -> None:
            if status == "running":
                follow_run(run.id, self.project, on_event=hear, control=self.control)
            else:
                resume = resume_in_process if self.in_process else resume_run
                resume(run.id, self.project, self.registry, on_event=hear, control=self.control)

        return self._heard(run, do)

    def _heard(self, run: Run, do: Callable[[Callable[[RunEvent], None]], None]) -> bool:
        """Whether a run has ended well; not if it was let go.

        Raises:
            RunError: It has failed or was cancelled.
        """
        ended: list[RunEnded] = []

        def hear(event: RunEvent) -> None:
            if isinstance(event, RunEnded):
                ended.append(event)
            self.on_event(event)

        do(hear)
        if ended and ended[-1].status not in _ENDED_WELL:
            what = ended[-1].error or f"Run {run.id} was {ended[-1].status}."
            raise RunError(what, "The runs before it are kept, and the sequence can go on with it.", path=run.folder)
        return bool(ended)

    def _measure(self, run: Run, result: SequenceResult) -> SequenceResult:
        """Measure a run on the test split of each data set."""
        training = parse_recipe(run.read_recipe()).training
        parts, model = load_run_model(run, self.registry)
        device = torch.device(resolve_device(training.device))
        model.to(device)
        preprocessor = preprocessor_of(parts, assets=run.assets)
        metric, better = _METRICS.get(parts.head.task, model.head.monitor)

        def values() -> Iterator[float | None]:
            for revision in self.plan.revisions:
                if not len(revision.indices("test")):
                    yield None
                    continue
                data = split_data(revision, "test", model.head, preprocessor, batch_size=training.batch_size)
                total, what = len(revision.indices("test")), f"Measuring what is known of {revision.dataset}"

                def progress(done: int, what: str = what, total: int = total) -> None:
                    self.on_event(Progress(what, done, total))
                    self._check_cancelled(run.id)

                outputs = run_split(model, model, data, device, progress)
                value = outputs.metrics.get(metric, math.nan)
                yield value if math.isfinite(value) else None

        row = tuple(values())
        return replace(result, metric=metric, better=better, matrix=(*result.matrix, row))

    def _check_cancelled(self, run_id: str) -> None:
        if self.control.request == "cancel" or self.control.has_let_go:
            what = f"The sequence was cancelled after run {run_id}."
            raise RunError(what, "What was learned is kept, and it can go on from there.")
