"""What the Runs page tells of several runs: whether they fit together. Called off the window's thread; no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from tlstudio.api import ProblemsError, TLStudioError
from tlstudio.gui.run_reading import predicts
from tlstudio.gui.titles import run_title

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
    ended = ("done", "stopped")  # of others, that is the reason
    silent = [run for run in runs if run.status in ended and not predicts(run, registry)]
    nothing = (_tr("{0} has nothing to predict.").format(run_title(run.id, registry)) for run in silent)
    return Fit(soup, (*ensemble, *nothing))


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
