"""The same run in this thread and in a process of its own: the same events, the same files, the same reins."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import RunError
from tlstudio.engine.advise import complete
from tlstudio.engine.child import clean_file
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import EpochEnded, Note, Paused, Resumed, RunEnded, RunEvent, RunStarted, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.engine.executors import Executor, execute_in_process, follow_run, resume_in_process, start_process
from tlstudio.plugins import PluginManager, Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project
from tlstudio.store.run import Run

both = pytest.mark.parametrize("executor", [execute_run, execute_in_process], ids=["thread", "process"])


def train(
    executor: Executor, project: Project, registry: Registry, listen: Callable[[RunEvent], None], **training: Any
) -> tuple[Run, RunControl]:
    """Train a tiny network, with what a listener does to it."""
    options = {"epochs": 2, "batch_size": 8, "checkpoint_every": 0, "threads": 1, **training}
    recipe = complete(
        {"backbone": TINY_VISION, "strategy": "full", "training": options}, project.dataset("shapes"), registry
    )
    control = listen.control if isinstance(listen, Heard) else RunControl()
    return executor(recipe, project, registry, on_event=listen, control=control), control


def process_of(run: Run) -> ProcessMark:
    mark = ProcessMark.from_json(run.read_json("run.json")["process"])
    assert mark is not None
    return mark


def test_thread_and_process_give_the_same_run(shapes_project: Project, registry: Registry) -> None:
    heard = Heard(), Heard()
    runs = [
        train(executor, shapes_project, registry, listen)[0]
        for executor, listen in zip((execute_run, execute_in_process), heard, strict=True)
    ]
    assert [run.status for run in runs] == ["done", "done"]
    assert outcome_of(runs[0]).difference(outcome_of(runs[1])) == ""
    for listen in heard:
        kinds = [type(event) for event in listen.events]
        assert kinds.count(RunStarted) == kinds.count(RunEnded) == 1
        assert kinds[-1] is RunEnded
        assert len(listen.of(EpochEnded)) == 2
    assert process_of(runs[0]) == ProcessMark.here()
    assert process_of(runs[1]).is_gone()


class Driver(Heard):
    """Pulls a rein when an event comes."""

    def __init__(self, when: Callable[[RunEvent], bool], pull: Callable[[RunControl], None]) -> None:
        super().__init__()
        self._when, self._pull = when, pull

    def __call__(self, event: RunEvent) -> None:
        super().__call__(event)
        if self._when(event):
            self._pull(self.control)


def step(number: int) -> Callable[[RunEvent], bool]:
    return lambda event: isinstance(event, StepLogged) and event.step >= number


@both
def test_stop_keeps_the_best_and_evaluates_it(executor: Executor, shapes_project: Project, registry: Registry) -> None:
    driver = Driver(lambda event: isinstance(event, EpochEnded), RunControl.stop)
    run, _ = train(executor, shapes_project, registry, driver, epochs=500)
    assert run.status == "stopped"
    assert "accuracy" in run.metrics()["test"]


@both
def test_cancel_ends_it_and_it_can_go_on(executor: Executor, shapes_project: Project, registry: Registry) -> None:
    run, _ = train(executor, shapes_project, registry, Driver(step(3), RunControl.cancel), epochs=500)
    assert run.status == "cancelled"
    assert (run.last_checkpoint / "manifest.json").is_file()


@both
def test_pause_waits_and_resume_goes_on(executor: Executor, shapes_project: Project, registry: Registry) -> None:
    class Pausing(Heard):
        def __call__(self, event: RunEvent) -> None:
            super().__call__(event)
            if isinstance(event, StepLogged) and event.step == 2:
                self.control.pause()
            if isinstance(event, Paused):
                threading.Timer(0.3, self.control.resume).start()

    heard = Pausing()
    run, _ = train(executor, shapes_project, registry, heard, epochs=15)
    kinds = [type(event) for event in heard.events]
    assert kinds.count(Paused) == kinds.count(Resumed) == 1
    assert run.status == "done"


@both
def test_a_run_that_cannot_be_done_fails_with_its_sentence(
    executor: Executor, shapes_project: Project, registry: Registry
) -> None:
    heard = Heard()
    run, _ = train(executor, shapes_project, registry, heard, learning_rate=10, optimizer="sgd", clip_norm=0, epochs=50)
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "failed"
    assert "no longer a number" in ended.error
    assert run.summary().error == ended.error


def test_a_process_that_dies_is_told_and_its_run_goes_on_in_another(
    shapes_project: Project, registry: Registry
) -> None:
    def kill(_control: RunControl) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # several steps may come at once: it is dead after the first
            psutil.Process(process_of(shapes_project.run(shapes_project.runs()[0].id)).pid).kill()

    driver = Driver(step(5), kill)
    run, _ = train(execute_in_process, shapes_project, registry, driver, epochs=12)
    ended = driver.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "failed"
    assert "SIGKILL" in ended.error or "ended with code" in ended.error
    assert run.status == "failed"
    untouched, _ = train(execute_run, shapes_project, registry, Heard(), epochs=12)
    heard = Heard()
    run = resume_in_process(run.id, shapes_project, registry, on_event=heard, control=heard.control)
    assert run.status == "done"
    assert any("goes on from step" in note.text for note in heard.of(Note))
    assert outcome_of(untouched).difference(outcome_of(run)) == ""


def test_a_crash_in_native_code_ends_the_process_alone_and_is_told_with_its_place(
    shapes_project: Project, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = tmp_path / "home" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "crashing.py").write_text(
        """
