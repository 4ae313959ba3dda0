"""Several data sets learned one after another, and how much of the earlier ones is forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from pydantic import ValidationError

from tlstudio.api import DataError, Problem, ProblemsError, RunError, problems_of
from tlstudio.api.methods import written_names
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete, fill_in
from tlstudio.engine.assemble import fitted, load_run_model, preprocessor_of, split_data
from tlstudio.engine.begin import new_run
from tlstudio.engine.control import RunControl
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.events import Note, Progress, RunEnded, RunEvent
from tlstudio.engine.execute import carry_out, resume_run
from tlstudio.engine.executors import follow_run, resume_in_process, start_and_follow
from tlstudio.engine.measuring import run_split
from tlstudio.engine.recipe import Recipe, learned_from, mistakes, parse_recipe, with_classes
from tlstudio.engine.run_queue import is_run_under_way
from tlstudio.engine.sequences import BegunSequence, Protection, SequenceResult, read_begun
from tlstudio.engine.source import runs_beside
from tlstudio.engine.start_from import starting_parts
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

# Means over the classes would count those that a data set does not have.
_METRICS: Mapping[str, tuple[str, Literal["max", "min"]]] = {"classification": ("accuracy", "max")}
_LOOK_EVERY = 0.25  # seconds
_ENDED_WELL = ("done", "stopped")
_EARLIER = "the run before"  # stands for its id, while there is none


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """What is to be learned one after another: each run starts from the one before, with its head.

    The head knows all classes from the beginning.

    Attributes:
        revisions: The data sets in their order.
        values: Recipe of each run, as far as it is given; the backbone is that of the first run.
        protection: What is done against forgetting, from the second run on.
        options: Options of that method.
    """

    revisions: tuple[Revision, ...]
    values: Mapping[str, Any]
    protection: Protection = "nothing"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The classes of all data sets, in the order in which they come."""
        return list(dict.fromkeys(name for revision in self.revisions for name in revision.classes))

    def recipe(self, runs: Sequence[str], registry: Registry) -> Recipe:
        """The recipe of the run that comes after some.

        Raises:
            ProblemsError: With every mistake found.
        """
        number, run = len(runs), runs[-1] if runs else ""
        return complete(self.values_of(number, run), self.revisions[number], registry)

    def values_of(self, number: int, run: str) -> dict[str, Any]:
        """What is said of a run before its recipe is completed.

        Args:
            number: So many data sets were learned before.
            run: The last run of these.
        """
        values, head = self.values, self.values.get("head", {})
        head = {"name": head} if isinstance(head, str) else dict(head)
        result = {**values, "head": {**head, "classes": self.classes}}
        if number:
            backbone = values.get("backbone", {})
            backbone = {} if isinstance(backbone, str) else {k: one for k, one in backbone.items() if k == "options"}
            result["backbone"] = {**backbone, "start_from": run}
            result["head"]["take_over"] = True
            result["methods"] = {**values.get("methods", {}), **self.added(number, run)}
        return result

    def added(self, number: int, run: str) -> dict[str, dict[str, Any]]:
        """The method that protects what was learned, with its options.

        Args:
            number: So many data sets were learned before.
            run: The last run of these.
        """
        if self.protection == "nothing":
            return {}
        given = _given(self.protection, self.revisions[:number], run)
        return {self.protection: {**given, **self.options}}


def given_options(protection: Protection) -> frozenset[str]:
    """Names of the options of what protects that the sequence itself gives."""
    return frozenset(_given(protection, (), ""))


def why_not_together(first: Revision, other: Revision) -> str:
    """Say why one model cannot learn two data sets one after the other; empty if it can."""
    if (first.modality, first.task) != (other.modality, other.task):
        return "It is not for the same task on the same kind of data."
    return ""


