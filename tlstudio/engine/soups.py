"""Model soups: the weights of several runs from the same start, averaged. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlstudio.api import Options, Problem, ProblemsError, RunError, TargetInfo
from tlstudio.api.weights import sha256_of
from tlstudio.engine.averaging import Mixer
from tlstudio.engine.control import RunControl
from tlstudio.engine.derivation import Derivation
from tlstudio.engine.derived import Bench, Measured, Progress, Weights, ancestor, check_finished, plain_model, silent
from tlstudio.engine.recipe import Recipe, parse_recipe
from tlstudio.engine.target import read_target
from tlstudio.engine.used_data import check_unchanged, recorded_data
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

NOT_TOGETHER = "These runs cannot be put together."


@dataclass(frozen=True, slots=True)
class Tasted:
    """A run that was considered for a soup.

    Attributes:
        run: Its id.
        measured: What was measured of it alone.
        taken: Whether it is in the soup.
    """

    run: str
    measured: Measured
    taken: bool


@dataclass(frozen=True, slots=True)
class Soup:
    """A soup that is in place, ready to be written.

    Attributes:
        tasted: The runs, the best on the validation split first.
        measured: What was measured of the soup.
        monitor: The metric by which the runs were put in order.
        greedy: Whether a run was taken only where the soup did not become worse.
        statistics: Whether running statistics of BatchNorm were measured anew.
    """

    tasted: tuple[Tasted, ...]
    measured: Measured
    monitor: str
    greedy: bool
    statistics: bool


def check_alike(runs: Sequence[Run], registry: Registry, *, same_weights: bool) -> None:
    """Make sure that runs can be put together.

    Args:
        runs: The runs.
        registry: The components.
        same_weights: Whether their weights are averaged, so that backbone and head must be the same; else it is enough
            that they answer the same question about the same data.

    Raises:
        ProblemsError: With everything that speaks against it.
    """
    problems = []
    if len(runs) < 2:
        problems.append(Problem("", "At least two runs are put together.", "Name more."))
    problems += what_differs(runs, registry, same_weights=same_weights)
    for run in runs[1:] if same_weights and not problems else ():
        if asset_hashes(run) != asset_hashes(runs[0]):
            what = f"Its backbone has seen other data before it was trained than that of run {runs[0].id}."
            problems.append(Problem(run.id, what, "Choose runs that have learned from the same samples."))
    if problems:
        raise ProblemsError(NOT_TOGETHER, problems)


def what_differs(runs: Sequence[Run], registry: Registry, *, same_weights: bool) -> list[Problem]:
    """Say which runs are named twice or not trained to their end, and what the others do not have in common.

    Args:
        runs: The runs, as many as there are.
        registry: The components.
        same_weights: See `check_alike`.
    """
    problems = []
    if twice := sorted({run.id for run in runs if sum(run.id == one.id for one in runs) > 1}):
        problems.append(Problem("", f"{', '.join(twice)} is named more than once.", "Name each run once."))
    read: list[tuple[str, Recipe, TargetInfo]] = []
    for run in {run.id: run for run in runs}.values():
        try:
            check_finished(run)
            read.append((run.id, parse_recipe(run.read_recipe()), read_target(run)))
        except RunError as error:
            problems.append(Problem("", error.what, error.remedy))
    content = {run.id: recorded_data(run) for run in runs}
    for run_id, recipe, target in read[1:]:
        first = read[0]
        for what, mine, theirs in (
            ("data set", _data(first[1]), _data(recipe)),
            *_contents(content[first[0]], content[run_id], recipe),
            ("task", first[2].task, target.task),
            ("classes", ", ".join(first[2].classes), ", ".join(target.classes)),
            *(_network(first[1], recipe, registry) if same_weights else ()),
            *(_folds(first[1], recipe) if same_weights else ()),
        ):
            if mine != theirs:
                told = f" ({_cut(theirs)}, not {_cut(mine)})" if mine and theirs else ""
                sentence = f"It has another {what} than run {first[0]}{told}."
                problems.append(Problem(run_id, sentence.replace("another classes", "other classes")))
    return problems


def asset_hashes(run: Run) -> dict[str, str]:
    """Hashes of what the backbone of a run needs besides its weights, such as the columns of a table."""
    files = (path for path in sorted(run.assets.rglob("*")) if path.is_file())
    return {path.relative_to(run.assets).as_posix(): sha256_of(path) for path in files}


def _folds(one: Recipe, other: Recipe) -> list[tuple[str, str, str]]:
    """The fold that two recipes hold out, and the seed that draws it: by another one, these are other samples."""
    mine, theirs = (f"{data.fold} of {data.folds}" if data.folds else "none" for data in (one.dataset, other.dataset))
    found = [("fold of the data", mine, theirs)]
    if one.dataset.folds and other.dataset.folds:
        seeds = str(one.training.seed), str(other.training.seed)
        found.append(("seed, by which the folds are drawn,", *seeds))
    return found


def _data(recipe: Recipe) -> str:
    return f"{recipe.dataset.name} {recipe.dataset.revision}"


def _contents(one: Mapping[str, str], other: Mapping[str, str], recipe: Recipe) -> list[tuple[str, str, str]]:
    """What the data set of a recipe held for two runs, where both have kept its hash."""
    name = recipe.dataset.reference
    return [("data set of the same name", one[name][:8], other[name][:8])] if name in one and name in other else []


def _network(one: Recipe, other: Recipe, registry: Registry) -> list[tuple[str, str, str]]:
    """Backbone and head of two recipes, each with the options that shape it."""
    found = [
        ("backbone", one.backbone.name, other.backbone.name),
        ("head", one.head.name, other.head.name),
    ]
    if one.backbone.name == other.backbone.name:
        free, known = registry.backbone(one.backbone.name).free_options, registry.backbone(one.backbone.name).Options
        mine, theirs = (_options(known, recipe.backbone.options) for recipe in (one, other))
        found += [(f"backbone.{name}", mine[name], theirs[name]) for name in mine if name not in free]
        found.append(("start", one.backbone.start_from, other.backbone.start_from))
    return found


def _options(known: type[Options], values: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in known.model_validate(values).model_dump().items()}


def _cut(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


class Kettle:
    """Makes soups of runs (Wortsman et al. 2022, arXiv:2203.05482).

    Adapters are folded in first. The uniform soup is the mean of all. The greedy one (recipe 1 of the paper) begins
    with the best run on the validation split and takes the others in their order, each only where the mean with it is
    no worse there.

    Args:
        runs: Finished runs of the same network on the same data.
        project: Their project.
        registry: The components.
        control: Cancel.
        on_progress: Hears how far a measurement is.

    Raises:
        ProblemsError: They cannot be averaged.
        DataError: Their data set is gone, or one has learned from another of this name.
        RunError: One was not trained to its end, or is damaged.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        project: Project,
        registry: Registry,
        *,
        control: RunControl | None = None,
        on_progress: Progress = silent,
    ) -> None:
        self._began = time.monotonic()
        check_alike(runs, registry, same_weights=True)
        self._runs = list(runs)
        self._bench = Bench(runs[0], project, registry, control=control, on_progress=on_progress)
        for run in runs:
            check_unchanged(self._bench.revision, recorded_data(run))
        others: list[Weights] = [dict(plain_model(run, registry)[1].state_dict()) for run in runs[1:]]
        self._mixer = Mixer(self._bench, [self._bench.weights, *others])

    def cook(self, *, greedy: bool) -> Soup:
        """Make a soup and measure it on the validation and test splits.

        Raises:
            Interrupted: Cancel was asked for.
        """
        numbers = range(len(self._runs))
        alone = [self._taste([number], f"Run {self._runs[number].id}") for number in numbers]
        order, left = [], list(numbers)
        while left:
            order.append(left.pop(self._bench.best([alone[number] for number in left])))
        monitor, mode = self._bench.monitor()
        taken, soup = ([order[0]], alone[order[0]]) if greedy else (order, self._taste(order, "The soup"))
        for number in order[1:] if greedy else ():
            tried = self._taste([*taken, number], f"The soup with run {self._runs[number].id}")
            if not _is_worse(tried, soup, monitor, mode):
                taken, soup = [*taken, number], tried
        self._mix(taken)
        self._taken = taken
        self._seconds = time.monotonic() - self._began
        tasted = tuple(Tasted(self._runs[number].id, alone[number], number in taken) for number in order)
        return Soup(tasted, soup, monitor, greedy, self._mixer.measures_statistics and len(taken) > 1)

    def save(self, soup: Soup) -> Run:
        """Write the soup that was made last as a run of its own."""
        names = [tasted.run for tasted in soup.tasted if tasted.taken]
        kind = "Greedy" if soup.greedy else "Uniform"
        derivation = Derivation(
            made_by="soup",
            sentence=f"{kind} soup: the mean of the weights of {len(names)} of {len(soup.tasted)} runs "
            f"({', '.join(names)}).",
            parents=tuple(ancestor(self._runs[number]) for number in self._taken),
            options={"greedy": soup.greedy},
            curve=tuple(
                {"run": tasted.run, "taken": tasted.taken, "metrics": tasted.measured.metrics} for tasted in soup.tasted
            ),
        )
        return self._bench.save(derivation, soup.measured, seconds=self._seconds)

    def _taste(self, numbers: Sequence[int], what: str) -> Measured:
        self._mix(numbers)
        return self._bench.measure(what)

    def _mix(self, numbers: Sequence[int]) -> None:
        self._mixer.mix([1.0 / len(numbers) if number in numbers else 0.0 for number in range(len(self._runs))])


def _is_worse(one: Measured, other: Measured, monitor: str, mode: str) -> bool:
    """Whether a model is worse than another one by the metric to watch alone."""
    mine, theirs = (measured.outputs["validation"].metrics[monitor] for measured in (one, other))
    return not (mine >= theirs if mode == "max" else mine <= theirs)
