"""Adapters of runs: alone in a file, several on one backbone, and those that cannot be folded in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from peft import PeftModel
from safetensors.torch import save_file

from tests.conftest import import_reviews
from tests.engine.conftest import Heard
from tests.plugins.test_text import write_model, write_tokenizer
from tlstudio.api import ProblemsError, RunError
from tlstudio.cli.main import run as command
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.engine.export_adapter import adapter_readme, export_adapter
from tlstudio.engine.predict import Predictor
from tlstudio.engine.predictor_pool import PredictorPool
from tlstudio.engine.recipe import parse_recipe
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

TINY_TRANSFORMER: dict[str, Any] = {"name": "test_vit", "options": {"weights": "random", "image_size": 32}}


def train(project: Project, registry: Registry, strategy: Any, **more: Any) -> Run:
    """Train for one epoch."""
    heard = Heard()
    values = {
        "backbone": TINY_TRANSFORMER,
        "strategy": strategy,
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2, "augmentation": "none"},
        **more,
    }
    recipe = complete(values, project.dataset(values.get("dataset", {}).get("name", "shapes")), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run


def done(readme: str, folder: Path, weights: Path, **given: Any) -> Any:
    """The output of the code that a README shows."""
    code = readme.partition("```python\n")[2].partition("```")[0]
    exec(code.replace("THIS_FOLDER", str(folder)).replace("FIRST_WEIGHTS", str(weights)), given)
    return given["output"].detach()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers for it
@pytest.mark.parametrize(("strategy", "pooling"), [("lora", "mean"), ("lora", "last"), ("qlora", "mean")])
def test_the_code_beside_an_adapter_for_texts_gives_the_outputs_of_the_run(
    strategy: str, pooling: str, project: Project, reviews_csv: Path, registry: Registry, tmp_path: Path
) -> None:
    import_reviews(project, reviews_csv, registry)
    folder = tmp_path / "bert"
    folder.mkdir()
    write_model(folder, "bert")
    write_tokenizer(folder)
    options = {"weights": str(folder), "max_length": 16, "pooling": pooling}
    values = {"backbone": {"name": "auto_model", "options": options}, "dataset": {"name": "reviews"}}
    head = {"name": "classification", "options": {"hidden": 8}}
    run = train(project, registry, strategy, **values, head=head)
    samples = [project.dataset("reviews").sample(index) for index in range(4)]
    expected = Predictor.from_run(run, registry, "cpu").outputs(samples)
    export_adapter(run, tmp_path / "adapter", registry)
    readme = (tmp_path / "adapter" / "README.md").read_text("utf-8")
    assert str(tmp_path) not in readme
    output = done(readme, tmp_path / "adapter", folder, texts=[sample.text for sample in samples])
    assert ("in fewer bits" in readme) == (strategy == "qlora")
    if strategy == "qlora":  # with weights in four bits
        assert float((output - expected).norm()) < 0.05 * float(expected.norm())
    else:
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.starter
def test_the_code_beside_an_adapter_for_a_starter_backbone_takes_the_file_of_its_package(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    backbone = {"name": "tf_efficientnet_lite0", "options": {"image_size": 64}}
    run = train(shapes_project, registry, "lora", backbone=backbone, dataset={"name": "shapes", "shots": 4})
    sample = shapes_project.dataset("shapes").sample(0)
    export_adapter(run, tmp_path / "adapter", registry)
    readme = (tmp_path / "adapter" / "README.md").read_text("utf-8")
    parts, model = load_run_model(run, registry)
    weights = parts.backbone.find_weights(parts.backbone_options).path
    assert weights is not None
    preprocess = preprocessor_of(parts, assets=run.assets)
    inputs = preprocess.collate([preprocess(sample)])
    with torch.no_grad():
        expected = model(inputs)
    output = done(readme, tmp_path / "adapter", weights, pixels=inputs["pixels"])
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    prepared = json.loads((tmp_path / "adapter" / "preprocessing.json").read_text("utf-8"))
    assert (prepared["height"], prepared["mean"], prepared["crop_mode"]) == (64, [0.5, 0.5, 0.5], "center")


def test_an_exported_adapter_gives_the_same_features_in_peft_alone(
    shapes_project: Project, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", img_size=32).state_dict(), weights)  # with a classifier
    options = {**TINY_TRANSFORMER["options"], "weights": str(weights)}
    run = train(shapes_project, registry, "lora", backbone={**TINY_TRANSFORMER, "options": options})
    folder = shapes_project.folder
    shapes_project.close()
    capsys.readouterr()
    assert command(["export", str(folder), run.id, str(tmp_path / "adapter"), "--adapter", "--json"]).code == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    rank = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text("utf-8"))["r"]
    assert 1 <= rank < 8, "the most that is small beside this network"
    assert run.read_recipe()["strategy"] == {"name": "lora", "options": {"rank": rank}}
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    assert report["size_bytes"] == file.stat().st_size

    parts, model = load_run_model(run, registry)
    with Project.open(folder, write=False) as project:
        sample = project.dataset("shapes").sample(0)
    preprocess = preprocessor_of(parts, assets=run.assets)
    inputs = preprocess.collate([preprocess(sample)])
    backbone: Any = model.backbone
    with torch.no_grad():
        expected = backbone(inputs).pooled
        output = model(inputs)
    network = timm.create_model("test_vit", num_classes=0, img_size=32)
    first = {
        name.removeprefix("model.").replace(".base_layer.", "."): value
        for name, value in backbone.state_dict().items()
        if "lora_" not in name
    }
    network.load_state_dict(first)  # the weights that the run began with
    alone = PeftModel.from_pretrained(network, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        torch.testing.assert_close(alone(inputs["pixels"]), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(alone.unload()(inputs["pixels"]), expected, atol=1e-3)
    recipe = parse_recipe(run.read_recipe())
    readme = (tmp_path / "adapter" / "README.md").read_text("utf-8")
    assert readme == adapter_readme(recipe, parts)
    assert "\n`vit.safetensors` (your file), as `FIRST_WEIGHTS` below:\n" in readme
    torch.testing.assert_close(done(readme, tmp_path / "adapter", weights, pixels=inputs["pixels"]), output)
    chained = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update={"start_from": "the first run"})})
    readme = adapter_readme(chained, parts)
    assert "with the first weights of the run:\nthose of `the first run`" in readme
    assert 'FIRST_WEIGHTS"' not in readme
    named = {f"backbone.model.{name}": value for name, value in first.items()}
    (tmp_path / "first").mkdir()
    save_file(named, tmp_path / "first" / "model.safetensors")
    readme = readme.replace("FIRST_MODEL/", f"{tmp_path / 'first'}/")
    torch.testing.assert_close(done(readme, tmp_path / "adapter", weights, pixels=inputs["pixels"]), output)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(RunError, match="is not empty"):
        export_adapter(run, tmp_path / "taken", registry)


def test_runs_on_one_backbone_are_switched_with_the_backbone_in_memory_once(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    runs = [
        train(shapes_project, registry, "lora"),
        train(shapes_project, registry, {"name": "vpt", "options": {"prompts": 2}}),
        train(shapes_project, registry, "linear_probe"),
        train(shapes_project, registry, {"name": "lora", "options": {"rank": 2}}),
    ]
    revision = shapes_project.dataset("shapes")
    samples = [revision.sample(index) for index in range(3)]
    pool = PredictorPool(registry, "cpu")
    sizes = []
    for run in (*runs, *runs):
        expected = Predictor.from_run(run, registry, "cpu").outputs(samples)
        assert torch.equal(pool.get(run).outputs(samples), expected)
        assert pool.get(run) is pool.get(run)
        sizes.append(pool.size)
    assert sizes[3:] == [sizes[3]] * 5
    _, alone = load_run_model(runs[2], registry)
    backbone = sum(p.numel() * p.element_size() for p in alone.backbone.parameters())
    assert sizes[3] < 1.4 * backbone, "a tiny network, beside which adapters and heads are not so small"
    last = runs.pop()
    pool.get(last)
    shapes_project.delete_run(last.id)
    runs.append(train(shapes_project, registry, {"name": "lora", "options": {"rank": 3}}))
    assert runs[3].id == last.id, "the next one on the same day"
    expected = Predictor.from_run(runs[3], registry, "cpu").outputs(samples)
    assert torch.equal(pool.get(runs[3]).outputs(samples), expected)
    pool.forget(runs[0])
    assert pool.size < sizes[3]
    assert torch.equal(
        pool.get(runs[1]).outputs(samples), Predictor.from_run(runs[1], registry, "cpu").outputs(samples)
    )

    # With all that is frozen in one file, by its hash, adapter and head alone are read: the file may even be damaged.
    expected = Predictor.from_run(runs[3], registry, "cpu").outputs(samples)
    frozen = runs[3].folder / "checkpoints" / "base.safetensors"
    frozen.write_bytes(bytes(frozen.stat().st_size))
    pool = PredictorPool(registry, "cpu", most=2)
    first, second = pool.switch(runs[0]), pool.switch(runs[3])
    assert (first.shared, first.backbone_read) == (False, True)
    assert (second.shared, second.backbone_read) == (True, False)
    assert second.own_bytes < 0.3 * backbone
    blocks = [one.predictor._model.backbone.get_submodule("model.blocks") for one in (first, second)]
    for mine, theirs in zip(*(dict(block.named_parameters()).items() for block in blocks), strict=False):
        assert (mine[1] is theirs[1]) == ("lora" not in mine[0])
    assert torch.equal(second.predictor.outputs(samples), expected)
    assert torch.equal(
        pool.get(runs[0]).outputs(samples), Predictor.from_run(runs[0], registry, "cpu").outputs(samples)
    )
    for other in runs[1:3]:
        pool.get(other)
    with pytest.raises(RunError, match="damaged"):
        pool.get(runs[3])  # two are held at most, and what these have frozen lies in other files: it is read again

    # What cannot be folded in stays part of the export, and nothing can start from its backbone.
    report = export_run(runs[1], tmp_path / "export", registry, project=shapes_project)
    config = json.loads((report.folder / "config.json").read_text(encoding="utf-8"))
    assert config["format"] == 2
    assert config["prepared_by"] == {"name": "vpt", "options": {"prompts": 2}}
    again = Predictor.from_export(report.folder, registry, "cpu")
    assert torch.equal(again.outputs(samples), pool.get(runs[1]).outputs(samples))
    for start in (runs[1].id, str(report.folder)):
        with pytest.raises(ProblemsError, match=r"has a backbone with Visual prompts \(VPT\) in it"):
            train(shapes_project, registry, "full", backbone={"start_from": start})
    with pytest.raises(RunError, match="no adapter that other programs read"):
        export_adapter(runs[1], tmp_path / "adapter", registry)
    assert not (tmp_path / "adapter").exists()


def test_an_export_with_the_former_width_of_an_option_that_is_left_out_still_loads(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, {"name": "adapters", "options": {"width": 64}})
    shown = run.recipe_path.read_text(encoding="utf-8")
    assert "width = 64" in shown
    run.recipe_path.write_text(shown.replace("width = 64", ""), encoding="utf-8")
    report = export_run(run, tmp_path / "export", registry, project=shapes_project)
    config = json.loads((report.folder / "config.json").read_text(encoding="utf-8"))
    assert config["prepared_by"] == {"name": "adapters", "options": {}}
    samples = [shapes_project.dataset("shapes").sample(index) for index in range(2)]
    again = Predictor.from_export(report.folder, registry, "cpu").outputs(samples)
    assert torch.equal(again, Predictor.from_run(run, registry, "cpu").outputs(samples))
