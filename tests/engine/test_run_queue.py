"""Queued runs: begun in their order, one at a time, each in a process of its own, whatever becomes of the others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import ProjectError, RunError
from tlstudio.engine import run_queue
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import RunEnded, RunEvent, StepLogged
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.run_queue import (
    QueueBusyError,
    add_to_queue,
    forget_stop,
    is_worked_off,
    queued_runs,
    start_queue,
    stop_queue,
    work_off,
)
from tlstudio.plugins import Registry
from tlstudio.store.format import PROJECT_NAME, NewerProjectError
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project
from tlstudio.store.run import LOCK_NAME

DEADLINE = 60.0


def recipe(project: Project, registry: Registry, **training: Any) -> Recipe:
    options = {"epochs": 1, "batch_size": 8, "checkpoint_every": 0, "threads": 1, **training}
    values = {"backbone": TINY_VISION, "strategy": "full", "training": options}
    return complete(values, project.dataset("shapes"), registry)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def states(project: Project) -> list[str]:
    return [run.status for run in reversed(project.runs())]


def test_a_run_that_fails_does_not_keep_the_next_from_its_turn(shapes_project: Project, registry: Registry) -> None:
    bad = recipe(shapes_project, registry)
    gone = {"weights": "/nowhere/weights.safetensors", "image_size": 32}
    bad = bad.model_copy(update={"backbone": bad.backbone.model_copy(update={"options": gone})})
    first = add_to_queue(bad, shapes_project)
    second = add_to_queue(recipe(shapes_project, registry), shapes_project)
    assert [run.id for run in queued_runs(shapes_project)] == [first.id, second.id]
    heard = Heard()
    with Project.open(shapes_project.folder, write=False) as reader:  # as beside a window, which has the right to write
        work_off(reader, on_event=heard, control=heard.control)
    assert states(shapes_project) == ["failed", "done"]
    assert [event.run for event in heard.of(RunEnded)] == [first.id, second.id]
    assert "/nowhere" in first.summary().error
    assert "accuracy" in second.metrics()["test"]
    assert not is_worked_off(shapes_project)


class Acting(Heard):
    """Does something at the first step of a run."""

    def __init__(self, act: Callable[[RunControl], None]) -> None:
        super().__init__()
        self._act: Callable[[RunControl], None] | None = act

    def __call__(self, event: RunEvent) -> None:
        super().__call__(event)
        if isinstance(event, StepLogged) and self._act is not None:
            act, self._act = self._act, None
            act(self.control)


def test_a_cancel_of_the_present_run_lets_the_queue_go_on_and_one_of_the_queue_does_not(
    shapes_project: Project, registry: Registry
) -> None:
    first = add_to_queue(recipe(shapes_project, registry, epochs=5000), shapes_project)
    for epochs in (1, 1):
        add_to_queue(recipe(shapes_project, registry, epochs=epochs), shapes_project)
    heard = Acting(lambda _control: first.ask("cancel"))  # as a window does that follows it

    def end_at_the_second(event: RunEvent) -> None:
        heard(event)
        if isinstance(event, RunEnded) and event.run != first.id:
            heard.control.cancel()

    work_off(shapes_project, on_event=end_at_the_second, control=heard.control)
    assert states(shapes_project) == ["cancelled", "done", "queued"]


def test_stopping_the_queue_leaves_the_present_run_to_its_process_and_the_rest_queued(
    shapes_project: Project, registry: Registry
) -> None:
    first = add_to_queue(recipe(shapes_project, registry, epochs=5000), shapes_project)
    add_to_queue(recipe(shapes_project, registry), shapes_project)
    heard = Acting(lambda _control: stop_queue(shapes_project))
    work_off(shapes_project, on_event=heard, control=heard.control)
    assert states(shapes_project) == ["running", "queued"]
    first.ask("cancel")
    mark = first.own_process
    assert mark is not None
    wait_until(lambda: mark.is_gone() is not False)
    assert states(shapes_project) == ["cancelled", "queued"]


def test_what_is_killed_leaves_the_rest_queued_and_the_next_who_works_it_off_waits_for_the_present_run(
    shapes_project: Project, registry: Registry
) -> None:
    first = add_to_queue(recipe(shapes_project, registry, epochs=5000), shapes_project)
    second = add_to_queue(recipe(shapes_project, registry), shapes_project)
    process = start_queue(shapes_project)
    wait_until(lambda: first.begun > 0)
    assert is_worked_off(shapes_project)
    assert process is not None
    assert start_queue(shapes_project) is None, "one is enough"
    psutil.Process(process.pid).kill()
    wait_until(lambda: not is_worked_off(shapes_project))
    assert states(shapes_project) == ["running", "queued"]
    another = start_queue(shapes_project)
    assert another is not None
    wait_until(lambda: is_worked_off(shapes_project))
    beside_another(shapes_project)
    assert states(shapes_project) == ["running", "queued"]
    first.ask("cancel")
    wait_until(lambda: second.status == "done")
    wait_until(lambda: another.poll() is not None)
    assert states(shapes_project) == ["cancelled", "done"]


def beside_another(project: Project) -> None:
    """Try to work off a queue that is worked off; who was started for it has nothing to complain about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlstudio.engine.run_queue._LOCK_SECONDS", 0.1)
        with pytest.raises(QueueBusyError, match="already"):
            work_off(project, on_event=Heard(), control=RunControl())
        patch.setattr(sys, "stdout", sys.stdout)
        patch.setattr(sys, "stderr", sys.stderr)
        assert run_queue.main(str(project.folder)) == 0


