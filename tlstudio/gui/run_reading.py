"""What the Runs page reads of a run: results, curves, recipe. Called off the window's thread; no widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlstudio.api import TASKS, TLStudioError
from tlstudio.engine.events import EpochEnded, RunEnded, RunStarted, StepLogged, from_json
from tlstudio.gui.step_values import told_by
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.figures import setting_text
from tlstudio.store.run_record import RunSummary

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.evaluate import Evaluation
    from tlstudio.engine.sequences import SequenceResult
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The curves of a run.

    Attributes:
        train_loss: Epoch and loss of each logged step, ``[N, 2]``.
        told: Epoch and value of all else that steps tell: by what it is (see `tlstudio.gui.step_values`) and by
            curve, each ``[N, 2]``.
        validation: Epoch and value by metric, each ``[E, 2]``.
        best_epoch: The epoch that was kept; 0: none.
        traceback: What the last event says of a bug.
        monitor: The metric that has chosen the best epoch; empty: not known.
    """

    train_loss: Points
    told: Mapping[str, Mapping[str, Points]] = field(default_factory=dict)
    validation: Mapping[str, Points] = field(default_factory=dict)
    best_epoch: int = 0
    traceback: str = ""
    monitor: str = ""


@dataclass(frozen=True)
class RunDetails:
    """Everything that is shown of one run.

    Attributes:
        summary: Its row of the table.
        recipe: Its recipe as plain values.
        recipe_text: Its recipe as it is in the file.
        curves: Its curves.
        evaluation: Its results, or `None` where it has none.
        revision: Its data, or `None` where they are gone.
        has_checkpoint: Whether it has kept an epoch, which can be evaluated.
        can_go_on: Whether it has ended too early and can go on.
        problems: Sentences on what cannot be read.
        lineage: Titles of the runs that it goes back to, the oldest first.
        missing: Sentences on plugins that it was made with and that are gone: it can be read, and no more.
        made: The sentence that says how it was made of other runs; empty: it was trained.
        has_start: Whether it has kept the weights that its fine-tuning began with.
        sequence: What was measured of the sequence of data sets that it ends, if it does.
    """

    summary: RunSummary
    recipe: Mapping[str, Any]
    recipe_text: str
    curves: Curves
    evaluation: Evaluation | None = None
    revision: Revision | None = None
    has_checkpoint: bool = False
    can_go_on: bool = False
    problems: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    made: str = ""
    sequence: SequenceResult | None = None
    has_start: bool = False

    @property
    def kept_validation(self) -> Mapping[str, float]:
        """Validation metrics of the kept epoch as they were told while it trained; empty if there are none."""
        epoch = self.curves.best_epoch
        return {
            name: float(points[points[:, 0] == epoch][-1, 1])
            for name, points in self.curves.validation.items()
            if bool((points[:, 0] == epoch).any())
        }


def predicts(run: RunSummary, registry: Registry) -> bool:
    """Whether a run has ended with a model that predicts: one that has learned without labels does not."""
    head = registry.heads.get(run.head)
    return bool(run.metrics) and run.status != "running" and head is not None and TASKS[head.task].label != "none"


def snapshot_count(folder: Path) -> int:
    """How many snapshots the run in a folder has kept, which can predict together."""
    return sum(1 for path in (folder / "checkpoints").glob("snapshot-*") if path.is_dir())


def can_go_on(run: Run, status: str) -> bool:
    """Whether a run that has ended in this status has a checkpoint to go on from."""
    return status in ("cancelled", "failed", "interrupted") and run.can_go_on


