"""Power cuts: what the disk has in the middle of a run is put back when that is over, and the run goes on with it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from tests.engine.conftest import Heard
from tlstudio.engine import execution
from tlstudio.engine.advise import complete
from tlstudio.engine.checkpoint import CheckpointState, Kind
from tlstudio.engine.events import Note, RunEnded, RunEvent, RunStarted, StepLogged
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.saving import Saver
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.project import Project


class WaitingSaver(Saver):
    """Has each checkpoint on the disk before the run goes on, so that it is known from which step one goes on."""

    def save(
        self, kinds: Sequence[Kind], model: nn.Module, state: CheckpointState, training: Mapping[str, Any]
    ) -> None:
        """Write checkpoints, and wait for them."""
        super().save(kinds, model, state, training)
        self.finish()


@dataclass(frozen=True)
class Cut:
    """A run that was gone on with.

    Attributes:
        step: The step from which it went on.
        heard: What it has told.
    """

    step: int
    heard: Heard


def at_step(number: int) -> Callable[[RunEvent], bool]:
    """The moment when a step is made, and its checkpoint is not: what is on the disk is that of the step before."""
    return lambda event: isinstance(event, StepLogged) and event.step == number


def gone_on_with(
    project: Project,
    registry: Registry,
    recipe: Mapping[str, Any],
    *moments: Callable[[RunEvent], bool],
) -> tuple[Heard, list[Cut]]:
    """Train, and go on from what was on the disk at some moments; all must end bit for bit alike.

    Args:
        project: The project, with the data set that the recipe names, or ``shapes``.
        registry: The components.
        recipe: What to train; a checkpoint is made after each step.
        moments: The power is lost at the first event for which one of them holds, each in a life of its own.

    Returns:
        What the run has told that nobody touched, and what each became that was cut off.
    """
    training = {**recipe["training"], "checkpoint_every": 0}
    revision = project.dataset(recipe["dataset"].get("name", "shapes"))
    completed = complete({**recipe, "training": training}, revision, registry)
    kept = [project.folder / f"cut-{number}" for number in range(len(moments))]
    whole = Heard()

    def listen(event: RunEvent) -> None:
        whole(event)
        for moment, place in zip(moments, kept, strict=True):
            if moment(event) and not place.exists():
                shutil.copytree(project.runs_folder / whole.of(RunStarted)[0].run, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "Saver", WaitingSaver)
        run = execute_run(completed, project, registry, on_event=listen, control=whole.control)
    assert whole.of(RunEnded)[0].status == "done", whole.of(RunEnded)[0]
    expected = outcome_of(run)
    cuts = []
    for place in kept:
        shutil.rmtree(run.folder)
        place.rename(run.folder)
        # The process that wrote "running" is this one, which is still there: let the run look like a dead one's.
        run.write_json("run.json", {**run.read_json("run.json"), "process": None})
        assert project.run(run.id).status == "interrupted"
        heard = Heard()
        again = resume_run(run.id, project, registry, on_event=heard, control=heard.control)
        assert again.status == "done", heard.of(RunEnded)[0]
        assert expected.difference(outcome_of(again)) == ""
        steps = [re.fullmatch(r"The run goes on from step (\d+)\.", note.text) for note in heard.of(Note)]
        (step,) = [int(found[1]) for found in steps if found]
        cuts.append(Cut(step, heard))
    return whole, cuts
