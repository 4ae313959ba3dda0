"""A checkpoint is whole, or known not to be."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tlstudio.api import RunError
from tlstudio.api.weights import sha256_of
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, has_checkpoint
from tlstudio.engine.checkpoint_reading import find_checkpoint, find_resumption, load_checkpoint


def saved(folder: Path) -> tuple[Checkpoints, nn.Linear]:
    """A model with a checkpoint of its first epoch."""
    model = nn.Linear(64, 64)
    checkpoints = Checkpoints(folder, set(model.state_dict()))
    checkpoints.save("best", checkpoints.snapshot(model, CheckpointState(1, 10, {"loss": 0.5})))
    return checkpoints, model


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_takes_no_more_is_told_and_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    import resource

    checkpoints, model = saved(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RunError, match="could not be written"):
            checkpoints.save("best", checkpoints.snapshot(model, CheckpointState(2, 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(tmp_path, "best", model).epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_checkpoints_are_not_written_through_a_link_over_those_of_another_run(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, model = saved(tmp_path / "other")
    (tmp_path / "sent").symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match="it is a link"):
        saved(tmp_path / "sent")
    assert load_checkpoint(tmp_path / "other", "best", model).epoch == 1
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["best"]


def test_a_power_cut_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    _, model = saved(tmp_path)
    weight = model.weight.detach().clone()
    (tmp_path / "best").rename(tmp_path / ".best.old")
    nn.init.zeros_(model.weight)
    assert has_checkpoint(tmp_path, "best")
    assert load_checkpoint(tmp_path, "best", model).epoch == 1
    assert torch.equal(model.weight, weight)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_every_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    _, model = saved(tmp_path)
    path = tmp_path / "best" / name
    whole = path.read_bytes()
    rng = torch.Generator().manual_seed(0)
    for _ in range(40):
        content = bytearray(whole)
        bit = int(torch.randint(len(whole) * 8, (1,), generator=rng))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            state = load_checkpoint(tmp_path, "best", model)
        except RunError:
            continue
        # White space of the manifest may change; what it says may not.
        assert name == "manifest.json"
        assert state.step == 10


def test_a_flipped_bit_in_what_never_changes_is_noticed_too(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    checkpoints = Checkpoints(tmp_path, {"1.weight", "1.bias"})
    checkpoints.save_base(model)
    checkpoints.save("best", checkpoints.snapshot(model, CheckpointState(1, 10)))
    assert load_checkpoint(tmp_path, "best", model).epoch == 1
    base = tmp_path / "base.safetensors"
    content = bytearray(base.read_bytes())
    content[-1] ^= 128
    base.write_bytes(content)
    with pytest.raises(RunError, match=r"base\.safetensors is damaged"):
        load_checkpoint(tmp_path, "best", model)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"files": {}, "base": None}, id="nothing"),
        pytest.param({"base": None}, id="no base"),
        pytest.param({"files": {"state.json": ""}}, id="one file"),
        pytest.param({"files": {"/dev/zero": "", "../../run.json": ""}}, id="files elsewhere"),
        pytest.param({"files": []}, id="no names"),
    ],
)
def test_a_manifest_that_does_not_name_all_files_and_no_others_is_not_believed(
    tmp_path: Path, change: dict[str, object]
) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    checkpoints = Checkpoints(tmp_path, {"1.weight", "1.bias"})
    checkpoints.save_base(model)
    checkpoints.save("best", checkpoints.snapshot(model, CheckpointState(1, 10)))
    path = tmp_path / "best" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match="cannot be loaded"):
        load_checkpoint(tmp_path, "best", model)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("[]", r"manifest\.json is no table of values"),
        ("[" * 100_000, "one of its files is nested too deeply"),
        ("{}", r"manifest\.json does not name all of its files"),
        ('{"files": [], "base": null}', r"manifest\.json does not name all of its files"),
    ],
)
def test_a_manifest_of_another_form_is_told_in_a_sentence(tmp_path: Path, written: str, sentence: str) -> None:
    _, model = saved(tmp_path)
    (tmp_path / "best" / "manifest.json").write_text(written)
    for read in (lambda: load_checkpoint(tmp_path, "best", model), lambda: find_checkpoint(tmp_path, "best")):
        with pytest.raises(RunError, match=f"cannot be loaded: {sentence}"):
            read()


@pytest.mark.parametrize(
    "state",
    [
        {"epoch": "a", "step": []},
        {"epoch": 1, "step": 1, "events": -5},
        {"epoch": 1, "step": 1, "metrics": "x"},
        {"epoch": 1, "step": 1, "metrics": {"loss": "x"}},
        {"epoch": 1},
        {"epoch": math.inf, "step": 1},
    ],
)
def test_a_checkpoint_that_says_what_no_run_has_written_is_not_believed(tmp_path: Path, state: object) -> None:
    _, model = saved(tmp_path)
    path, manifest = tmp_path / "best" / "state.json", tmp_path / "best" / "manifest.json"
    path.write_text(json.dumps(state))
    files = json.loads(manifest.read_text())["files"]
    manifest.write_text(json.dumps({"format": 1, "files": {**files, "state.json": sha256_of(path)}, "base": None}))
    with pytest.raises(RunError, match="cannot be loaded"):
        load_checkpoint(tmp_path, "best", model)


def test_of_the_last_checkpoints_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    checkpoints = Checkpoints(tmp_path, set(model.state_dict()))
    for step in (1, 2, 3):
        snapshot = checkpoints.snapshot(model, CheckpointState(0, step), {"kept": 0})
        checkpoints.save("last", snapshot)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "previous"]
    found, notes = find_resumption(tmp_path)
    assert (found is not None and found.state.step, notes) == (3, [])
    os.truncate(tmp_path / "last" / "model.safetensors", 10)
    found, notes = find_resumption(tmp_path)
    assert found is not None
    assert found.state.step == 2
    assert len(notes) == 1
    (tmp_path / "previous" / "manifest.json").unlink()
    assert find_resumption(tmp_path)[0] is None


def test_a_snapshot_does_not_change_with_the_model(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    checkpoints = Checkpoints(tmp_path, set(model.state_dict()))
    momentum = torch.ones(4)
    snapshot = checkpoints.snapshot(model, CheckpointState(0, 1), {"momentum": momentum, "kept": 0})
    before = model.weight.detach().clone()
    nn.init.zeros_(model.weight)
    momentum.zero_()
    checkpoints.save("last", snapshot)
    found, _ = find_resumption(tmp_path)
    assert found is not None
    assert torch.equal(found.model["weight"], before)
    assert torch.equal(found.training["momentum"], torch.ones(4))
