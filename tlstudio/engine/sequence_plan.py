"""The plan to learn several data sets one after another, checked before the first run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tlstudio.api import DataError, Problem, ProblemsError, problems_of
from tlstudio.api.methods import written_names
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete, fill_in
from tlstudio.engine.assemble import fitted, preprocessor_of
from tlstudio.engine.recipe import Recipe, learned_from, mistakes, with_classes
from tlstudio.engine.sequences import Protection
from tlstudio.engine.source import runs_beside
from tlstudio.engine.start_from import starting_parts
from tlstudio.plugins import Registry

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
    def datasets(self) -> tuple[str, ...]:
        """The data sets as recipes name them, with their revisions."""
        return tuple(revision.reference for revision in self.revisions)

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
    last = before[-1].reference if before else ""
    given: dict[Protection, dict[str, Any]] = {
        "nothing": {},
        "replay": {"datasets": written_names([one.reference for one in before])},
        "ewc": {"run": run, "dataset": last},
        "lwf": {"teacher": run},
    }
    return given[protection]
