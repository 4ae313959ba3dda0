"""Several data sets learned one after another, and how much of the earlier ones is forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from tlstudio.api import DataError, Problem, ProblemsError, RunError
from tlstudio.api.methods import written_names
from tlstudio.data.revision import Revision
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import fitted, load_run_model, preprocessor_of, split_data
from tlstudio.engine.control import RunControl
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.events import RunEnded, RunEvent
from tlstudio.engine.execute import execute_run
from tlstudio.engine.measuring import run_split
from tlstudio.engine.method_checks import problems_to_come
from tlstudio.engine.recipe import learned_from, mistakes, parse_recipe
from tlstudio.engine.source import runs_beside
from tlstudio.engine.start_from import starting_parts
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

Protection = Literal["nothing", "replay", "ewc", "lwf"]
SEQUENCE_NAME = "sequence.json"
# Means over the classes would count those that a data set does not have.
_METRICS: Mapping[str, tuple[str, Literal["max", "min"]]] = {"classification": ("accuracy", "max")}


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """A sequence of data sets that was learned.

    Attributes:
        protection: What was done against forgetting.
        metric: Name of the metric in `matrix`.
        better: Whether more or less of it is better.
        datasets: The data sets in the order in which they were learned, as ``"name@r1"``.
        runs: Ids of the runs, in the same order.
        matrix: Row i holds the metric on the test splits of data sets 0 to N-1 after run i; `None`: not measured.
    """

    protection: Protection
    metric: str
    better: Literal["max", "min"]
    datasets: tuple[str, ...]
    runs: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]

    @property
    def average(self) -> float:
        """Mean of the metric over all data sets after the last run."""
        last = [value for value in self.matrix[-1] if value is not None]
        return sum(last) / len(last)

    @property
    def forgetting(self) -> float:
        """What was lost on the earlier data sets: the mean of the best that was ever reached minus what is left.

        Defined by Chaudhry et al. 2018 (arXiv:1801.10112, eq. 3); 0 where there is only one data set. Where less of the
        metric is better, the sign is turned, so that more is always more forgetting.
        """
        sign = 1.0 if self.better == "max" else -1.0
        count = len(self.matrix)
        lost = []
        for column in range(count - 1):
            before = [sign * value for row in self.matrix[column:-1] if (value := row[column]) is not None]
            left = self.matrix[-1][column]
            if before and left is not None:
                lost.append(max(before) - sign * left)
        return sum(lost) / len(lost) if lost else 0.0


def learn_in_sequence(
    project: Project,
    registry: Registry,
    revisions: Sequence[Revision],
    values: Mapping[str, Any],
    *,
    protection: Protection = "nothing",
    options: Mapping[str, Any] | None = None,
    on_event: Callable[[RunEvent], None],
    control: RunControl,
) -> SequenceResult:
    """Learn data sets one after another: each run starts from the one before, with its head.

    The head knows all classes from the beginning. What is measured is written into the folder of the last run.

    Args:
        project: The project, open for writing.
        registry: The components.
        revisions: The data sets in their order, two or more of the same modality and task.
        values: Recipe of each run, as far as it is given; the backbone is that of the first run.
        protection: What is done against forgetting, from the second run on.
        options: Options of that method.
        on_event: Hears every event of every run.
        control: Pause, stop and cancel.

    Raises:
        DataError: The data sets do not go together.
        ProblemsError: A recipe is wrong; also that of a later run, as far as it can be told before the first.
        RunError: A run has failed or was cancelled; those before it are kept.
    """
    classes = classes_of(revisions)
    _check_protection(values, classes, revisions, protection, options or {}, registry)
    runs: list[Run] = []
    matrix: list[tuple[float | None, ...]] = []
    monitor: tuple[str, Literal["max", "min"]] = ("loss", "min")
    for number, revision in enumerate(revisions):
        recipe = complete(
            _values(values, classes, revisions[:number], [run.id for run in runs], protection, options or {}),
            revision,
            registry,
        )
        ended: list[RunEnded] = []

        def hear(event: RunEvent, ended: list[RunEnded] = ended) -> None:
            if isinstance(event, RunEnded):
                ended.append(event)
            on_event(event)

        run = execute_run(recipe, project, registry, on_event=hear, control=control)
        if ended[-1].status not in ("done", "stopped"):
            raise RunError(
                ended[-1].error or f"Run {run.id} was {ended[-1].status}.",
                f"The {number} runs before it are kept.",
                path=run.folder,
            )
        runs.append(run)
        monitor, row = _measured(run, registry, revisions, control)
        matrix.append(row)
    result = SequenceResult(
        protection,
        *monitor,
        tuple(_reference(revision) for revision in revisions),
        tuple(run.id for run in runs),
        tuple(matrix),
    )
    runs[-1].write_json(SEQUENCE_NAME, {"format": 1, **asdict(result)})
    return result


def read_sequence(run: Run) -> SequenceResult | None:
    """Read what was measured of a sequence whose last run this is; `None` where it is none, or damaged."""
    try:
        values = run.read_json(SEQUENCE_NAME)
        rows = tuple(tuple(None if one is None else float(one) for one in row) for row in values["matrix"])
        names = tuple(map(str, values["datasets"])), tuple(map(str, values["runs"]))
        if not rows or any(len(row) != len(names[0]) for row in rows) or len(rows) != len(names[1]):
            return None
        better: Literal["max", "min"] = "min" if values["better"] == "min" else "max"
        return SequenceResult(values["protection"], str(values["metric"]), better, *names, rows)
    except (RunError, KeyError, TypeError, ValueError):
        return None


def classes_of(revisions: Sequence[Revision]) -> list[str]:
    """Name the classes of all data sets, in the order in which they come.

    Raises:
        DataError: There is one data set only, or they are not of one modality and task.
    """
    if len(revisions) < 2:
        raise DataError("A sequence needs two data sets or more.", "Name them in the order in which they are learned.")
    first = revisions[0]
    for revision in revisions[1:]:
        if (revision.modality, revision.task) != (first.modality, first.task):
            raise DataError(
                f"'{first.dataset}' and '{revision.dataset}' are not for the same task on the same kind of data.",
                "Choose data sets that one model could learn together.",
            )
    return list(dict.fromkeys(name for revision in revisions for name in revision.classes))


def _check_protection(
    values: Mapping[str, Any],
    classes: list[str],
    revisions: Sequence[Revision],
    protection: Protection,
    options: Mapping[str, Any],
    registry: Registry,
) -> None:
    """Refuse what would be told only when the first data set has been learned.

    Raises:
        ProblemsError: With everything that is wrong with the first recipe, or else with the protection of later runs.
    """
    first = complete(_values(values, classes, (), (), protection, options), revisions[0], registry)
    parts = fitted(starting_parts(first, registry, runs_beside(revisions[0])), learned_from(first, revisions[0]))
    preprocessor = preprocessor_of(parts)
    problems: list[Problem] = []
    for number in range(1, len(revisions)):
        try:
            preprocessor(revisions[number].sample(0), 0)
        except DataError as error:
            problems.append(Problem(revisions[number].dataset, error.what, error.remedy))
        for name, of_method in _added(revisions[:number], "the run before", protection, options).items():
            found = problems_to_come(name, of_method, first, "the run before", revisions[number], registry)
            problems += [problem for problem in found if problem not in problems]
    if problems:
        raise ProblemsError(mistakes(len(problems)), problems)


def _values(
    values: Mapping[str, Any],
    classes: list[str],
    before: Sequence[Revision],
    runs: Sequence[str],
    protection: Protection,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The recipe of the run that comes after some."""
    head = values.get("head", {})
    head = {"name": head} if isinstance(head, str) else dict(head)
    result = {**values, "head": {**head, "classes": classes}}
    if not runs:
        return result
    backbone = values.get("backbone", {})
    backbone = {} if isinstance(backbone, str) else {key: one for key, one in backbone.items() if key == "options"}
    result["backbone"] = {**backbone, "start_from": runs[-1]}
    result["head"]["take_over"] = True
    added = _added(before, runs[-1], protection, options)
    return {**result, "methods": {**values.get("methods", {}), **added}}


