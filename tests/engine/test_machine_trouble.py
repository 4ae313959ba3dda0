"""What a machine does to a run: it sleeps in the middle of one, or loses its GPU."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import RunEnded, RunEvent, StepLogged
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.executors import execute_in_process
from tlstudio.plugins import PluginManager, Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project

TRAINING = {"epochs": 2, "batch_size": 8, "checkpoint_every": 0, "threads": 1}

# As a driver does that has lost its card: every call fails while the file is there.
PLUGIN = """
from pathlib import Path

import torch

from tlstudio.api import FineTuningStrategy, hookimpl

TLSTUDIO_API = "1.0"
LOST = Path({lost!r})


def lose(module, args):
    if LOST.exists():
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\\nCUDA kernel errors might be ...")


class Lossy(FineTuningStrategy):
    name, title, description = "lossy", "Lossy", "Loses the GPU while a file is there."

    def prepare(self, model, options):
        model.backbone.register_forward_pre_hook(lose)

    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate)]


@hookimpl
def register_strategies():
    return [Lossy()]
"""


def test_a_run_whose_machine_slept_ends_as_if_it_had_not(shapes_project: Project, registry: Registry) -> None:
    recipe = complete(
        {"backbone": TINY_VISION, "strategy": "full", "training": TRAINING}, shapes_project.dataset("shapes"), registry
    )
    expected = execute_run(recipe, shapes_project, registry, on_event=Heard(), control=RunControl())
    heard = Heard()
    asleep: list[str] = []

    def sleep(event: RunEvent) -> None:
        heard(event)
        if isinstance(event, StepLogged) and not asleep:
            run = shapes_project.run(shapes_project.runs()[0].id)
            mark = ProcessMark.from_json(run.read_json("run.json")["process"])
            assert mark is not None
            process = psutil.Process(mark.pid)
            process.suspend()
            try:
                asleep.append(run.status)
            finally:
                process.resume()

    run = execute_in_process(recipe, shapes_project, registry, on_event=sleep, control=RunControl())
    assert run.status == "done", heard.of(RunEnded)
    assert asleep == ["running"]
    assert outcome_of(expected).difference(outcome_of(run)) == ""


def test_a_run_whose_gpu_was_lost_says_so_and_goes_on_from_its_checkpoint(
    shapes_project: Project, tmp_path: Path
) -> None:
    folder, lost = tmp_path / "plugins", tmp_path / "lost"
    folder.mkdir()
    (folder / "lossy.py").write_text(PLUGIN.format(lost=str(lost)), encoding="utf-8")
    manager = PluginManager(folder)
    manager.discover()
    values = {"backbone": TINY_VISION, "strategy": "lossy", "training": TRAINING}
    recipe = complete(values, shapes_project.dataset("shapes"), manager.registry)

    expected = execute_run(recipe, shapes_project, manager.registry, on_event=Heard(), control=RunControl())
    assert expected.status == "done"
    heard = Heard()

    def lose(event: RunEvent) -> None:
        heard(event)
        if isinstance(event, StepLogged) and event.step == 3:
            lost.touch()

    run = execute_run(recipe, shapes_project, manager.registry, on_event=lose, control=RunControl())
    (ended,) = heard.of(RunEnded)
    assert ended.status == "failed"
    assert "The GPU has failed or was lost during the run: CUDA error: unspecified launch failure." in ended.error
    assert "go on with the run" in ended.error
    lost.unlink()
    run = resume_run(run.id, shapes_project, manager.registry, on_event=Heard(), control=RunControl())
    assert run.status == "done"
    assert outcome_of(expected).difference(outcome_of(run)) == ""
