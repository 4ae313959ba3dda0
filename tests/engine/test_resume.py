"""A run that was cut off goes on from its last checkpoint as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import RunError
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import CheckpointSaved, EpochEnded, Note, Paused, Resumed, RunEnded, RunEvent, StepLogged
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.packing import pack, unpack
from tlstudio.engine.preflight import Preflight, preflight
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.project import Project
from tlstudio.store.run import Run


class PowerCut(BaseException):
    """Nothing in the engine catches it: the run folder stays as it is."""


def values(**training: Any) -> dict[str, Any]:
    options = {"epochs": 3, "batch_size": 8, "checkpoint_every": 0, **training}
    return {"backbone": TINY_VISION, "strategy": "full", "training": options}


def train(project: Project, registry: Registry, heard: Heard, recipe: dict[str, Any]) -> Run:
    completed = complete(recipe, project.dataset("shapes"), registry)
    return execute_run(completed, project, registry, on_event=heard, control=heard.control)


def cut_off(project: Project, registry: Registry, recipe: dict[str, Any], when: Callable[[RunEvent], bool]) -> str:
    """Train until an event, then lose the power; returns the id of the run."""

    def listen(event: RunEvent) -> None:
        if when(event):
            raise PowerCut

    completed = complete(recipe, project.dataset(recipe.get("dataset", {}).get("name", "shapes")), registry)
    with pytest.raises(PowerCut):
        execute_run(completed, project, registry, on_event=listen, control=RunControl())
    run_id = project.runs()[0].id
    # The process that wrote "running" is this one, which is still there: let the run look like a dead one's.
    record = project.run(run_id)
    record.write_json("run.json", {**record.read_json("run.json"), "process": None})
    return run_id


@pytest.fixture
def expected(shapes_project: Project, registry: Registry) -> Run:
    """A run that nobody has touched."""
    heard = Heard()
    run = train(shapes_project, registry, heard, values())
    assert heard.events[-1].status == "done", heard.events[-1]  # type: ignore[union-attr]  # the last is RunEnded
    return run


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda e: isinstance(e, StepLogged) and e.step == 7, id="in the middle of an epoch"),
        pytest.param(lambda e: isinstance(e, EpochEnded) and e.epoch == 2, id="behind an epoch"),
        pytest.param(lambda e: isinstance(e, CheckpointSaved) and e.epoch == 3, id="at the end"),
        pytest.param(lambda e: isinstance(e, StepLogged) and e.step == 1, id="before the first checkpoint"),
    ],
)
def test_a_run_that_lost_power_ends_bit_for_bit_as_one_that_did_not(
    expected: Run, shapes_project: Project, registry: Registry, heard: Heard, when: Callable[[RunEvent], bool]
) -> None:
    run_id = cut_off(shapes_project, registry, values(), when)
    assert shapes_project.run(run_id).status == "interrupted"
    run = resume_run(run_id, shapes_project, registry, on_event=heard, control=heard.control)
    assert run.status == "done"
    assert outcome_of(expected).difference(outcome_of(run)) == ""
    steps = [event.step for event in heard.of(StepLogged)]
    assert steps == list(range(1, len(steps) + 1))  # a listener hears the whole story, each step once


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    expected: Run, shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    run_id = cut_off(shapes_project, registry, values(), lambda e: isinstance(e, StepLogged) and e.step == 9)
    last = shapes_project.run(run_id).folder / "checkpoints" / "last" / "training.safetensors"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    run = resume_run(run_id, shapes_project, registry, on_event=heard, control=heard.control)
    assert any("training.safetensors is damaged" in note.text for note in heard.of(Note))
    assert any("goes on from step" in note.text for note in heard.of(Note))
    assert outcome_of(expected).difference(outcome_of(run)) == ""


@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_without_a_whole_checkpoint_the_run_begins_anew(
    expected: Run, shapes_project: Project, registry: Registry, heard: Heard, harm: str
) -> None:
    run_id = cut_off(shapes_project, registry, values(), lambda e: isinstance(e, StepLogged) and e.step == 9)
    for kind in ("last", "previous"):
        path = shapes_project.run(run_id).folder / "checkpoints" / kind / "model.safetensors"
        if harm == "missing":
            path.unlink()
        else:
            os.truncate(path, path.stat().st_size // 2)
    run = resume_run(run_id, shapes_project, registry, on_event=heard, control=heard.control)
    assert any("begins anew" in note.text for note in heard.of(Note))
    assert outcome_of(expected).difference(outcome_of(run)) == ""


def test_a_cancelled_run_goes_on_and_a_finished_one_does_not(
    expected: Run, shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    def listen(event: RunEvent) -> None:
        if isinstance(event, StepLogged) and event.step == 8:
            control.cancel()

    control = RunControl()
    recipe = complete(values(), shapes_project.dataset("shapes"), registry)
    run = execute_run(recipe, shapes_project, registry, on_event=listen, control=control)
    assert run.status == "cancelled"
    run = resume_run(run.id, shapes_project, registry, on_event=heard, control=heard.control)
    assert outcome_of(expected).difference(outcome_of(run)) == ""
    with pytest.raises(RunError, match="is done"):
        resume_run(run.id, shapes_project, registry, on_event=heard, control=heard.control)


def test_a_probe_goes_on_with_the_features_that_were_computed_even_if_they_are_lost(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    recipe = {**values(epochs=30), "strategy": "linear_probe"}
    untouched = train(shapes_project, registry, Heard(), recipe)
    run_id = cut_off(shapes_project, registry, recipe, lambda e: isinstance(e, StepLogged) and e.step == 40)
    shutil.rmtree(shapes_project.folder / "cache")
    run = resume_run(run_id, shapes_project, registry, on_event=heard, control=heard.control)
    assert outcome_of(untouched).difference(outcome_of(run)) == ""


def test_a_disk_that_is_full_makes_the_run_wait_and_go_on_when_there_is_room(
    expected: Run, shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ended: list[RunEnded] = []

    def listen(event: RunEvent) -> None:
        heard(event)
        if isinstance(event, StepLogged) and event.step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        if isinstance(event, Paused):
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if isinstance(event, RunEnded):
            ended.append(event)

    recipe = complete(values(), shapes_project.dataset("shapes"), registry)
    try:
        run = execute_run(recipe, shapes_project, registry, on_event=listen, control=heard.control)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [event.status for event in ended] == ["done"]
    assert "MB" in heard.of(Paused)[0].why
    assert len(heard.of(Resumed)) == len(heard.of(Paused)) == 1
    assert outcome_of(expected).difference(outcome_of(run)) == ""


@pytest.mark.parametrize(
    ("room", "status"), [(100_000, "cancelled"), (0, "interrupted")], ids=["small files fit", "nothing fits"]
)
def test_cancelling_while_the_disk_is_full_leaves_a_run_that_can_go_on(
    expected: Run, shapes_project: Project, registry: Registry, heard: Heard, room: int, status: str
) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    control = RunControl()

    def listen(event: RunEvent) -> None:
        if isinstance(event, StepLogged) and event.step == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        if isinstance(event, Paused):
            control.cancel()

    recipe = complete(values(), shapes_project.dataset("shapes"), registry)
    try:
        run = execute_run(recipe, shapes_project, registry, on_event=listen, control=control)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.status == status
    assert [row.status for row in shapes_project.runs()] == [status, "done"]
    run = resume_run(run.id, shapes_project, registry, on_event=heard, control=heard.control)
    assert outcome_of(expected).difference(outcome_of(run)) == ""


def test_what_is_packed_comes_back_the_same() -> None:
    value = {1: (0.1, [torch.arange(3), None]), "a": {"b": True, "c": float("inf")}}
    plain, tensors = pack(value)
    back = unpack(plain, tensors)
    assert torch.equal(back[1][1][0], torch.arange(3))
    assert back[1][0] == 0.1
    assert back["a"] == {"b": True, "c": float("inf")}
    with pytest.raises(TypeError, match="object"):
        pack({"x": object()})


def test_a_checkpoint_of_another_model_is_told_and_not_taken_for_a_bug(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    recipe = {**values(), "strategy": {"name": "lora", "options": {"rank": 4}}}
    run_id = cut_off(shapes_project, registry, recipe, lambda e: isinstance(e, EpochEnded))
    path = shapes_project.run(run_id).recipe_path
    path.write_text(path.read_text(encoding="utf-8").replace("rank = 4", "rank = 2"), encoding="utf-8")
    resume_run(run_id, shapes_project, registry, on_event=heard, control=heard.control)
    (ended,) = heard.of(RunEnded)
    assert ended.status == "failed"
    assert "its last checkpoint does not fit the run" in ended.error
    assert not ended.traceback

    # Of another default than today's, as the recipe leaves it out: what is stored tells it.
    path.write_text(path.read_text(encoding="utf-8").replace("rank = 2", ""), encoding="utf-8")
    resume_run(run_id, shapes_project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[-1].status == "done"
    _, model = load_run_model(shapes_project.run(run_id), registry)
    assert {len(value) for name, value in model.state_dict().items() if "lora_A" in name} == {4}


def test_a_run_is_the_same_while_the_next_one_is_planned(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    values = {
        "backbone": TINY_VISION,
        "head": {"name": "classification", "options": {"dropout": 0.5}},
        "strategy": "full",
        "training": {"epochs": 3, "batch_size": 8, "threads": 1},
    }
    recipe = complete(values, revision, registry)
    expected = execute_run(recipe, shapes_project, registry, on_event=Heard(), control=RunControl())
    heard = Heard()
    planned: list[Preflight] = []
    planning = threading.Thread(target=lambda: planned.append(preflight(recipe, revision, registry)))

    def listen(event: RunEvent) -> None:
        heard(event)
        if isinstance(event, StepLogged) and event.step == 1:
            planning.start()

    run = execute_run(recipe, shapes_project, registry, on_event=listen, control=RunControl())
    planning.join()
    assert planned[0].seconds is not None
    assert outcome_of(expected).difference(outcome_of(run)) == ""
