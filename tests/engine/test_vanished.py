"""A disk that vanishes in the middle of a run makes it wait, and nothing is written where the disk has been."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import RunError
from tlstudio.engine.advise import complete
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState
from tlstudio.engine.events import Paused, Resumed, RunEnded, RunEvent, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
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


def train(project: Project, registry: Registry, heard: Heard, strategy: str, **training: Any) -> Run:
    options = {"epochs": 3, "batch_size": 8, "threads": 1, **training}
    values = {"backbone": TINY_VISION, "strategy": strategy, "training": options}
    recipe = complete(values, project.dataset("shapes"), registry)
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
