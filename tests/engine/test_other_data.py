"""Another data set has the name of the one that a run began with: told, and never learned from or measured on."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import added, draw_folder
from tests.engine.conftest import Heard
from tests.engine.test_continual import RECIPE
from tests.engine.test_gone_beside import SEVERAL, resumed, train, values
from tests.engine.test_methods import is_step
from tests.engine.test_resume import cut_off
from tlstudio.api import DataError, DataStream, Method, Options, ProblemsError
from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.continual import go_on_in_sequence, learn_in_sequence
from tlstudio.engine.derived import Bench
from tlstudio.engine.ensembles import measure_ensemble
from tlstudio.engine.evaluate import evaluate_run
from tlstudio.engine.events import EpochEnded, RunEvent
from tlstudio.engine.overlaps import seen_before
from tlstudio.engine.sequence_plan import plan_sequence
from tlstudio.engine.sequences import unfinished_sequence
from tlstudio.engine.soups import Kettle
from tlstudio.engine.used_plugins import ENVIRONMENT_NAME
from tlstudio.plugins import Registry
from tlstudio.selftest.resume import outcome_of
from tlstudio.store.project import Project
from tlstudio.store.run import Run

CHANGED = "does not hold what it held when the run began"


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """Other drawings."""
    return draw_folder(tmp_path / "more", 8, seed=4)


def import_anew(project: Project, registry: Registry, name: str, source: Path) -> None:
    """Delete a data set, and import other drawings, or the same, under its name."""
    shutil.rmtree(project.datasets_folder / name)
    request, _ = plan_import(registry.formats.values(), source, name=name, task="classification")
    import_dataset(request, project.datasets_folder)


def test_other_data_under_the_name_of_those_that_a_run_began_with_are_told_and_the_same_ones_serve(
    two_projects: Project, registry: Registry, tmp_path: Path, more: Path
) -> None:
    project = two_projects
    expected = train(project, registry, {"replay": SEVERAL["replay"]})
    other = train(project, registry, {})
    run_id = cut_off(project, registry, values({"replay": SEVERAL["replay"]}), functools.partial(is_step, 2))
    told = project.run(run_id).events_path.read_bytes()
    kept = {path: path.read_bytes() for path in (project.run(run_id).folder / "checkpoints").rglob("*.safetensors")}
    assert kept

    import_anew(project, registry, "others", more)
    _, ended = resumed(run_id, project, registry)
    assert f"methods.replay.datasets: The data set 'others' (r1) {CHANGED}." in ended.error
    assert "Put back what was in datasets/others of the project's folder" in ended.error
    import_anew(project, registry, "others", tmp_path / "others")
    same = project.dataset("shapes").source
    import_anew(project, registry, "shapes", more)
    run, ended = resumed(run_id, project, registry)
    assert ended.error.startswith(f"The data set 'shapes' (r1) {CHANGED}.")
    assert (ended.status, ended.traceback, run.status) == ("failed", "", "failed")
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert run.events_path.read_bytes().startswith(told), "nothing is cut off"

    # Nor is a run measured on what it may have learned from.
    stored = {path: path.read_bytes() for path in expected.folder.rglob("*") if path.is_file()}
    for measure in (
        lambda: evaluate_run(expected, project, registry, split="test"),
        lambda: Bench(expected, project, registry),
        lambda: measure_ensemble([expected, other], project, registry),
    ):
        with pytest.raises(DataError, match=CHANGED):
            measure()
    of_others = train(project, registry, {})
    with pytest.raises(ProblemsError, match=f"{of_others.id}: It has another data set of the same name than run"):
        measure_ensemble([expected, of_others], project, registry)
    assert all(path.read_bytes() == content for path, content in stored.items())

    import_anew(project, registry, "shapes", Path(same))
    run, ended = resumed(run_id, project, registry)
    assert ended.status == "done", ended
    assert outcome_of(expected).difference(outcome_of(run)) == ""


def forget(run: Run) -> Run:
    """Make a run look as one from before hashes were kept."""
    kept = run.read_json(ENVIRONMENT_NAME)
    del kept["data"]
    run.write_json(ENVIRONMENT_NAME, kept)
    return run


def test_an_old_run_in_front_hides_from_no_soup_or_ensemble_that_another_one_has_learned_from_other_data(
    two_projects: Project, registry: Registry, more: Path
) -> None:
    project = two_projects
    old, other = forget(train(project, registry, {})), train(project, registry, {})
    makers: tuple[Callable[[Sequence[Run]], Any], ...] = (
        lambda runs: measure_ensemble(runs, project, registry),
        lambda runs: Kettle(runs, project, registry),
    )
    for make in makers:
        make([old, other])
    import_anew(project, registry, "shapes", more)
    for make in makers:
        with pytest.raises(DataError, match=CHANGED):
            make([old, other])


def test_a_sequence_measures_no_other_data_in_the_next_row_of_its_matrix(
    two_projects: Project, registry: Registry, heard: Heard, more: Path
) -> None:
    project = two_projects

    def stop(event: RunEvent) -> None:
        if isinstance(event, EpochEnded):
            heard.control.stop()

    plan = plan_sequence([project.dataset(name) for name in ("shapes", "others")], RECIPE, registry)
    learn_in_sequence(project, registry, plan, on_event=stop, control=heard.control)
    import_anew(project, registry, "shapes", more)
    last, again = unfinished_sequence(project), Heard()
    assert last is not None
    with pytest.raises(DataError, match=CHANGED):
        go_on_in_sequence(last.id, project, registry, on_event=again, control=again.control)
    assert (again.events, len(project.runs())) == ([], 1)


def test_a_run_that_has_kept_nothing_yet_begins_anew_with_what_is_there(
    two_projects: Project, registry: Registry, more: Path
) -> None:
    project = two_projects
    recipe = {**values({}), "strategy": "linear_probe"}
    run_id = cut_off(project, registry, recipe, functools.partial(is_step, 1))
    shutil.rmtree(project.run(run_id).folder / "checkpoints")
    features = project.run(run_id).read_json("features.json")
    import_anew(project, registry, "shapes", more)
    run, ended = resumed(run_id, project, registry)
    assert ended.status == "done", ended
    assert run.read_json("features.json") != features, "those are of other images"
    assert run.read_json(ENVIRONMENT_NAME)["data"] == {"shapes@r1": project.dataset("shapes").sha256}


class Fixed(Method):
    """Names its data by itself, and no revision of them."""

    name, title, description = "fixed", "Fixed", "Names its data itself."

    def streams(self, options: Options) -> Sequence[DataStream]:
        return [DataStream("beside", "others")]

    def build(self, context: MethodContext, options: Options) -> MethodModule:
        return MethodModule(context)


@pytest.fixture
def fixed(registry: Registry) -> Iterator[Registry]:
    with added(registry, Fixed()):
        yield registry


def test_a_newer_revision_of_what_a_method_names_by_itself_is_told(
    two_projects: Project, fixed: Registry, more: Path
) -> None:
    project = two_projects
    run_id = cut_off(project, fixed, values({"fixed": {}}), functools.partial(is_step, 2))
    request, _ = plan_import(fixed.formats.values(), more, name="others", task="classification")
    import_dataset(request, project.datasets_folder)
    assert project.revisions("others") == ["r1", "r2"]
    _, ended = resumed(run_id, project, fixed)
    assert ended.status == "failed"
    assert "The run did not begin with revision r2 of the data set 'others'." in ended.error
    shutil.rmtree(project.datasets_folder / "others" / "r2")
    _, ended = resumed(run_id, project, fixed)
    assert ended.status == "done", ended


def test_that_it_cannot_be_told_whether_a_run_has_learned_from_what_is_measured_is_said(
    two_projects: Project, registry: Registry, more: Path
) -> None:
    project = two_projects
    run = train(project, registry, {})
    same = Path(project.dataset("shapes").source)
    request, _ = plan_import(registry.formats.values(), same, name="again", task="classification", seed=5)
    import_dataset(request, project.datasets_folder)
    again = project.dataset("again")
    recipe = complete({"backbone": {"start_from": run.id}, "strategy": "full"}, again, registry)

    (told,) = seen_before(recipe, (), again)
    assert told.startswith(f"Run {run.id} has learned from ")
    learned = evaluate_run(run, project, registry, split="train", dataset="again").learned
    assert learned is not None
    assert learned > 0
    import_anew(project, registry, "shapes", more)
    (told,) = seen_before(recipe, (), again)
    assert told.startswith(f"Whether run {run.id} has learned from samples that this run validates or tests cannot be")
    assert evaluate_run(run, project, registry, split="train", dataset="again").learned is None
    shutil.rmtree(project.datasets_folder / "shapes")
    assert seen_before(recipe, (), again) == [told]
