"""Any run as the backbone of the next: what is taken over, what is refused beforehand, and what is written down."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import import_reviews
from tests.engine.conftest import TINY_VISION, Heard
from tests.plugins.test_text import write_model, write_tokenizer
from tlstudio.api import ProblemsError, RunError, WeightsError
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete, set_values
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import EpochEnded, Note, RunEnded
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.export import export_run
from tlstudio.engine.overlaps import seen_before
from tlstudio.engine.parts import find_parts
from tlstudio.engine.predict import Predictor, load_predictor
from tlstudio.engine.preflight import preflight
from tlstudio.engine.recipe import learned_from, parse_recipe, read_recipe_file
from tlstudio.engine.run_queue import add_to_queue, work_off
from tlstudio.engine.said_again import command_line, own_settings
from tlstudio.engine.source import find_source, lineage_of
from tlstudio.engine.start_from import starting_parts
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

ONE_EPOCH = {"epochs": 1, "batch_size": 16, "augmentation": "none", "learning_rate": 0.01, "device": "cpu"}


def train(project: Project, registry: Registry, values: dict[str, Any], dataset: str = "shapes") -> Run:
    """Train one epoch."""
    heard = Heard()
    values = {**values, "training": {**ONE_EPOCH, **values.get("training", {})}}
    run = execute_run(
        complete(values, project.dataset(dataset), registry), project, registry, on_event=heard, control=heard.control
    )
    ended = heard.of(RunEnded)[0]
    assert ended.status == "done", ended.error or ended.traceback
    return run


def learned(run: Run, registry: Registry) -> dict[str, torch.Tensor]:
    """What the backbone of a run has learned, adapters folded in."""
    return find_source(run.id, run.folder.parent).state(registry)


def begun_with(run: Run, registry: Registry) -> dict[str, torch.Tensor]:
    """The frozen backbone of a linear probe: what it has begun with."""
    _, model = load_run_model(run, registry)
    return model.backbone.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def source(shapes_project: Project, registry: Registry) -> Run:
    """A run that has trained its whole backbone."""
    return train(shapes_project, registry, {"backbone": TINY_VISION, "strategy": "full"})


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_run_begins_with_all_that_its_source_has_learned(
    strategy: str, shapes_project: Project, registry: Registry
) -> None:
    source = train(shapes_project, registry, {"backbone": TINY_VISION, "strategy": strategy})
    values = {"backbone": {"start_from": source.id}, "strategy": "linear_probe"}
    run = train(shapes_project, registry, values)
    assert equal(begun_with(run, registry), learned(source, registry))
    fresh = train(shapes_project, registry, {"backbone": TINY_VISION, "strategy": "linear_probe"})
    assert not equal(begun_with(run, registry), begun_with(fresh, registry))
    assert run.read_recipe()["backbone"] == {**TINY_VISION, "start_from": source.id}


def test_a_text_model_for_one_task_is_the_start_of_one_for_another(
    project: Project, reviews_csv: Path, registry: Registry
) -> None:
    import_reviews(project, reviews_csv, registry)
    folder = project.folder.parent / "bert"
    folder.mkdir()
    write_model(folder, "bert")
    write_tokenizer(folder)
    backbone = {"name": "auto_model", "options": {"weights": str(folder), "max_length": 16}}
    source = train(project, registry, {"backbone": backbone, "strategy": "lora"}, "reviews")
    shutil.rmtree(folder)
    start = {"start_from": source.id, "options": {"max_length": 24}}
    run = train(project, registry, {"backbone": start, "strategy": "linear_probe"}, "scores")
    assert equal(begun_with(run, registry), learned(source, registry))
    assert run.read_recipe()["backbone"]["options"]["max_length"] == 24


def test_the_chain_is_written_down_and_outlives_its_first_runs(
    source: Run, shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    second = train(shapes_project, registry, {"backbone": {"start_from": source.id}, "strategy": "lora"})
    third = train(shapes_project, registry, {"backbone": {"start_from": second.id}, "strategy": "linear_probe"})
    chain = lineage_of(third)
    assert [one.run for one in chain] == [source.id, second.id]
    assert [one.strategy for one in chain] == ["full", "lora"]
    file = second.folder / "checkpoints" / "best" / "model.safetensors"
    assert chain[1].files["model.safetensors"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert next(row for row in shapes_project.runs() if row.id == third.id).start_from == second.id
    before = Predictor.from_run(third, registry)
    revision = shapes_project.dataset("shapes")
    samples = [revision.sample(index) for index in range(4)]
    expected = before.outputs(samples)
    for run in (source, second):
        shapes_project.delete_run(run.id)
    assert [one.run for one in lineage_of(third)] == [one.run for one in chain]
    assert torch.equal(Predictor.from_run(third, registry).outputs(samples), expected)
    export_run(third, tmp_path / "model", registry, project=shapes_project)
    assert float((load_predictor(tmp_path / "model").outputs(samples) - expected).abs().max()) < 1e-4
    with pytest.raises(ProblemsError, match="There is no run"):
        complete(third.read_recipe(), revision, registry)


def test_runs_that_lead_in_a_circle_have_no_lineage(source: Run, shapes_project: Project, registry: Registry) -> None:
    second = train(shapes_project, registry, {"backbone": {"start_from": source.id}, "strategy": "linear_probe"})
    (second.folder / "lineage.json").unlink()
    recipe = source.recipe_path.read_text()
    source.recipe_path.write_text(recipe.replace("[backbone]", f'[backbone]\nstart_from = "{second.id}"'))
    assert source.read_recipe()["backbone"]["start_from"] == second.id
    assert lineage_of(source) == lineage_of(second) == ()


def test_an_exported_model_is_a_start_in_another_project(
    source: Run, shapes_project: Project, shapes_folder: Path, registry: Registry, tmp_path: Path
) -> None:
    export_run(source, tmp_path / "model", registry, project=shapes_project)
    with Project.create(tmp_path / "other") as other:
        request, _ = plan_import(registry.formats.values(), shapes_folder, name="shapes")
        import_dataset(request, other.datasets_folder)
        values = {"backbone": {"start_from": str(tmp_path / "model")}, "strategy": "linear_probe"}
        run = train(other, registry, values)
        shutil.rmtree(tmp_path / "model")
        assert [one.run for one in lineage_of(run)] == [source.id]
        assert equal(begun_with(run, registry), learned(source, registry))
        report = export_run(run, tmp_path / "again", registry, project=other)
    config = json.loads((report.folder / "config.json").read_text(encoding="utf-8"))
    assert [one["run"] for one in config["lineage"]] == [source.id]
    assert "start_from" not in config["backbone"]


def test_features_of_another_start_are_not_taken_from_the_cache(
    source: Run, shapes_project: Project, registry: Registry
) -> None:
    plain = train(shapes_project, registry, {"backbone": TINY_VISION, "strategy": "linear_probe"})
    values = {"backbone": {"start_from": source.id}, "strategy": "linear_probe"}
    first, second = train(shapes_project, registry, values), train(shapes_project, registry, values)
    files = [run.read_json("features.json")["file"] for run in (plain, first, second)]
    assert files[0] != files[1] == files[2]


def test_the_plan_says_from_what_the_run_starts(source: Run, shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete({"backbone": {"start_from": source.id}, "training": ONE_EPOCH}, revision, registry)
    plan = preflight(recipe, revision, registry)
    assert plan.sentence.startswith(f"Starts from run {source.id}. Trains ")
    assert plan.weights is not None
    assert plan.weights.path == source.folder / "checkpoints" / "best" / "model.safetensors"
    assert not any("has learned from" in note for note in plan.notes), "it holds out what its start has held out"

    # A fold holds out what its start has learned from.
    folded = complete({**recipe.model_dump(), "dataset": {"name": "shapes", "folds": 3, "fold": 1}}, revision, registry)
    (note,) = seen_before(folded, (), learned_from(folded, revision))
    assert note.startswith(f"Run {source.id} has learned from ")


def test_a_recipe_with_a_start_reads_back_the_same_from_file_and_command_line(
    source: Run, shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete(
        {"backbone": {"start_from": source.id, "options": {"drop_path": 0.1}}, "training": ONE_EPOCH},
        revision,
        registry,
    )
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert parse_recipe(read_recipe_file(tmp_path / "recipe.toml")) == recipe
    line = command_line(recipe, shapes_project.folder, revision=revision, registry=registry).split()
    assert line[line.index("--start-from") + 1] == source.id
    assert "--backbone" not in line
    assert [word for word in line if word.startswith("backbone.")] == ["backbone.drop_path=0.1"]
    own = own_settings(recipe, revision, registry)
    assert complete(own, revision, registry) == recipe
    assert set_values({}, [f"backbone.start_from={source.id}"])["backbone"] == {"start_from": source.id}
    plain = complete({"backbone": TINY_VISION}, revision, registry)
    assert "start_from" not in plain.to_toml()


def wrong(values: dict[str, Any], project: Project, registry: Registry, dataset: str = "shapes") -> str:
    """The sentences by which a recipe is refused."""
    with pytest.raises(ProblemsError) as caught:
        complete(values, project.dataset(dataset), registry)
    return str(caught.value)


def test_everything_that_speaks_against_a_start_is_told_before_the_run(
    source: Run, shapes_project: Project, reviews_csv: Path, registry: Registry, tmp_path: Path
) -> None:
    project = shapes_project
    near = source.id[:-1] + "x"
    told = wrong({"backbone": {"start_from": near}}, project, registry)
    assert "There is no run" in told
    assert source.id in told
    assert "mistake." in told, "the one mistake is not told twice"
    assert "no exported model" in wrong({"backbone": {"start_from": str(tmp_path)}}, project, registry)
    other = {"start_from": source.id, "name": "resnet18"}
    assert "has the backbone test_resnet, not resnet18" in wrong({"backbone": other}, project, registry)
    larger = {"start_from": source.id, "options": {"image_size": 64}}
    told = wrong({"backbone": larger}, project, registry)
    assert "backbone.image_size" in told
    assert "has 32 here" in told
    import_reviews(project, reviews_csv, registry)
    assert "takes images" in wrong({"backbone": {"start_from": source.id}}, project, registry, "reviews")


def test_a_run_that_was_not_trained_to_its_end_is_no_start(
    source: Run, shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete({"backbone": TINY_VISION, "training": ONE_EPOCH}, revision, registry)
    queued = add_to_queue(recipe, shapes_project)
    told = wrong({"backbone": {"start_from": queued.id}}, shapes_project, registry)
    assert f"Run {queued.id} is queued" in told
    source.finish("failed", error="the lights went out")
    told = wrong({"backbone": {"start_from": source.id}}, shapes_project, registry)
    assert "is failed" in told
    assert f"tlstudio resume PROJECT {source.id}" in told


STRATEGY = """
from tlstudio.api import FineTuningStrategy, hookimpl
from tlstudio.api.nn import ParamGroup