def _added(
    before: Sequence[Revision], run: str, protection: Protection, options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The method that protects what a run has learned, with its options."""
    added: dict[Protection, dict[str, dict[str, Any]]] = {
        "nothing": {},
        "replay": {"replay": {"datasets": written_names([_reference(one) for one in before]), **options}},
        "ewc": {"ewc": {"run": run, "dataset": _reference(before[-1]), **options}},
        "lwf": {"lwf": {"teacher": run, **options}},
    }
    return added[protection]


def _reference(revision: Revision) -> str:
    return f"{revision.dataset}@{revision.id}"


def _measured(
    run: Run, registry: Registry, revisions: Sequence[Revision], control: RunControl
) -> tuple[tuple[str, Literal["max", "min"]], tuple[float | None, ...]]:
    """Measure a run on the test split of each data set."""
    training = parse_recipe(run.read_recipe()).training
    parts, model = load_run_model(run, registry)
    device = torch.device(resolve_device(training.device))
    model.to(device)
    preprocessor = preprocessor_of(parts, assets=run.assets)

    monitor = _METRICS.get(parts.head.task, model.head.monitor)

    def values() -> Iterator[float | None]:
        for revision in revisions:
            if not len(revision.indices("test")):
                yield None
                continue
            data = split_data(revision, "test", model.head, preprocessor, batch_size=training.batch_size)
            outputs = run_split(model, model, data, device, lambda _done: control.check_cancelled())
            value = outputs.metrics.get(monitor[0], math.nan)
            yield value if math.isfinite(value) else None

    return monitor, tuple(values())