from tlstudio.api import FineTuningStrategy, hookimpl
TLSTUDIO_API = "1.0"

class Crashing(FineTuningStrategy):
    name, title, description = "crashing", "Crashing", "Reads where nothing is."
    def prepare(self, model, options):
        pass
    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate, weight_decay)]
    def on_epoch_start(self, model, epoch, options):
        if epoch == 1:
            import ctypes
            ctypes.string_at(0)

@hookimpl
def register_strategies():
    return [Crashing()]
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("TLSTUDIO_HOME", str(tmp_path / "home"))
    manager = PluginManager(plugins)
    manager.discover()
    recipe = complete(
        {"backbone": TINY_VISION, "strategy": "crashing", "training": {"epochs": 3, "batch_size": 8}},
        shapes_project.dataset("shapes"),
        manager.registry,
    )
    heard = Heard()
    execute_in_process(recipe, shapes_project, manager.registry, on_event=heard, control=heard.control)
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "failed"
    assert "SIGSEGV in the plugin 'crashing'" in ended.error
    assert "crashing.py" in ended.traceback
    assert "on_epoch_start" in ended.traceback


@pytest.mark.parametrize("end", ["raise DataError(secret)", "os.kill(os.getpid(), 9)"], ids=["fails", "is killed"])
def test_what_is_printed_past_python_and_what_an_error_says_is_kept_without_secrets(
    shapes_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    plugins = tmp_path / "home" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "chatty.py").write_text(
        f"""
import os, subprocess, sys
from tlstudio.api import DataError, FineTuningStrategy, hookimpl
TLSTUDIO_API = "1.0"

class Chatty(FineTuningStrategy):
    name, title, description = "chatty", "Chatty", "Prints what it should not."
    def prepare(self, model, options):
        if "CHATTER" in os.environ:
            secret = os.environ["HF_TOKEN"]
            os.write(1, f"by the system: {{secret}}\\n".encode())
            sys.stdout.buffer.write(f"in bytes: {{secret}}\\n".encode())
            sys.stdout.buffer.flush()
            subprocess.run([sys.executable, "-c", "import os; print('by a child:', os.environ['HF_TOKEN'])"])
            {end}
    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate, weight_decay)]

@hookimpl
def register_strategies():
    return [Chatty()]
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("TLSTUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", "not-to-be-told")
    manager = PluginManager(plugins)
    manager.discover()
    values = {"backbone": TINY_VISION, "strategy": "chatty", "training": {"epochs": 1, "batch_size": 8}}
    recipe = complete(values, shapes_project.dataset("shapes"), manager.registry)
    monkeypatch.setenv("CHATTER", "1")
    heard = Heard()
    run = execute_in_process(recipe, shapes_project, manager.registry, on_event=heard, control=heard.control)
    assert run.status == "failed"
    printed = (run.folder / "output.log").read_text(encoding="utf-8")
    for way in ("by the system", "in bytes", "by a child"):
        assert f"{way}: <secret>" in printed
    for path in run.folder.rglob("*"):
        assert path.is_dir() or b"not-to-be-told" not in path.read_bytes(), path
    assert "not-to-be-told" not in heard.of(RunEnded)[-1].error


def test_of_a_long_log_the_end_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    assert clean_file(log) == ""
    log.write_bytes(b"x" * 2**21 + b"\nAuthorization: Bearer abc\n\xff the end\n")
    assert clean_file(log) == log.read_text(encoding="utf-8") == "Authorization: <secret>\n\ufffd the end\n"


def test_a_run_that_was_let_go_is_followed_again_from_its_beginning(
    shapes_project: Project, registry: Registry
) -> None:
    driver = Driver(step(4), RunControl.let_go)
    run, _ = train(execute_in_process, shapes_project, registry, driver, epochs=40)
    assert run.status == "running"
    assert not driver.of(RunEnded)
    heard = Heard()
    follow_run(run.id, shapes_project, on_event=heard, control=heard.control)
    assert run.status == "done"
    steps = [event.step for event in heard.of(StepLogged)]
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    assert isinstance(heard.events[-1], RunEnded)
    with pytest.raises(RunError, match="nobody carries it out"):
        follow_run(run.id, shapes_project, on_event=heard, control=heard.control)


def test_a_process_that_does_not_heed_a_cancel_is_ended(
    shapes_project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlstudio.engine.executors.CANCEL_SECONDS", 0.5)

    def freeze_and_cancel(control: RunControl) -> None:
        psutil.Process(process_of(shapes_project.run(shapes_project.runs()[0].id)).pid).suspend()
        control.cancel()

    driver = Driver(step(3), freeze_and_cancel)
    run, _ = train(execute_in_process, shapes_project, registry, driver, epochs=500)
    assert run.status == "cancelled"
    assert process_of(run).is_gone()


def test_nothing_is_imported_from_the_folder_in_which_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psutil.py").write_text("print('run')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with (tmp_path / "output").open("wb") as output, start_process([sys.executable, "-m", "psutil"], output) as process:
        process.wait()
    said = (tmp_path / "output").read_text()
    assert "psutil" in said, "the library itself cannot be run"
    assert said != "run\n"
