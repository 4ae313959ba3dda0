"""What the Runs page tells of several runs: whether they fit together, and which hold other folds out. No widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication

from tlstudio.api import ProblemsError, TLStudioError
from tlstudio.gui.run_reading import predicts
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.project_choice import ENDED_WELL

if TYPE_CHECKING:
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run_record import RunSummary


@dataclass(frozen=True)
class Fit:
    """What speaks against putting several runs together, in sentences; empty: nothing.

    Attributes:
        soup: Against the average of their weights.
        ensemble: Against letting them predict together.
    """

    soup: tuple[str, ...] = ()
    ensemble: tuple[str, ...] = ()


def read_fit(project: Project, runs: Sequence[RunSummary], registry: Registry) -> Fit:
    """Look whether several runs can be put together.

    Args:
        project: Their project.
        runs: Their rows of the table.
        registry: The plugins that are loaded.
    """
    soup = _against(project, runs, registry, same_weights=True)
    if not project.writable:
        soup = (_tr("The project is open for reading only: no run can be made in it."), *soup)
    ensemble = _against(project, runs, registry, same_weights=False)
    silent = [run for run in runs if run.status in ENDED_WELL and not predicts(run, registry)]
    nothing = (_tr("{0} has nothing to predict.").format(run_title(run.id, registry)) for run in silent)
    return Fit(soup, (*ensemble, *nothing))


def find_folds(project: Project, run: RunSummary, recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The runs that differ from one in nothing but the fold that they hold out: of each fold the newest that is done.

    Args:
        project: Their project.
        run: A run.
        recipe: Its recipe as plain values.

    Returns:
        Their ids in the order of their folds, the run among them; none where the data were not divided, or where
        there is no other.
    """
    if not recipe.get("dataset", {}).get("folds") or run.status not in ENDED_WELL:
        return ()
    found = {recipe["dataset"].get("fold", 0): run.id}
    for one in project.runs():
        if one.status not in ENDED_WELL or one.made_by or _kind(one) != _kind(run):
            continue
        try:
            other = project.run(one.id).read_recipe()
        except TLStudioError:  # it is listed as damaged
            continue
        if _without_fold(other) == _without_fold(recipe):
            found.setdefault(other["dataset"].get("fold", 0), one.id)
    return tuple(found[fold] for fold in sorted(found)) if len(found) > 1 else ()


def _kind(run: RunSummary) -> tuple[object, ...]:
    return run.dataset, run.revision, run.backbone, run.head, run.strategy, run.methods


def _without_fold(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {**recipe, "dataset": {**recipe["dataset"], "fold": 0}}


def _against(
    project: Project, runs: Sequence[RunSummary], registry: Registry, *, same_weights: bool
) -> tuple[str, ...]:
    from tlstudio.engine.soups import check_alike

    try:
        check_alike([project.run(run.id) for run in runs], registry, same_weights=same_weights)
    except ProblemsError as error:
        found = [f"{problem.where}: {problem.what}" if problem.where else problem.what for problem in error.problems]
    except TLStudioError as error:
        found = [error.what]
    else:
        found = []
    for run in runs:
        found = [text.replace(run.id, run_title(run.id, registry)) for text in found]
    return tuple(found)


def _tr(text: str) -> str:
    return QCoreApplication.translate("RunTogether", text)