def test_a_run_that_was_taken_and_never_begun_is_queued_again(shapes_project: Project, registry: Registry) -> None:
    run = add_to_queue(recipe(shapes_project, registry), shapes_project)
    assert run.take()
    assert not run.take(), "another one who comes later does not get it"
    assert run.status == "running"
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        mark = ProcessMark.of(process.pid)
    run.claim(mark, own_process=True)
    assert run.status == "queued"
    run.claim(mark, own_process=True, begun=True)
    assert run.status == "interrupted"


def test_a_stop_that_is_asked_for_before_the_first_turn_lets_no_run_begin(
    shapes_project: Project, registry: Registry
) -> None:
    add_to_queue(recipe(shapes_project, registry), shapes_project)
    stop_queue(shapes_project)
    heard = Heard()
    work_off(shapes_project, on_event=heard, control=heard.control)
    assert states(shapes_project) == ["queued"]
    assert not heard.events


def test_the_queue_of_a_project_of_a_newer_version_is_left_as_it_is(
    shapes_project: Project, registry: Registry
) -> None:
    add_to_queue(recipe(shapes_project, registry), shapes_project)
    path = shapes_project.folder / PROJECT_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99, "min_reader": 1}))
    before = {file: file.stat().st_mtime_ns for file in shapes_project.folder.rglob("*")}
    with Project.open(shapes_project.folder, write=False) as reader:
        with pytest.raises(NewerProjectError, match="not changed"):
            work_off(reader, on_event=Heard(), control=RunControl())
        for change in (start_queue, stop_queue, forget_stop):
            with pytest.raises(NewerProjectError, match="not changed"):
                change(reader)
    assert {file: file.stat().st_mtime_ns for file in shapes_project.folder.rglob("*")} == before


def test_a_run_that_cannot_be_taken_does_not_keep_the_next_from_its_turn_and_is_told_at_the_end(
    shapes_project: Project, registry: Registry
) -> None:
    first = add_to_queue(recipe(shapes_project, registry), shapes_project)
    second = add_to_queue(recipe(shapes_project, registry), shapes_project)
    (first.folder / LOCK_NAME).mkdir()  # its lock cannot be had, as in a folder of somebody else
    heard = Heard()
    with pytest.raises(RunError, match=first.id):
        work_off(shapes_project, on_event=heard, control=heard.control)
    assert [event.run for event in heard.of(RunEnded)] == [second.id]
    assert states(shapes_project) == ["queued", "done"]


def test_odd_run_folders_do_not_keep_the_next_from_its_turn_and_their_links_lead_nowhere(
    shapes_project: Project, registry: Registry, heard: Heard, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    runs = [add_to_queue(recipe(shapes_project, registry), shapes_project) for _ in range(6)]
    for run, folder in zip(runs, ("control.json", "output.log"), strict=False):
        (run.folder / folder).mkdir()
    for run, link in zip(runs[2:], ("output.log", "crash.log", "events.jsonl", "control.json"), strict=True):
        (run.folder / link).symlink_to(victim)
    runs[-1].write_json("run.json", {**runs[-1].read_json("run.json"), "begun": "x"})
    work_off(shapes_project, on_event=heard, control=heard.control)
    assert states(shapes_project) == ["failed"] * 5 + ["done"]
    assert [event.run for event in heard.of(RunEnded)] == [run.id for run in runs]
    assert all(name in runs[number].summary().error for number, name in enumerate(("control.json", "output.log")))
    assert victim.read_text() == "mine"


def test_a_stop_that_cannot_be_taken_back_is_told(shapes_project: Project, registry: Registry) -> None:
    add_to_queue(recipe(shapes_project, registry), shapes_project)
    (shapes_project.folder / run_queue.STOP_NAME).mkdir()
    for start in (start_queue, forget_stop):
        with pytest.raises(ProjectError, match=r"stays stopped: .*\.queue\.stop cannot be removed"):
            start(shapes_project)


def test_files_of_the_queue_that_are_links_lead_nowhere(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    add_to_queue(recipe(shapes_project, registry), shapes_project)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (shapes_project.folder / run_queue.OUTPUT_NAME).symlink_to(victim)
    with pytest.raises(ProjectError, match="a link"):
        start_queue(shapes_project)
    (shapes_project.folder / run_queue.STOP_NAME).symlink_to(tmp_path / "made")
    with pytest.raises(ProjectError, match="a link"):
        stop_queue(shapes_project)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "made").exists()


def test_who_only_looks_at_the_same_moment_is_not_taken_for_who_carries_out_or_works_off(
    shapes_project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add_to_queue(recipe(shapes_project, registry), shapes_project)
    with run.carrying_out():
        assert [row.id for row in queued_runs(shapes_project)] == [run.id]
    monkeypatch.setattr("tlstudio.engine.run_queue._A_LOOK", DEADLINE)  # a busy machine must not fail a test
    looker = FileLock(shapes_project.folder / run_queue.LOCK_NAME, thread_local=False)
    looker.acquire()
    over = threading.Timer(0.05, looker.release)
    over.start()
    assert not is_worked_off(shapes_project)
    over.join()
