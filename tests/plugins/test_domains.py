"""Methods that join two domains: their mathematics in float64, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import added, draw_folder, import_reviews
from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import Features, ProblemsError
from tlstudio.api.method_modules import MethodContext, StreamBatch, rampup
from tlstudio.api.methods import dataset_names, written_names
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.datasets import Batch
from tlstudio.engine.events import RunEnded, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.engine.methods import ChosenMethod, Methods
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.components import TinyTextEncoder
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio_methods.dann_module import DannModule, reverse_gradient
from tlstudio_methods.distances import coral_distance, mmd_distance

ADAPTING = ("coral", "mmd", "dann")


@pytest.fixture
def context(registry: Registry, tmp_path: Path) -> MethodContext:
    """A run on four images of three classes, with a source of numbers."""
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    return method_context(
        registry.head("classification"),
        samples,
        target,
        stream_targets={"source": tiny_target("regression")},
        heads={"regression": registry.head("regression")},
    )


def test_the_joint_loss_is_lambda_times_that_of_the_source_on_a_head_for_its_own_task(
    context: MethodContext, registry: Registry
) -> None:
    method = registry.method("joint")
    module = method.build(
        context, method.Options.model_validate({"source": "numbers", "strength": 0.7, "schedule": "sigmoid"})
    ).eval()
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"heads"}  # nothing of the model
    step = training_step(context, progress=0.3)
    labels = torch.tensor([0.5, -1.0, 2.0, 0.1])
    step.streams = {"source": StreamBatch({"": step.inputs}, labels, *context.forward(step.inputs))}
    module.losses(step, torch.tensor([1.0, 2.0]))
    loss = module.extra_loss(step)
    assert loss is not None
    pooled = step.streams["source"].computed()[0].require("pooled").detach().double().numpy()
    weight, bias = (parameter.detach().double().numpy() for parameter in module.parameters())
    errors = [(float(pooled[b] @ weight[0] + bias[0]) - float(labels[b])) ** 2 for b in range(4)]
    strength = 0.7 * (2 / (1 + math.exp(-3)) - 1)
    assert float(loss.detach()) == pytest.approx(strength * sum(errors) / 4, rel=1e-5)
    told = module.quantities()
    assert told["lambda"] == pytest.approx(strength)
    assert told["target loss"] == 1.5
    assert told["source loss"] == pytest.approx(sum(errors) / 4, rel=1e-5)


def test_with_a_shared_head_the_source_is_learned_by_the_head_of_the_run(registry: Registry, tmp_path: Path) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    context = method_context(registry.head("classification"), samples, target, stream_targets={"source": target})
    method = registry.method("joint")
    options = method.Options.model_validate({"source": "others", "strength": 0.5, "head": "shared"})
    module = method.build(context, options).eval()
    assert not list(module.parameters())
    step = training_step(context)
    labels = module.encoder("source")([target.classes[0]] * len(samples), [])
    features, output = context.forward(step.inputs)
    step.streams = {"source": StreamBatch({"": step.inputs}, labels, features, output)}
    module.losses(step, torch.zeros(2))
    loss = module.extra_loss(step)
    assert loss is not None
    scores = output.detach().double().numpy()
    wanted = np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[:, 0])
    assert float(loss.detach()) == pytest.approx(0.5 * wanted, rel=1e-5)
    loss.backward()
    assert all(parameter.grad is not None for parameter in context.model.head.parameters())


def test_lambda_follows_its_schedule() -> None:
    assert [rampup(0.25, name) for name in ("constant", "linear", "falling")] == [1, 0.25, 0.75]
    assert rampup(0.5, "sigmoid") == pytest.approx(math.tanh(2.5))  # the same function, written otherwise


def test_coral_is_the_squared_distance_of_covariances_over_four_d_squared() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(7, 4)), rng.normal(size=(5, 4)) * 2 + 1

    def covariance(values: np.ndarray, i: int, j: int) -> float:
        means = values.mean(axis=0)
        pairs = [(row[i] - means[i]) * (row[j] - means[j]) for row in values]
        return float(sum(pairs)) / (len(values) - 1)

    squares = sum((covariance(source, i, j) - covariance(target, i, j)) ** 2 for i in range(4) for j in range(4))
    found = coral_distance(torch.tensor(source), torch.tensor(target))
    assert float(found) == pytest.approx(squares / (4 * 4**2), rel=1e-12)
    leaves = [torch.tensor(values, requires_grad=True) for values in (source, target)]
    assert torch.autograd.gradcheck(coral_distance, leaves)


@pytest.mark.parametrize("unbiased", [True, False])
def test_mmd_is_that_of_gaussian_kernels_around_the_median_distance(unbiased: bool) -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)) + 0.5
    both = [*source, *target]
    squares = sorted(float(((both[i] - both[j]) ** 2).sum()) for i in range(10) for j in range(i))
    median = squares[(len(squares) - 1) // 2]

    def alike(x: np.ndarray, y: np.ndarray) -> float:
        distance = float(((x - y) ** 2).sum())
        return sum(math.exp(-distance / (median * 3.0**power)) for power in (-1, 0, 1)) / 3

    def mean(xs: np.ndarray, ys: np.ndarray) -> float:
        same = xs is ys
        pairs = [alike(x, y) for i, x in enumerate(xs) for j, y in enumerate(ys) if not (same and unbiased and i == j)]
        return sum(pairs) / len(pairs)

    expected = mean(source, source) + mean(target, target) - 2 * mean(source, target)
    found = mmd_distance(torch.tensor(source), torch.tensor(target), kernels=3, factor=3.0, unbiased=unbiased)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_the_gradient_of_mmd_is_a_number_where_samples_are_the_same() -> None:
    same = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    mmd_distance(same, same.detach()).backward()
    assert same.grad is not None
    assert bool(same.grad.isfinite().all())


def test_the_discriminator_learns_from_its_whole_loss_and_the_features_from_minus_lambda_times_its_gradient(
    context: MethodContext, registry: Registry
) -> None:
    values = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    (reverse_gradient(values, 0.3) * 2).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, torch.full_like(values, -0.6))

    method = registry.method("dann")
    module = method.build(context, method.Options.model_validate({"target": "others", "hidden": 6})).double()
    assert isinstance(module, DannModule)
    source = torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    output = torch.zeros(1, 3)
    loss = module.compare((Features(source), output), (Features(target), output), 0.4)
    loss.backward()
    learned = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    reached = [values.grad for values in (source, target)]

    plain = [values.detach().requires_grad_() for values in (source, target)]
    layers = [module.discriminator[number] for number in (0, 2, 4)]
    module.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for is_source, batch in zip((True, False), plain, strict=True):
        for row in batch:
            x = row
            for layer in layers:
                assert isinstance(layer, torch.nn.Linear)
                x = layer.weight @ (x if layer is layers[0] else x.clamp(min=0)) + layer.bias
            probability = 1 / (1 + torch.exp(-x[0]))  # that it is of the source
            total = total - torch.log(probability if is_source else 1 - probability) / len(batch)
    total.backward()
    assert float(loss.detach()) == pytest.approx(float(total.detach()), rel=1e-12)
    for found, expected in zip(learned, [parameter.grad for parameter in module.parameters()], strict=True):
        assert expected is not None
        assert torch.allclose(found, expected, rtol=1e-10)
    for found_there, batch in zip(reached, plain, strict=True):
        assert found_there is not None
        assert batch.grad is not None
        assert torch.allclose(found_there, -0.4 * batch.grad, rtol=1e-10)


@pytest.mark.parametrize("name", ADAPTING)
def test_features_of_tokens_are_compared_by_their_mean(name: str, registry: Registry, tmp_path: Path) -> None:
    samples = tiny_samples("text", "token_classification", tmp_path)
    context = method_context(registry.head("token_classification"), samples, tiny_target("token_classification"))
    context.model.eval()
    options = {"target": "others", "strength": 0.5} | ({} if name == "dann" else {"layers": "features"})
    method = registry.method(name)
    module = method.build(context, method.Options.model_validate(options))
    step = training_step(context, progress=0.5)
    step.features, step.output = context.forward(step.inputs)
    other = {key: tensor[[0, 2, 2, 3, 1]] for key, tensor in step.inputs.items()}
    other["ids"] = torch.where(other["mask"], other["ids"] % 60 + 3, other["ids"])
    step.streams = {"target": StreamBatch({"": other}, None, *context.forward(other))}
    loss = module.extra_loss(step)
    assert loss is not None
    means = []
    for features, _ in (step.computed(), step.streams["target"].computed()):
        assert features.mask is not None
        assert not bool(features.mask.all()), "the texts have different lengths"
        rows = zip(features.require("tokens").detach().double(), features.mask, strict=True)
        means.append(torch.stack([row[real].mean(dim=0) for row, real in rows]))
    if isinstance(module, DannModule):
        module, output = module.double(), torch.zeros(1, 1)
        vectors = [(Features(tokens=mean[:, None]), output) for mean in means]  # each a text of one word
        expected = module.compare(vectors[0], vectors[1], 0.5)
    else:
        expected = 0.5 * (coral_distance if name == "coral" else mmd_distance)(means[0], means[1])
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_source_and_target_go_through_batch_normalisation_as_one_batch(
    context: MethodContext, registry: Registry
) -> None:
    method = registry.method("coral")
    options = method.Options.model_validate({"target": "others"})
    methods = Methods((ChosenMethod(method, options),), {"coral": method.build(context, options)})
    context.model.train()
    step = training_step(context)
    other = {name: tensor[:2] * 0.5 + 1 for name, tensor in step.inputs.items()}
    nothing = torch.empty(0)
    batch = Batch(step.inputs, step.targets, nothing, streams={"coral/target": Batch(other, nothing, nothing)})
    norms = [module for module in context.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    (pixels,) = step.inputs.values()
    first: list[torch.Tensor] = []
    hook = norms[0].register_forward_hook(lambda _module, taken, _given: first.append(taken[0]))
    step.features, step.output = methods.compute(step, batch)
    hook.remove()
    assert [len(taken) for taken in first] == [len(pixels) + 2]
    assert int(norms[0].num_batches_tracked or 0) == 1
    assert torch.allclose(norms[0].running_mean, 0.1 * first[0].mean((0, 2, 3)))  # type: ignore[arg-type]
    computed = batch.streams["coral/target"].computed
    assert computed is not None
    assert len(computed[1]) == 2
    assert len(step.output) == len(pixels)

    # What cannot lie in one batch goes through by itself.
    batch.streams["coral/target"].inputs = {name: tensor[..., :24] for name, tensor in other.items()}
    methods.compute(step, batch)
    assert int(norms[0].num_batches_tracked or 0) == 3


def test_names_of_data_sets_stand_with_commas_between_them() -> None:
    assert dataset_names(' news, "cats, dogs"@r2 ,, 图片') == ["news", "cats, dogs@r2", "图片"]
    assert dataset_names(written_names(["news", "cats, dogs@r2"])) == ["news", "cats, dogs@r2"]
    assert dataset_names("") == []


@pytest.fixture
def strange(two_projects: Project, reviews_csv: Path, registry: Registry, tmp_path: Path) -> Project:
    """Shapes and others, drawings of classes that neither has, and texts."""
    folder = draw_folder(tmp_path / "strange", 6, seed=4)
    (folder / "circle").rename(folder / "ring")
    (folder / "square").rename(folder / "brick")
    request, _ = plan_import(registry.formats.values(), folder, name="strange", task="classification")
    import_dataset(request, two_projects.datasets_folder)
    import_reviews(two_projects, reviews_csv, registry)
    return two_projects


def told(project: Project, registry: Registry, methods: dict[str, Any], **values: Any) -> str:
    training = {"batch_size": 8}
    recipe = {"backbone": TINY_VISION, "strategy": "full", "methods": methods, "training": training, **values}
    with pytest.raises(ProblemsError) as caught:
        complete(recipe, project.dataset("shapes"), registry)
    return " ".join(f"{problem.where}: {problem}" for problem in caught.value.problems)


def test_what_speaks_against_two_domains_is_told_before_anything_is_loaded(
    strange: Project, registry: Registry
) -> None:
    for name in ADAPTING:
        assert "has texts, the one that is learned has images" in told(strange, registry, {name: {"target": "reviews"}})
        assert f"methods.{name}.target" in told(strange, registry, {name: {}})
        assert f"methods.{name}.strength" in told(strange, registry, {name: {"target": "others", "strength": -1}})
        assert "stays as it is" in told(strange, registry, {name: {"target": "others"}}, strategy="linear_probe")
        many = {"batch_size": 32}
        assert "fewer than a batch" in told(strange, registry, {name: {"target": "strange"}}, training=many)
    alone = {"batch_size": 1}
    assert "at least 2 samples" in told(strange, registry, {"coral": {"target": "others"}}, training=alone)
    assert "has texts" in told(strange, registry, {"joint": {"source": "others, reviews"}})
    assert "more than once" in told(strange, registry, {"joint": {"source": "others, others"}})
    assert "no data set 'nothing'" in told(strange, registry, {"joint": {"source": "others, nothing"}})
    shared = told(strange, registry, {"joint": {"source": "strange", "head": "shared"}})
    assert "has classes that the head does not know" in shared
    assert "methods.joint.source" in told(strange, registry, {"joint": {}})
    assert "methods.joint.strength" in told(strange, registry, {"joint": {"source": "others", "strength": -0.1}})
    assert "stays as it is" in told(strange, registry, {"joint": {"source": "others"}}, strategy="linear_probe")


def test_a_target_may_have_classes_that_the_source_does_not_know(strange: Project, registry: Registry) -> None:
    recipe = {
        "backbone": TINY_VISION,
        "strategy": "full",
        "methods": {"coral": {"target": "strange"}, "joint": {"source": "strange"}},
        "training": {"epochs": 1, "batch_size": 8},
    }
    heard = Heard()
    completed = complete(recipe, strange.dataset("shapes"), registry)
    execute_run(completed, strange, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]


@pytest.fixture
def with_tiny_text(registry: Registry) -> Iterator[Registry]:
    """The registry with a text encoder that trains in no time."""
    with added(registry, TinyTextEncoder()):
        yield registry


def test_sources_of_other_tasks_are_learned_each_on_a_head_of_its_own(
    reviews_project: Project, with_tiny_text: Registry
) -> None:
    recipe = {
        "backbone": "tiny_text_encoder",
        "strategy": "full",
        "methods": {"joint": {"source": "scores, topics@r1", "ratio": 0.5}},
        "training": {"epochs": 1, "batch_size": 8},
    }
    heard = Heard()
    completed = complete(recipe, reviews_project.dataset("reviews"), with_tiny_text)
    assert completed.methods["joint"]["source"] == "scores@r1, topics@r1"
    execute_run(completed, reviews_project, with_tiny_text, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    steps = heard.of(StepLogged)
    assert steps[-1].quantities["joint/source 1 loss"] > 0
    assert steps[-1].quantities["joint/source 2 loss"] > 0
    # What a method brings learns as fast as the head of the run.
    assert steps[-1].learning_rates["joint"] == pytest.approx(steps[-1].learning_rates["head"])