def read_curves(run: Run) -> Curves:
    """Read the curves of a run from its events; lines that are no events are left out."""
    steps: list[tuple[float, float]] = []
    told: dict[str, dict[str, list[tuple[float, float]]]] = {}
    validation: dict[str, list[tuple[float, float]]] = {}
    best, traceback, monitor = 0, "", ""
    for line in run.event_lines():
        try:
            event, _ = from_json(line)
        except ValueError:
            continue
        if isinstance(event, StepLogged):
            steps.append((event.epoch, event.loss))
            for thing, values in told_by(event).items():
                for name, value in values.items():
                    told.setdefault(thing, {}).setdefault(name, []).append((event.epoch, value))
        elif isinstance(event, EpochEnded):
            best = event.best_epoch
            for name, value in event.validation.items():
                validation.setdefault(name, []).append((event.epoch, value))
        elif isinstance(event, RunStarted):
            monitor = event.monitor
        elif isinstance(event, RunEnded):
            traceback = event.traceback
    return Curves(
        _points(steps),
        {thing: {name: _points(values) for name, values in curves.items()} for thing, curves in told.items()},
        {name: _points(values) for name, values in validation.items()},
        best,
        traceback,
        monitor,
    )


def _points(values: Sequence[tuple[float, float]]) -> Points:
    return np.asarray(values, dtype=np.float64).reshape(-1, 2)


def read_details(project: Project, summary: RunSummary, registry: Registry, *, with_data: bool = True) -> RunDetails:
    """Read a run; what cannot be read is left out and told in `problems`.

    Args:
        project: Its project.
        summary: Its row of the table.
        registry: The plugins that are loaded.
        with_data: Whether results and data are wanted, too.
    """
    from tlstudio.engine.derivation import read_derivation
    from tlstudio.engine.evaluate import read_evaluation
    from tlstudio.engine.sequences import read_sequence
    from tlstudio.engine.used_data import revision_of
    from tlstudio.engine.used_plugins import missing_plugins

    run = project.run(summary.id)
    problems: list[str] = []
    recipe: dict[str, Any] = {}
    text = ""
    try:
        recipe = run.read_recipe()
        text = run.recipe_path.read_text(encoding="utf-8")
    except (TLStudioError, OSError) as error:
        problems.append(str(error))
    made = ""
    try:
        derivation = read_derivation(run)
        made = derivation.sentence if derivation else ""
    except TLStudioError as error:
        problems.append(str(error))
    evaluation, revision = None, None
    if with_data:
        split = "test" if "test" in summary.metrics else "validation"
        if split in summary.metrics:
            try:
                evaluation = read_evaluation(run, split)
            except TLStudioError as error:
                problems.append(str(error))
        try:
            revision = revision_of(run, project)
        except TLStudioError as error:
            problems.append(str(error))
    goes_on = can_go_on(run, summary.status)
    return RunDetails(
        summary,
        recipe,
        text,
        read_curves(run),
        evaluation,
        revision,
        has_checkpoint=run.best_checkpoint.is_dir(),
        can_go_on=goes_on,
        problems=tuple(problems),
        lineage=_lineage(run, registry),
        missing=tuple(missing_plugins(run, registry, trains=goes_on)),
        sequence=read_sequence(run),
        made=made,
        has_start=(run.folder / "checkpoints" / "start").is_dir(),
    )


def _lineage(run: Run, registry: Registry) -> tuple[str, ...]:
    from tlstudio.engine.source import lineage_of

    try:
        ancestors = lineage_of(run)
    except TLStudioError:  # its recipe cannot be read, which is told by itself
        return ()
    return tuple(
        f"{run_title(each.run, registry)} ({each.dataset})" if each.dataset else run_title(each.run, registry)
        for each in ancestors
    )


def differences(recipes: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """List the settings in which recipes differ.

    Args:
        recipes: Recipes as plain values.

    Returns:
        Dotted name of each setting that is not the same in all, with its value in each recipe (``"—"``: not set).
    """
    # A method whose options are all as recommended has none in the recipe, and is a difference nonetheless.
    flat = [{"methods": ", ".join(recipe.get("methods", {})) or "—"} | _flatten(recipe) for recipe in recipes]
    names = list(dict.fromkeys(name for each in flat for name in each))
    rows = [(name, [each.get(name, "—") for each in flat]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= _flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}".replace(".options.", ".")] = setting_text(value)
    return result
