"""A checkpoint is whole or not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tlstudio.api import RunError
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, has_checkpoint, load_checkpoint


def saved(folder: Path) -> tuple[Checkpoints, nn.Linear]:
    """A model with a checkpoint of its first epoch."""
    model = nn.Linear(64, 64)
    checkpoints = Checkpoints(folder, set(model.state_dict()))
    checkpoints.save("best", model, CheckpointState(1, 10, {"loss": 0.5}))
    return checkpoints, model


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_takes_no_more_is_told_and_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    import resource

    checkpoints, model = saved(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RunError, match="could not be written"):
            checkpoints.save("best", model, CheckpointState(2, 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(tmp_path, "best", model).epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_power_cut_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    _, model = saved(tmp_path)
    weight = model.weight.detach().clone()
    (tmp_path / "best").rename(tmp_path / ".best.old")
    nn.init.zeros_(model.weight)
    assert has_checkpoint(tmp_path, "best")
    assert load_checkpoint(tmp_path, "best", model).epoch == 1
    assert torch.equal(model.weight, weight)
