"""A disk that vanishes in the middle of a run makes it wait; a run that is deleted ends. Neither leaves a phantom."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import nn

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import RunError
from tlstudio.engine.advise import complete
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState
from tlstudio.engine.child import was_deleted
from tlstudio.engine.events import Paused, Resumed, RunEnded, RunEvent, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.run_queue import add_to_queue, work_off
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project
from tlstudio.store.run import Run


class Mount(Heard):
    """Takes the disk of a project away at a step, as a mount goes: its empty place stays. Brings it back at a pause."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__()
        self._folder, self._away, self._step = folder, folder.with_name("away"), step
        self.left_behind: list[Path] = []

    def __call__(self, event: RunEvent) -> None:
        super().__call__(event)
        if isinstance(event, StepLogged) and event.step == self._step and not self._away.exists():
            self._folder.rename(self._away)
            self._folder.mkdir()
        if isinstance(event, Paused):
            self.left_behind += self._folder.rglob("*")
            self._folder.rmdir()
            self._away.rename(self._folder)


def tiny_recipe(project: Project, registry: Registry, strategy: str, **training: Any) -> Recipe:
    options = {"epochs": 3, "batch_size": 8, "threads": 1, **training}
    values = {"backbone": TINY_VISION, "strategy": strategy, "training": options}
    return complete(values, project.dataset("shapes"), registry)


def train(project: Project, registry: Registry, heard: Heard, strategy: str, **training: Any) -> Run:
    recipe = tiny_recipe(project, registry, strategy, **training)
    return execute_run(recipe, project, registry, on_event=heard, control=heard.control)


@pytest.mark.parametrize(
    ("strategy", "training"),
    [
        pytest.param("linear_probe", {"checkpoint_every": 0}, id="a checkpoint"),
        pytest.param("full", {"checkpoint_every": 1000}, id="an image"),
        pytest.param("full", {"checkpoint_every": 1000, "num_workers": 1}, id="an image in a process"),
    ],
)
def test_a_run_whose_disk_was_away_ends_as_one_whose_disk_stayed(
    shapes_project: Project, registry: Registry, strategy: str, training: dict[str, Any]
) -> None:
    expected = train(shapes_project, registry, Heard(), strategy, **training)
    mount = Mount(shapes_project.folder, step=2)
    run = train(shapes_project, registry, mount, strategy, **training)
    assert mount.left_behind == []
    assert len(mount.of(Paused)) == len(mount.of(Resumed)) == 1
    assert "bring the disk back" in mount.of(Paused)[0].why.lower()
    assert run.status == "done", mount.of(RunEnded)
    assert outcome_of(expected).difference(outcome_of(run)) == ""


def test_an_image_that_is_gone_alone_ends_the_run(shapes_project: Project, registry: Registry, heard: Heard) -> None:
    media = shapes_project.dataset("shapes").folder / "media"
    sample = shapes_project.dataset("shapes").sample(int(shapes_project.dataset("shapes").indices("train")[0]))
    assert sample.image is not None
    assert sample.image.is_relative_to(media)
    sample.image.unlink()
    run = train(shapes_project, registry, heard, "full")
    assert run.status == "failed"
    assert "no longer there" in run.summary().error


def test_a_run_that_was_deleted_does_not_come_back_with_its_next_checkpoint(tmp_path: Path) -> None:
    folder, model = tmp_path / "run" / "checkpoints", nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    folder.mkdir(parents=True)
    checkpoints = Checkpoints(folder, {"0.weight", "0.bias"})
    checkpoints.save_base(model)
    shutil.rmtree(folder.parent)
    with pytest.raises(RunError, match="does not exist"):
        checkpoints.save("last", checkpoints.snapshot(model, CheckpointState(1, 1), {"kept": 0}))
    with pytest.raises(RunError, match="does not exist"):
        checkpoints.save_base(model)
    (tmp_path / "run").mkdir()  # as while its files are deleted one after the other
    with pytest.raises(RunError, match="does not exist"):
        checkpoints.save_base(model)
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


def test_a_run_was_deleted_if_its_project_is_there_without_it(shapes_project: Project, registry: Registry) -> None:
    run = add_to_queue(tiny_recipe(shapes_project, registry, "full"), shapes_project)
    project = shapes_project.folder
    away = project.with_name("away")
    assert not was_deleted(run)
    project.rename(away)
    assert not was_deleted(run), "it is away with its disk"
    project.mkdir()
    assert not was_deleted(run), "the place of the disk stays"
    project.rmdir()
    away.rename(project)
    assert not was_deleted(run)
    shutil.rmtree(run.folder)
    assert was_deleted(run)


@pytest.mark.parametrize("notices", [True, False])
def test_a_run_that_is_deleted_while_its_process_trains_ends_it_and_the_queue_goes_on(
    *, notices: bool, shapes_project: Project, registry: Registry, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlstudio.engine.executors.DELETED_SECONDS", 0.0)
    if not notices:
        monkeypatch.setattr("tlstudio.engine.executors.CANCEL_SECONDS", 0.5)
    first = add_to_queue(tiny_recipe(shapes_project, registry, "full", epochs=5000), shapes_project)
    second = add_to_queue(tiny_recipe(shapes_project, registry, "full", epochs=1), shapes_project)
    marks: list[ProcessMark | None] = []

    def delete(event: RunEvent) -> None:
        heard(event)
        if isinstance(event, StepLogged) and not marks:
            marks.append(first.own_process)
            assert marks[0] is not None
            if not notices:
                psutil.Process(marks[0].pid).suspend()
            first.folder.rename(shapes_project.folder.with_name("bin"))

    work_off(shapes_project, on_event=delete, control=heard.control)
    assert marks[0] is not None
    assert marks[0].is_gone()
    assert not first.folder.exists()
    ended = heard.of(RunEnded)
    assert [(event.run, event.status) for event in ended] == [(first.id, "failed"), (second.id, "done")]
    assert "was deleted" in ended[0].error
    assert [row.id for row in shapes_project.runs()] == [second.id]