TLSTUDIO_API = "1.0"

class Everything(FineTuningStrategy):
    name, title, description = "everything", "Everything", "Trains all there is."

    def prepare(self, model, options):
        pass

    def param_groups(self, model, options, *, learning_rate, weight_decay):
        return [ParamGroup("all", list(model.parameters()), learning_rate)]

@hookimpl
def register_strategies():
    return [Everything()]
"""


def test_a_start_that_was_made_with_a_plugin_that_is_gone_names_it(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "everything.py").write_text(STRATEGY, encoding="utf-8")
    manager = PluginManager(tmp_path)
    manager.discover()
    source = train(shapes_project, manager.registry, {"backbone": TINY_VISION, "strategy": "everything"})
    told = wrong({"backbone": {"start_from": source.id}}, shapes_project, registry)
    assert "The strategy 'everything' comes from the plugin 'everything'" in told


def test_a_start_whose_weights_are_damaged_or_gone_is_told_by_name(
    source: Run, shapes_project: Project, registry: Registry
) -> None:
    values = {"backbone": {"start_from": source.id}, "strategy": "linear_probe"}
    revision = shapes_project.dataset("shapes")
    file = source.folder / "checkpoints" / "best" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ProblemsError, match="is damaged"):
        complete(values, revision, registry, build=True)
    file.unlink()
    with pytest.raises(ProblemsError, match="is missing"):
        complete(values, revision, registry)


def test_weights_of_another_shape_are_told_with_both_shapes(
    source: Run, shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete({"backbone": {"start_from": source.id}}, revision, registry)
    parts = starting_parts(recipe, registry, shapes_project.runs_folder)
    module = parts.backbone.restore(parts.backbone_options, source.assets)
    state = module.state_dict()
    name = next(name for name, value in state.items() if value.ndim == 4)
    with pytest.raises(WeightsError, match="another shape") as caught:
        module.take_over({**state, name: state[name][:1]}, source.assets)
    assert source.id in str(caught.value)


def test_a_run_that_was_interrupted_goes_on_although_its_start_is_gone(
    source: Run, shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    values = {
        "backbone": {"start_from": source.id},
        "strategy": "full",
        "training": {**ONE_EPOCH, "epochs": 3, "checkpoint_every": 0},
    }
    recipe = complete(values, revision, registry)
    whole = Heard()
    expected = execute_run(recipe, shapes_project, registry, on_event=whole, control=whole.control)
    heard = Heard()

    def listen(event: Any) -> None:
        heard(event)
        if isinstance(event, EpochEnded) and event.epoch == 2:
            heard.control.cancel()

    run = execute_run(recipe, shapes_project, registry, on_event=listen, control=heard.control)
    assert heard.of(RunEnded)[0].status == "cancelled"
    shapes_project.delete_run(source.id)
    again = Heard()
    resume_run(run.id, shapes_project, registry, on_event=again, control=RunControl())
    assert again.of(RunEnded)[0].status == "done"
    assert not [note for note in again.of(Note) if "anew" in note.text]
    one, other = (load_file(each.folder / "checkpoints" / "best" / "model.safetensors") for each in (expected, run))
    assert equal(one, other)
    assert [each.run for each in lineage_of(run)] == [source.id]


def test_a_queued_run_starts_from_its_source_in_a_process_of_its_own(
    source: Run, shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    values = {"backbone": {"start_from": source.id}, "strategy": "linear_probe", "training": ONE_EPOCH}
    run = add_to_queue(complete(values, revision, registry), shapes_project)
    assert [one.run for one in lineage_of(run)] == [source.id], "known before it has begun"
    work_off(shapes_project, on_event=lambda _: None, control=RunControl())
    assert run.status == "done"
    assert equal(begun_with(run, registry), learned(source, registry))


def test_a_start_with_links_in_its_assets_is_not_copied(
    source: Run, shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("a key", encoding="utf-8")
    (source.assets / "link.txt").symlink_to(tmp_path / "secret.txt")
    recipe = complete({"backbone": {"start_from": source.id}}, shapes_project.dataset("shapes"), registry)
    parts = starting_parts(recipe, registry, shapes_project.runs_folder)
    with pytest.raises(RunError, match="is a link"):
        parts.backbone.save_assets(parts.backbone_options, tmp_path / "assets")
    assert not (tmp_path / "assets").exists()
    assert find_parts(recipe, registry).backbone.name == "test_resnet"
