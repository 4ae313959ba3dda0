"""What a run learns from is deleted or another one: told before anything is lost, and the run can go on with it."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.engine.conftest import TINY_VISION, Heard
from tests.engine.test_methods import is_step
from tests.engine.test_resume import cut_off
from tlstudio.api import ProblemsError
from tlstudio.engine.advise import complete
from tlstudio.engine.begin import new_run
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def values(methods: dict[str, Any]) -> dict[str, Any]:
    """A recipe of three steps, with a checkpoint behind each."""
    training = {"epochs": 1, "batch_size": 4, "checkpoint_every": 0, "augmentation": "none", "threads": 1}
    return {
        "dataset": {"shots": 4},
        "backbone": TINY_VISION,
        "strategy": "full",
        "methods": methods,
        "training": training,
    }


def train(project: Project, registry: Registry, methods: dict[str, Any]) -> Run:
    heard = Heard()
    recipe = complete(values(methods), project.dataset("shapes"), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run


def resumed(run_id: str, project: Project, registry: Registry) -> tuple[Run, RunEnded]:
    heard = Heard()
    run = resume_run(run_id, project, registry, on_event=heard, control=heard.control)
    (ended,) = heard.of(RunEnded)
    return run, ended


SEVERAL = {
    "replay": {"datasets": "others", "kept": 6},
    "joint": {"source": "others"},
    "coral": {"target": "others"},
    "dann": {"target": "others"},
}
NAMED = {"replay": "datasets", "joint": "source", "coral": "target", "dann": "target", "distillation": "teacher"}


def test_a_run_that_goes_on_without_its_other_data_or_its_teacher_says_so_and_loses_nothing(
    two_projects: Project, registry: Registry
) -> None:
    project = two_projects
    teacher = train(project, registry, {})
    methods = {**SEVERAL, "distillation": {"teacher": teacher.id}}
    expected = train(project, registry, methods)
    run_id = cut_off(project, registry, values(methods), functools.partial(is_step, 3))
    folder = project.run(run_id).folder
    kept = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and (path.parent != folder or path.suffix == ".toml")
    }
    told = project.run(run_id).events_path.read_bytes()
    places = [project.datasets_folder / "others", project.runs_folder / teacher.id]
    for place in places:
        place.rename(project.folder / place.name)

    run, ended = resumed(run_id, project, registry)
    assert (ended.status, ended.traceback, run.status) == ("failed", "", "failed")
    heading, *problems = ended.error.splitlines()
    assert heading.endswith("Once it is back, the run can go on: nothing of it is lost.")
    where = [problem.strip().partition(":")[0] for problem in problems]
    assert where == [f"methods.{name}.{NAMED[name]}" for name in methods], "all at once"
    gone, back = "There is no data set 'others' in this project.", "Put it back as datasets/others/r1 in the folder of "
    assert all(problem.endswith(f": {gone} {back}the project.") for problem in problems[:-1])
    back = f"Put it back as runs/{teacher.id} in the folder of the project."
    assert problems[-1].endswith(f": There is no run '{teacher.id}' in this project. {back}")
    assert all(path.read_bytes() == content for path, content in kept.items()), "checkpoints and recipe as they were"
    assert run.events_path.read_bytes().startswith(told), "nor is anything cut off of what it has said"

    for place in places:
        (project.folder / place.name).rename(place)
    run, ended = resumed(run_id, project, registry)
    assert ended.status == "done", ended
    assert outcome_of(expected).difference(outcome_of(run)) == ""


def test_a_revision_that_is_gone_is_told_and_a_run_that_waits_is_refused_before_its_backbone_is_loaded(
    two_projects: Project, registry: Registry
) -> None:
    project = two_projects
    recipe = complete(values({"replay": SEVERAL["replay"]}), project.dataset("shapes"), registry)
    assert recipe.methods["replay"]["datasets"] == "others@r1"
    waiting = new_run(recipe, project, queued=True)
    others = project.datasets_folder / "others"
    (others / "r1").rename(others / "r2")
    heard = Heard()
    resume_run(waiting.id, project, registry, on_event=heard, control=heard.control)
    (ended,) = heard.events
    assert isinstance(ended, RunEnded), "not even that the backbone is loaded is said"
    what = "methods.replay.datasets: The data set 'others' has no revision r1."
    assert ended.error.endswith(f"{what} Put it back as datasets/others/r1 in the folder of the project.")

    def against(named: str) -> str:
        with pytest.raises(ProblemsError) as caught:
            complete(values({"replay": {"datasets": named}}), project.dataset("shapes"), registry)
        (problem,) = caught.value.problems
        return str(problem)

    assert against("others@r1") == f"{what} Revisions: r2."
    others.rename(project.folder / "others")
    what = "methods.replay.datasets: There is no data set 'others' in this project."
    for named in ("others@r1", "others"):
        assert against(named) == f"{what} Import it, or name one that is there: shapes."
