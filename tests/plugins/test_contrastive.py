"""Learning from two views without labels: the mathematics of SimCLR and MoCo, and runs with them."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import Prediction, ProblemsError, RunError, Sample, TargetInfo
from tlstudio.api.method_modules import TrainingStep
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.evaluate import evaluate_run, read_evaluation
from tlstudio.engine.events import EpochEnded, RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.engine.predict import Predictor
from tlstudio.engine.views import PreparedInViews
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.testing.components import tiny_backbones
from tlstudio.testing.methods import method_context
from tlstudio.testing.samples import tiny_samples
from tlstudio_heads.contrastive_head import Contrastive
from tlstudio_heads.contrastive_metrics import contrastive_metrics
from tlstudio_heads.contrastive_module import nt_xent
from tlstudio_methods.momentum_contrast import MomentumContrast
from tlstudio_methods.momentum_contrast_module import MomentumContrastModule, info_nce

TARGET = TargetInfo("pretraining")


def _cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def test_nt_xent_is_that_of_the_paper() -> None:
    views = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = views.flatten(0, 1).tolist()
    expected = []
    for first in range(0, 10, 2):
        both = []
        for own, other in ((first, first + 1), (first + 1, first)):
            exps = {k: math.exp(_cosine(rows[own], rows[k]) / 0.3) for k in range(10) if k != own}
            both.append(-math.log(exps[other] / sum(exps.values())))
        expected.append(sum(both) / 2)
    assert nt_xent(views, 0.3).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_single_item_has_nothing_to_be_told_from() -> None:
    views = torch.randn(1, 2, 4, requires_grad=True)
    loss = nt_xent(views, 0.1)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert views.grad is not None
    assert views.grad.abs().max() < 1e-6


def test_a_split_is_measured_in_groups_whatever_the_batches_are() -> None:
    head = Contrastive().build(tiny_backbones("image")[0].info().shape, TARGET, Contrastive().Options())
    output = torch.randn(300, 2, 128, generator=torch.Generator().manual_seed(1))
    head.train()
    whole = head.loss(output, torch.empty(300, 0))
    assert torch.allclose(whole, nt_xent(output, 0.1))
    head.eval()
    grouped = head.loss(output, torch.empty(300, 0))
    assert torch.allclose(grouped, torch.cat([nt_xent(output[:150], 0.1), nt_xent(output[150:], 0.1)]))
    metrics = contrastive_metrics()
    output[:, 1] = torch.where(torch.arange(300).unsqueeze(1) < 75, output[:, 0], output[:, 1])
    metrics.update(output, torch.empty(300, 0))
    assert 0.25 <= float(metrics.compute()["contrastive_accuracy"]) < 0.35


def test_info_nce_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(2)
    queries, keys, queue = (torch.randn(count, 6, generator=generator, dtype=torch.float64) for count in (4, 4, 9))
    keys, queue = keys / keys.norm(dim=1, keepdim=True), queue / queue.norm(dim=1, keepdim=True)
    expected = []
    for query, key in zip(queries.tolist(), keys.tolist(), strict=True):
        positive = math.exp(_cosine(query, key) / 0.2)
        negatives = sum(math.exp(_cosine(query, other) / 0.2) for other in queue.tolist())
        expected.append(-math.log(positive / (positive + negatives)))
    assert info_nce(queries, keys.float(), queue.float(), 0.2).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def images(tmp_path: Path) -> list[Sample]:
    """Six images."""
    return tiny_samples("image", "classification", tmp_path, count=6)


def _moco(images: list[Sample], **options: Any) -> tuple[MomentumContrastModule, list[Tensor]]:
    context = method_context(Contrastive(), images, TARGET)
    method = MomentumContrast()
    module = method.build(context, method.Options.model_validate(options))
    assert isinstance(module, MomentumContrastModule)
    module.begin()
    generator = torch.Generator().manual_seed(3)
    pixels = next(context.batches(""))[0]["pixels"]
    shape = (4, 2, *pixels.shape[-3:])
    return module, [torch.randn(shape, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("symmetric", [True, False])
def test_queue_and_momentum_encoder_of_moco_follow_exactly(images: list[Sample], symmetric: bool) -> None:
    torch.manual_seed(0)
    module, batches = _moco(images, momentum=0.9, queue=6, symmetric=symmetric)
    model = module.context.model.train()
    assert len(module.queue) == 6
    assert module.queue.norm(dim=1).tolist() == pytest.approx([1] * 6)
    assert module.param_groups(learning_rate=1.0, weight_decay=0.0) == []
    queue = module.queue.double().clone()
    place = 0
    follows = {name: value.double().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for number, pixels in enumerate(batches, start=1):
        own = module.encoder_of_keys.state_dict()
        for name, value in follows.items():
            assert torch.allclose(own[name].double(), value, atol=1e-6), name
        inputs = {"pixels": pixels}
        output = model(inputs)
        step = TrainingStep(inputs, torch.empty(4, 0), {}, {}, 0.0, module.context.forward)
        step.features, step.output = module.context.forward({"pixels": pixels.flatten(0, 1)})[0], output
        with torch.no_grad():
            keys = module.encoder_of_keys(inputs).double()
        keys = keys / keys.norm(dim=-1, keepdim=True)
        queries = output.detach().double()
        queries = queries / queries.norm(dim=-1, keepdim=True)
        expected = []
        for item in range(4):
            both = []
            for one, other in ((0, 1), (1, 0))[: 2 if symmetric else 1]:
                near = [float(queries[item, one] @ key) for key in [keys[item, other], *queue]]
                both.append(-near[0] / 0.2 + math.log(sum(math.exp(value / 0.2) for value in near)))
            expected.append(sum(both) / len(both))
        losses = module.losses(step, torch.zeros(4))
        assert losses.tolist() == pytest.approx(expected, rel=1e-4)
        assert torch.equal(module.losses(step, torch.zeros(4)), losses)  # as under SAM: nothing enters the queue twice
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        module.after_step()
        for key in (keys.flatten(0, 1) if symmetric else keys[:, 1])[-6:]:
            queue[place] = key
            place = (place + 1) % 6
        assert torch.allclose(module.queue.double(), queue, atol=1e-6)
        learned = {name for name, _ in model.named_parameters()}
        for name, value in model.state_dict().items():
            m = 0.9 if name in learned else min(0.9, number / (number + 9))
            moved = m * follows[name] + (1 - m) * value.double()
            follows[name] = moved if value.is_floating_point() else value.double()
    assert not module.encoder_of_keys.training


def test_views_are_varied_by_the_seed_and_without_one_by_the_item(images: list[Sample]) -> None:
    backbone = tiny_backbones("image")[0]
    plain = backbone.preprocessor(backbone.Options(), augmentation="light")
    prepare = pickle.loads(pickle.dumps(PreparedInViews(plain, 2)))

    def pixels(*keys: tuple[int, int | None]) -> Tensor:
        collated: Tensor = prepare.collate([prepare(images[number], seed) for number, seed in keys])["pixels"]
        return collated

    both = pixels((0, None), (1, None))
    assert both.shape[:2] == (2, 2)
    assert torch.equal(both, pixels((0, None), (1, None)))
    assert torch.equal(pixels((0, 7)), pixels((0, 7)))
    assert not torch.equal(pixels((0, 7)), pixels((0, 8)))
    assert torch.equal(both[1], pixels((1, None))[0])


@pytest.fixture
def plain_project(project: Project, registry: Registry, tmp_path: Path) -> Project:
    """Drawn images without labels, ``plain``, and with them, ``shapes``."""
    source = draw_folder(tmp_path / "drawn", 8)
    for name, task in (("plain", "pretraining"), ("shapes", None)):
        request, _ = plan_import(registry.formats.values(), source, name=name, task=task)  # type: ignore[arg-type]
        import_dataset(request, project.datasets_folder)
    return project


def _train(project: Project, registry: Registry, dataset: str, values: dict[str, Any]) -> tuple[Run, Heard]:
    heard = Heard()
    recipe = complete(values, project.dataset(dataset), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run, heard


def test_a_run_learns_without_labels_and_one_with_labels_starts_from_it(
    plain_project: Project, registry: Registry, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "backbone": TINY_VISION,
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.003},
    }
    run, heard = _train(plain_project, registry, "plain", values)
    recipe = run.read_recipe()
    assert (recipe["head"]["name"], recipe["strategy"]["name"]) == ("contrastive", "full")
    assert recipe["training"]["augmentation"] == "contrastive"
    told = heard.of(EpochEnded)
    assert all(0 <= event.validation["contrastive_accuracy"] <= 1 for event in told)
    stored = read_evaluation(run, "validation")
    assert {(item.label, item.predicted) for item in stored.items} == {(None, None)}
    assert stored.classes == ()
    again = evaluate_run(run, plain_project, registry, split="validation")
    assert again.metrics == pytest.approx(stored.metrics, abs=1e-5)
    with pytest.raises(RunError, match="learned without labels"):
        Predictor.from_run(run, registry)
    exported = export_run(run, tmp_path / "export", registry, project=plain_project).folder
    for source in (run.id, str(exported)):
        values = {"backbone": {"start_from": source}, "strategy": "linear_probe", "training": {"epochs": 1}}
        labelled, _ = _train(plain_project, registry, "shapes", values)
        sample = plain_project.dataset("shapes").sample(0)
        ((_, prediction),) = Predictor.from_run(labelled, registry).predict([sample])
        assert isinstance(prediction, Prediction)
        assert prediction.value in ("circle", "square", "圆环")


def test_what_does_not_go_together_is_told_at_once(plain_project: Project, registry: Registry) -> None:
    values: dict[str, Any] = {
        "backbone": TINY_VISION,
        "strategy": "linear_probe",
        "training": {"augmentation": "none", "batch_size": 1},
    }
    with pytest.raises(ProblemsError) as caught:
        complete(values, plain_project.dataset("plain"), registry)
    places = {problem.where for problem in caught.value.problems}
    assert places == {"training.augmentation", "training.batch_size", "strategy.name"}
    values = {"backbone": TINY_VISION, "methods": {"momentum_contrast": {}}}
    with pytest.raises(ProblemsError, match="does not compare two views"):
        complete(values, plain_project.dataset("shapes"), registry)
    for strategy, where in ("lp_ft", "recipe"), ("surgical", "strategy.block"):
        with pytest.raises(ProblemsError) as caught:
            complete({"backbone": TINY_VISION, "strategy": strategy}, plain_project.dataset("plain"), registry)
        assert [problem.where for problem in caught.value.problems] == [where], "there is nothing to fit its head to"