def plan_sequence(
    revisions: Sequence[Revision],
    values: Mapping[str, Any],
    registry: Registry,
    *,
    protection: Protection = "nothing",
    options: Mapping[str, Any] | None = None,
    gone: Sequence[Problem] = (),
) -> SequencePlan:
    """Plan to learn data sets one after another, and check all of it that can be told before the first run.

    Args:
        revisions: The data sets in their order.
        values: As in a recipe file; anything may be left out. The data set that it names does not count.
        registry: The components.
        protection: What is done against forgetting, from the second run on.
        options: Options of that method; else those that `values` has for it.
        gone: What is said of further data sets, each of which could not be opened.

    Raises:
        ProblemsError: With every mistake found.
    """
    methods = dict(values.get("methods", {}))
    own = dict(methods.pop(protection, {}) if options is None else options)
    table = {key: one for key, one in values.get("dataset", {}).items() if key not in ("name", "revision")}
    values = {**values, "methods": methods, "dataset": table}
    together, problems = _together(revisions)
    if len(revisions) + len(gone) < 2:
        what = "A sequence needs two data sets or more."
        problems.append(Problem("datasets", what, "Name them in the order in which they are learned."))
    problems = [*gone, *problems]
    plan = SequencePlan(together, values, protection, own)
    problems += _wrong_options(plan, registry)
    if together:
        first: Recipe | None = None
        try:
            first = plan.recipe((), registry)
        except ProblemsError as error:
            problems += [problem for problem in error.problems if problem not in problems]
        else:
            problems += _unlike_the_first(plan, first, registry)
        problems += [problem for problem in _problems_to_come(plan, registry) if problem not in problems]
    if problems:
        raise ProblemsError(mistakes(len(problems)), problems)
    return plan


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
    names = tuple(map(_reference, plan.revisions))
    result = SequenceResult(plan.protection, "", "max", names, (), ())
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
        DataError: One of its data sets is gone.
    """
    run = project.run(run_id)
    begun = read_begun(run)
    if begun is None or begun.result.complete:
        what = f"Run {run_id} is not the last one of a sequence of data sets that could go on."
        raise RunError(what, "Name the run that was made last.", path=run.folder)
    result = begun.result
    revisions = tuple(project.dataset(*name.partition("@")[::2]) for name in result.datasets)
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


def _together(revisions: Sequence[Revision]) -> tuple[tuple[Revision, ...], list[Problem]]:
    """The data sets that one model can learn after the first one, each once; and what is wrong with the others."""
    problems: list[Problem] = []
    found: list[Revision] = []
    for revision in revisions:
        same = next((one for one in found if one.sha256 == revision.sha256), None)
        if same is not None:
            what = f"it holds the same data as '{same.dataset}'."
            if same.dataset == revision.dataset:
                what = "it is named twice, and nothing is forgotten of data that are learned anyway."
            problems.append(Problem(revision.dataset, what, "Name each data set once."))
        elif found and (reason := why_not_together(found[0], revision)):
            remedy = f"Choose data sets that one model could learn together with '{found[0].dataset}'."
            problems.append(Problem(revision.dataset, reason, remedy))
        else:
            found.append(revision)
    return tuple(found), problems


def _wrong_options(plan: SequencePlan, registry: Registry) -> list[Problem]:
    """Find what is wrong with the options of what protects, whatever the data are."""
    for name, options in plan.added(0, "").items():
        model = registry.method(name).Options
        try:
            model.model_validate(options)
        except ValidationError as error:
            return problems_of(error, model, f"methods.{name}.")
    return []


def _unlike_the_first(plan: SequencePlan, first: Recipe, registry: Registry) -> list[Problem]:
    """Find data sets whose samples cannot be prepared as those that are learned first."""
    parts = fitted(
        starting_parts(first, registry, runs_beside(plan.revisions[0])), learned_from(first, plan.revisions[0])
    )
    preprocessor = preprocessor_of(parts)
    problems = []
    for revision in plan.revisions[1:]:
        try:
            preprocessor(revision.sample(0), 0)
        except DataError as error:
            problems.append(Problem(revision.dataset, error.what, error.remedy))
    return problems


def _problems_to_come(plan: SequencePlan, registry: Registry) -> list[Problem]:
    """Find what would be told only when the first data set has been learned, be the first recipe wrong or not."""
    filled, unfilled = fill_in(plan.values_of(0, ""), plan.revisions[0], registry)
    backbone = {name: filled["backbone"][name] for name in ("name", "options")}
    strategy = registry.strategies.get(str(filled["strategy"]["name"]))
    problems: list[Problem] = []
    if strategy is not None and not strategy.merges and len(plan.revisions) > 1:
        what = f"{strategy.title} cannot be taken out of the backbone or folded in, and no later run can start from it."
        problems.append(Problem("strategy.name", what, "Choose another strategy."))
    told = {problem.where for problem in unfilled}
    for number, revision in enumerate(plan.revisions[1:], 1):
        values = plan.values_of(number, _EARLIER)
        values["backbone"] = {**backbone, "start_from": _EARLIER}
        made = {_EARLIER: with_classes(plan.revisions[number - 1].target_info(), plan.classes)}
        try:
            complete(values, revision, registry, made=made)
        except ProblemsError as error:
            found = [problem for problem in error.problems if problem.where not in told]
            problems += [problem for problem in found if problem not in problems]
    return problems


def _given(protection: Protection, before: Sequence[Revision], run: str) -> dict[str, Any]:
    """The options of what protects that follow from what was learned."""
    last = _reference(before[-1]) if before else ""
    given: dict[Protection, dict[str, Any]] = {
        "nothing": {},
        "replay": {"datasets": written_names([_reference(one) for one in before])},
        "ewc": {"run": run, "dataset": last},
        "lwf": {"teacher": run},
    }
    return given[protection]


def _reference(revision: Revision) -> str:
    return f"{revision.dataset}@{revision.id}"
