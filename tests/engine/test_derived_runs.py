"""Runs that are made of others: averages of weights, and that what comes out is a run like any other."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION
from tests.engine.test_start_from import equal, learned, train
from tlstudio.api import ProblemsError, RunError
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.averaging import WiseFT, average
from tlstudio.engine.checkpoint_reading import find_checkpoint
from tlstudio.engine.derivation import read_derivation
from tlstudio.engine.derived import Bench, plain_model
from tlstudio.engine.evaluate import evaluate_run, read_evaluation
from tlstudio.engine.export import export_run
from tlstudio.engine.predict import Predictor, load_predictor
from tlstudio.engine.pruning import Pruning, prunable, zero_smallest
from tlstudio.engine.run_queue import add_to_queue
from tlstudio.engine.soups import Kettle
from tlstudio.engine.source import lineage_of
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

LP_FT: dict[str, Any] = {"backbone": TINY_VISION, "strategy": "lp_ft", "methods": {"wise_ft": {}}}


@pytest.fixture(scope="module")
def all_plugins() -> Registry:
    manager = PluginManager()
    manager.discover()
    return manager.registry


def going_on_from(run: Run) -> dict[str, Any]:
    """A recipe that trains everything from where a run has ended."""
    return {
        "backbone": {"start_from": run.id},
        "head": {"take_over": True},
        "strategy": "full",
        "methods": {"wise_ft": {}},
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, all_plugins: Registry) -> Path:
    """A project with LP-FT, two fine-tuned runs of other seeds, a probe and one that goes on from it.

    Each test works on a copy.
    """
    folder = tmp_path_factory.mktemp("derived")
    with Project.create(folder / "project") as project:
        request, _ = plan_import(
            all_plugins.formats.values(), draw_folder(folder / "shapes", 12), name="shapes", task="classification"
        )
        import_dataset(request, project.datasets_folder)
        train(project, all_plugins, LP_FT)
        for seed, strategy in ((0, "full"), (1, "lora")):
            train(project, all_plugins, {"backbone": TINY_VISION, "strategy": strategy, "training": {"seed": seed}})
        probe = train(project, all_plugins, {"backbone": TINY_VISION, "strategy": "linear_probe"})
        train(project, all_plugins, going_on_from(probe))
    return folder / "project"


@pytest.fixture
def ready(kept: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(kept, tmp_path / "copy")
    with Project.open(tmp_path / "copy") as project:
        yield project


def named(project: Project, part: str) -> Run:
    """The run with this in its id."""
    return next(project.run(row.id) for row in project.runs() if part in row.id)


def state_of(run: Run, registry: Registry) -> dict[str, Tensor]:
    return dict(load_run_model(run, registry)[1].state_dict())


def test_averages_are_those_of_float64_and_equal_or_whole_numbers_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    models = [
        {
            "w": torch.tensor(rng.normal(size=(5, 3)), dtype=torch.float32),
            "mask": torch.tensor([0.0, -math.inf]),
            "count": torch.tensor(number),
            "half": torch.tensor(rng.normal(size=4)).half(),
        }
        for number in range(3)
    ]
    shares = [0.2, 0.3, 0.5]
    mean = average(models, shares)
    by_hand = sum(share * model["w"].numpy().astype(np.float64) for share, model in zip(shares, models, strict=True))
    assert np.array_equal(mean["w"].numpy(), np.asarray(by_hand).astype(np.float32))
    assert mean["half"].dtype == torch.float16
    assert mean["mask"].tolist() == [0.0, -math.inf]
    assert int(mean["count"]) == 2
    for alone in range(3):
        assert equal(average(models, [float(number == alone) for number in range(3)]), models[alone])
    even = average(models)
    assert np.allclose(even["w"].numpy(), np.mean([m["w"].numpy() for m in models], axis=0), atol=1e-7)
    with pytest.raises(RunError, match="'w' is not the same part"):
        average([models[0], {**models[1], "w": torch.zeros(2)}])
    with pytest.raises(RunError, match="'more' is not the same part"):
        average([models[0], {**models[1], "more": torch.zeros(2)}])


def test_the_start_of_an_lp_ft_run_is_the_pretrained_backbone_under_a_fitted_head(
    ready: Project, all_plugins: Registry
) -> None:
    run = named(ready, "lp_ft")
    start, end = (dict(plain_model(run, all_plugins, kind)[1].state_dict()) for kind in ("start", "best"))
    with torch.random.fork_rng():
        torch.manual_seed(run.read_recipe()["training"]["seed"])
        backbone = all_plugins.backbone("test_resnet")
        fresh = backbone.load(backbone.Options.model_validate(TINY_VISION["options"])).state_dict()
    bodies = {name: value for name, value in start.items() if name.startswith("backbone.")}
    assert not equal(bodies, {name: value for name, value in end.items() if name in bodies})
    assert bodies.keys() == {f"backbone.{name}" for name in fresh}
    assert start["head.output.weight"].abs().max() > 0.03, "the head has been fitted"


def test_both_ends_of_the_curve_are_start_and_end_and_the_best_is_chosen_on_the_validation_split(
    ready: Project, all_plugins: Registry
) -> None:
    run = named(ready, "lp_ft")
    wise = WiseFT(Bench(run, ready, all_plugins))
    curve = wise.curve((1.0, 0.0, 0.5))
    assert [point.alpha for point in curve.points] == [0.0, 0.5, 1.0]
    assert curve.points[-1].measured.metrics["test"] == run.metrics()["test"]
    assert not curve.statistics, "LP-FT keeps those of the pretrained backbone"
    values = [point.measured.metrics["validation"][curve.monitor] for point in curve.points]
    assert values[curve.best] == max(values)
    for alpha, kind in ((0.0, "start"), (1.0, "best")):
        made = wise.save(alpha, curve)
        expected = dict(plain_model(run, all_plugins, "start" if kind == "start" else "best")[1].state_dict())
        assert equal(state_of(made, all_plugins), expected)


def test_of_equally_good_shares_that_nearest_to_the_middle_is_taken(ready: Project, all_plugins: Registry) -> None:
    run = named(ready, "lp_ft")
    start = run.folder / "checkpoints" / "start"
    shutil.rmtree(start)
    shutil.copytree(start.with_name("best"), start)
    curve = WiseFT(Bench(run, ready, all_plugins)).curve((1.0, 0.0, 0.6, 0.1))
    assert curve.points[curve.best].alpha == 0.6


def test_the_weights_between_are_the_mean_and_batchnorm_is_measured_anew(ready: Project, all_plugins: Registry) -> None:
    run = named(ready, "005-full")
    made = WiseFT(Bench(run, ready, all_plugins)).save(0.25)
    start, end = (dict(plain_model(run, all_plugins, kind)[1].state_dict()) for kind in ("start", "best"))
    found = state_of(made, all_plugins)
    for name, value in found.items():
        if "running" in name or "num_batches" in name:
            continue
        by_hand = 0.75 * start[name].double().numpy() + 0.25 * end[name].double().numpy()
        assert np.array_equal(value.numpy(), by_hand.astype(value.numpy().dtype)), name
    moved = [name for name in found if name.endswith("running_mean")]
    assert moved
    assert all(not torch.equal(found[name], end[name]) for name in moved)
    bench = Bench(made, ready, all_plugins)
    first = next(module for module in bench.model.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda _module, taken: seen.append(taken[0].double()))
    with torch.no_grad():
        for batch in bench.training_batches().epoch(0):
            bench.model(batch.inputs)
    hook.remove()
    mean = np.mean([x.mean(dim=(0, 2, 3)).numpy() for x in seen], axis=0)
    variance = np.mean([x.transpose(0, 1).flatten(1).var(dim=1).numpy() for x in seen], axis=0)
    assert first.running_mean is not None
    assert first.running_var is not None
    assert np.allclose(first.running_mean.numpy(), mean, atol=1e-5)
    assert np.allclose(first.running_var.numpy(), variance, rtol=1e-4)


def test_a_derived_run_is_a_run_like_any_other_and_outlives_its_parent(
    ready: Project, all_plugins: Registry, tmp_path: Path
) -> None:
    parent = named(ready, "lp_ft")
    hashes = find_checkpoint(parent.folder / "checkpoints", "best")[1]
    made = WiseFT(Bench(parent, ready, all_plugins)).save(0.5)
    assert made.id.endswith("-wise_ft")
    derivation = read_derivation(made)
    assert derivation is not None
    assert derivation.options == {"alpha": 0.5}
    assert derivation.parents[0].run == parent.id
    assert derivation.parents[0].files == hashes
    assert [one.run for one in lineage_of(made)] == [parent.id]
    ready.delete_run(parent.id)
    ready.rebuild_index()
    row = next(row for row in ready.runs() if row.id == made.id)
    assert (row.status, row.made_by, row.strategy) == ("done", "wise_ft", "lp_ft")
    assert row.metrics == made.metrics()
    assert row.monitor == "f1_macro"
    stored = read_evaluation(made)
    again = evaluate_run(made, ready, all_plugins)
    assert again.metrics == stored.metrics == row.metrics["test"]
    assert again.items == stored.items
    revision = ready.dataset("shapes")
    samples = [revision.sample(index) for index in range(4)]
    expected = Predictor.from_run(made, all_plugins).outputs(samples)
    export_run(made, tmp_path / "model", all_plugins, project=ready)
    assert float((load_predictor(tmp_path / "model").outputs(samples) - expected).abs().max()) < 1e-4
    next_run = train(ready, all_plugins, {"backbone": {"start_from": made.id}, "strategy": "linear_probe"})
    assert [one.run for one in lineage_of(next_run)] == [parent.id, made.id]
    with pytest.raises(RunError, match="nothing to go on with"):
        ready.resume_run(made.id)
    said = [json.loads(line) for line in made.event_lines()]
    assert said[-1]["run"] == made.id
    (made.folder / "derived.json").write_text('{"format": 1}')
    with pytest.raises(RunError, match=r"derived\.json of run .* is damaged"):
        load_run_model(made, all_plugins)


def test_a_run_that_cannot_be_written_whole_is_not_there_at_all(ready: Project, all_plugins: Registry) -> None:
    run = named(ready, "lp_ft")
    wise = WiseFT(Bench(run, ready, all_plugins))
    wise.measure(0.5)
    before = {path.name for path in ready.runs_folder.iterdir()}
    (run.assets / "elsewhere").symlink_to(ready.folder)
    with pytest.raises(RunError, match="is a link or a pipe"):
        wise.save(0.5)
    assert {path.name for path in ready.runs_folder.iterdir()} == before


def test_what_has_no_start_or_is_not_finished_is_told(ready: Project, all_plugins: Registry) -> None:
    with pytest.raises(RunError, match="has not kept the weights with which its fine-tuning began"):
        WiseFT(Bench(named(ready, "002-full"), ready, all_plugins))
    recipe = complete(LP_FT, ready.dataset("shapes"), all_plugins)
    with pytest.raises(RunError, match="is queued"):
        WiseFT(Bench(add_to_queue(recipe, ready), ready, all_plugins))
    wise = WiseFT(Bench(named(ready, "001-lp_ft"), ready, all_plugins))
    for alpha in (-0.1, 1.5, math.nan):
        with pytest.raises(RunError, match="from 0 to 1"):
            wise.save(alpha)
    for strategy, sentence in (("full", "the head begins with random"), ("linear_probe", "start and end are the same")):
        with pytest.raises(ProblemsError, match=sentence):
            complete({**LP_FT, "strategy": strategy}, ready.dataset("shapes"), all_plugins)


def test_the_start_of_gradual_unfreezing_is_where_the_backbone_joins(
    shapes_project: Project, registry: Registry
) -> None:
    values = {**LP_FT, "strategy": "gradual_unfreezing", "training": {"epochs": 3, "keep": "last"}}
    run = train(shapes_project, registry, values)
    state = json.loads((run.folder / "checkpoints" / "start" / "state.json").read_text())
    assert state["epoch"] == 1
    groups = len(load_run_model(run, registry)[1].layer_groups())
    told = f"Only 2 of the {groups} layer groups of the backbone come to learn in 3 epochs: for all of them, set"
    assert any(told in line for line in run.event_lines()), "the run tells it too"


def test_a_head_that_is_taken_over_makes_a_start(ready: Project, all_plugins: Registry) -> None:
    start = dict(plain_model(named(ready, "005-full"), all_plugins, "start")[1].state_dict())
    assert equal(start, state_of(named(ready, "linear_probe"), all_plugins))


def test_a_uniform_soup_is_the_mean_of_all_and_adapters_are_folded_in(ready: Project, all_plugins: Registry) -> None:
    runs = [named(ready, "002-full"), named(ready, "lora")]
    kettle = Kettle(runs, ready, all_plugins)
    soup = kettle.cook(greedy=False)
    assert all(tasted.taken for tasted in soup.tasted)
    made = kettle.save(soup)
    found = state_of(made, all_plugins)
    parts = [dict(plain_model(run, all_plugins)[1].state_dict()) for run in runs]
    for name, value in found.items():
        if value.is_floating_point() and "running" not in name:
            by_hand = (parts[0][name].double() + parts[1][name].double()) / 2
            assert np.allclose(value.numpy(), by_hand.numpy(), rtol=1e-6, atol=1e-8), name
    derivation = read_derivation(made)
    assert derivation is not None
    assert {one.run for one in derivation.parents} == {run.id for run in runs}
    assert {one.run for one in lineage_of(made)} == {run.id for run in runs}
    assert learned(made, all_plugins)


def test_a_greedy_soup_is_never_worse_than_the_best_of_its_runs_on_the_validation_split(
    ready: Project, all_plugins: Registry
) -> None:
    runs = [named(ready, part) for part in ("lp_ft", "002-full", "lora")]
    kettle = Kettle(runs, ready, all_plugins)
    soup = kettle.cook(greedy=True)
    values = [tasted.measured.metrics["validation"][soup.monitor] for tasted in soup.tasted]
    assert values == sorted(values, reverse=True)
    assert soup.tasted[0].taken
    assert soup.measured.metrics["validation"][soup.monitor] >= values[0]
    made = kettle.save(soup)
    derivation = read_derivation(made)
    assert derivation is not None
    assert [one.run for one in derivation.parents] == [tasted.run for tasted in soup.tasted if tasted.taken]


def test_everything_that_speaks_against_a_soup_is_told_at_once(
    ready: Project, all_plugins: Registry, tmp_path: Path
) -> None:
    first = named(ready, "002-full")
    (first.assets / "columns.json").write_text("[]")
    with pytest.raises(ProblemsError, match="has seen other data before it was trained"):
        Kettle([first, named(ready, "lora")], ready, all_plugins)
    with pytest.raises(ProblemsError, match="At least two"):
        Kettle([first], ready, all_plugins)
    with pytest.raises(ProblemsError, match="more than once"):
        Kettle([first, first], ready, all_plugins)
    request, _ = plan_import(
        all_plugins.formats.values(), draw_folder(tmp_path / "more", 8), name="more", task="classification"
    )
    import_dataset(request, ready.datasets_folder)
    larger = {"name": "test_resnet", "options": {"weights": "random", "image_size": 48}}
    other = train(ready, all_plugins, {"backbone": larger, "strategy": "linear_probe"}, "more")
    with pytest.raises(ProblemsError) as caught:
        Kettle([first, other], ready, all_plugins)
    told = str(caught.value)
    assert "another data set" in told
    assert "backbone.image_size" in told


def test_a_start_is_kept_by_the_runs_that_were_asked_to_keep_it(kept: Path) -> None:
    files = sorted(kept.rglob("checkpoints/start/model.safetensors"))
    assert [path.parents[2].name[-9:] for path in files] == ["001-lp_ft", "-005-full"]
    assert all(load_file(file) for file in files)


def test_exactly_the_smallest_weights_of_all_layers_become_zero() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.Embedding(7, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sizes = np.concatenate([before[name].double().abs().numpy().ravel() for name in ("0.weight", "3.weight")])
    zeros, count = zero_smallest(model, 0.3)
    assert (zeros, count) == (round(0.3 * len(sizes)), len(sizes))
    limit = np.sort(sizes)[zeros]
    for name, value in model.state_dict().items():
        kept = before[name].numpy()
        expected = np.where(np.abs(kept) < limit, 0, kept) if name in ("0.weight", "3.weight") else kept
        assert np.array_equal(value.numpy(), expected), name
    table, output = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    output.weight = table.weight
    assert not prunable(nn.Sequential(output, table)), "an embedding that is also the output is left alone"
    with pytest.raises(RunError, match="no linear layers"):
        zero_smallest(nn.Embedding(3, 2), 0.5)
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(RunError, match="from 0 to below 1"):
            zero_smallest(model, wrong)


def test_the_curve_of_pruning_begins_with_the_run_itself_and_its_file_shrinks_in_a_zip_alone(
    ready: Project, all_plugins: Registry, tmp_path: Path
) -> None:
    run = named(ready, "lora")
    pruning = Pruning(Bench(run, ready, all_plugins))
    dense, sparse = pruning.curve((0.0, 0.9))
    assert dense.zeros == 0
    assert dense.measured.metrics["test"]["accuracy"] == run.metrics()["test"]["accuracy"]
    assert sparse.zeros == round(0.9 * sparse.prunable)
    assert sparse.size == dense.size
    assert sparse.compressed < 0.4 * dense.compressed
    made = pruning.save(sparse, (dense, sparse))
    found = state_of(made, all_plugins)
    report = export_run(made, tmp_path / "model", all_plugins, project=ready)
    assert abs((report.folder / "model.safetensors").stat().st_size - sparse.size) < 200, "but for who has written it"
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(report.folder / "model.safetensors")
    packed = (tmp_path / "packed.zip").stat().st_size
    assert abs(packed - sparse.compressed) < 600, "but for the header and the name in the archive"
    assert sum(int((found[name] == 0).sum()) for name in found if found[name].ndim > 1) >= sparse.zeros
    derivation = read_derivation(made)
    assert derivation is not None
    assert [row["sparsity"] for row in derivation.curve] == [0.0, 0.9]
