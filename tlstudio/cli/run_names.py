"""How a run is named on the command line: by its id, or as the latest or the best."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlstudio.cli.metrics import LESS_IS_BETTER, judging_metric
from tlstudio.cli.output import Output

if TYPE_CHECKING:
    from tlstudio.api import Modality, Problem, Task
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run
    from tlstudio.store.run_record import RunSummary

Fits = Callable[["RunSummary"], int]
Reads = Callable[["Run"], bool]


def any_run(_run: RunSummary) -> int:
    """Take every run."""
    return 1


def find_runs(
    project: Project, names: Sequence[str], output: Output, against: Callable[[Sequence[Run]], Sequence[Problem]]
) -> list[Run]:
    """Find runs that are to be put together, each by its name, as `find_run` does.

    Args:
        project: The project.
        names: Their names.
        output: Where to tell which were taken.
        against: Says what speaks against those that there are, where one is not.

    Raises:
        RunError: The only one is not there.
        ProblemsError: With each that is not there, and what speaks against the others.
    """
    from tlstudio.api import Problem, ProblemsError, RunError
    from tlstudio.engine.soups import NOT_TOGETHER

    if len(names) == 1:
        return [find_run(project, names[0], output)]
    found: list[Run] = []
    problems: list[Problem] = []
    for name in names:
        try:
            found.append(find_run(project, name, output))
        except RunError as error:
            problems.append(Problem("", error.what, error.remedy))
    if problems:
        raise ProblemsError(NOT_TOGETHER, [*problems, *against(found)])
    return found


def is_word(name: str) -> bool:
    """Whether a run is named by what it is, ``latest`` or ``best``, and not by its id."""
    return name.partition(":")[0] in ("latest", "best")


def find_run(project: Project, name: str, output: Output, fits: Fits = any_run, reads: Reads | None = None) -> Run:
    """Find a run by its name; which one ``latest`` or ``best`` was is told, and of which data set.

    Args:
        project: The project.
        name: The id of a run, ``latest`` of those that were begun, or ``best`` of those that are finished; of what was
            trained on last, or with ``:DATASET`` behind it of that data set.
        output: Where to tell which was taken.
        fits: How well a run can be meant, by what is to be done with it; those are looked at that can be best. Where
            none can, what is wrong with the run is told when it is used.
        reads: Whether a run can read what it is asked about. Of several data sets, the one that was trained on last of
            those whose run can is taken.

    Raises:
        RunError: There is none; the sentence names near ones.
    """
    from tlstudio.api import RunError
    from tlstudio.api.wording import did_you_mean

    if not is_word(name):
        return project.run(name)
    word, _, dataset = name.partition(":")
    kind = "finished " if word == "best" else ""
    runs = [run for run in project.runs() if (run.status in ("done", "stopped") if kind else run.status != "queued")]
    if not runs:
        what = f"The project {project.name} has no {kind}run yet."
        raise RunError(what, f"Train one: tlstudio train {project.folder}.", path=project.runs_folder)
    asked = [run for run in runs if dataset in ("", run.dataset)]
    if not asked:
        what = f"No {kind}run of the project {project.name} has learned the data set '{dataset}'."
        raise RunError(what, did_you_mean(dataset, [run.dataset for run in runs], "There are runs of"))
    most = max(map(fits, asked))
    able = [run for run in asked if fits(run) == most]
    by_data: dict[str, list[RunSummary]] = {}
    for run in able:
        by_data.setdefault(run.dataset, []).append(run)
    chosen = [alike[0] if word == "latest" else best_of(alike) for alike in by_data.values()]
    found = chosen[0]
    if reads is not None and len(chosen) > 1:
        found = next((run for run in chosen if reads(project.run(run.id))), found)
    told = f"Taken as {name}: run {found.id} of the data set '{found.dataset}'."
    if others := [run.dataset for run in chosen if run.dataset != found.dataset]:
        told += f" Of others: {', '.join(f'{word}:{other}' for other in others[:3])}{', ...' if others[3:] else ''}"
    output.hint(told)
    return project.run(found.id)


def best_of(runs: Sequence[RunSummary]) -> RunSummary:
    """The best run by validation, of those that have the first one's data set and metric."""
    first = runs[0]
    metric = judging_metric(first)
    sign = -1 if metric in LESS_IS_BETTER else 1
    rivals = [
        (sign * value, run)
        for run in runs
        if run.dataset == first.dataset
        and math.isfinite(value := run.metrics.get("validation", {}).get(metric, math.nan))
    ]
    return max(rivals, key=lambda rival: rival[0], default=(0.0, first))[1]


def taking(registry: Registry, able: Callable[[Modality, Task], int | None]) -> Fits:
    """Tell by what a run takes and is for how well it can be meant.

    Args:
        registry: The components.
        able: Gives 0, or raises a `TLStudioError`, where a model of this kind cannot be meant, and 1 or nothing where
            it can, or more where it can be meant before others.
    """
    from tlstudio.api import TLStudioError

    @functools.cache
    def fits(backbone: str, head: str) -> int:
        try:
            said = able(registry.backbone(backbone).modality, registry.head(head).task)
        except TLStudioError:
            return 0
        return 1 if said is None else int(said)

    return lambda run: fits(run.backbone, run.head)


@contextlib.contextmanager
def told_of(run: Run | None, folder: Path, how: str) -> Iterator[None]:
    """Say in the errors of the block which run was asked, and how to ask another.

    Args:
        run: The run; `None`: none was.
        folder: Its project.
        how: How another is given: ``"with --run"``.
    """
    from tlstudio.api import ProblemsError, RunError, TLStudioError

    try:
        yield
    except TLStudioError as error:
        if run is None or isinstance(error, ProblemsError):  # a list of what is wrong with the items
            raise
        what = f"{error.what} The model is that of run {run.id}."
        remedy = f"{error.remedy} Or choose another run {how}: tlstudio runs {folder} lists them."
        raise RunError(what, remedy.strip(), field=error.field) from error
