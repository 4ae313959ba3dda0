"""What reaches the gradient of a step: L1, the norms that are told of it, and the samples that methods ask for."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from torch import nn

from tests.engine.conftest import TINY_VISION, Heard
from tests.plugins.float64 import stir
from tlstudio.api.nn import ParamGroup
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.datasets import Batch
from tlstudio.engine.devices import make_fabric
from tlstudio.engine.events import StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.engine.learning import BatchLearner
from tlstudio.engine.optimization import gradient_norms, make_optimizer
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.engine.training_state import Learner
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target


def test_l1_reaches_the_gradient_of_what_learns_now_once_a_step(registry: Registry, tmp_path: Path) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    gradual = registry.strategy("gradual_unfreezing")
    context = method_context(registry.head("classification"), samples, target, strategy=gradual)
    model, options = context.model.eval(), gradual.Options()
    stir(model, 1)
    groups = gradual.param_groups(model, options, learning_rate=0.1, weight_decay=0.0)
    gradual.on_epoch_start(model, 1, options)  # the last layers have joined, the others wait in their groups
    learner = Learner(model, model, gradual, options, groups)
    step = training_step(context)
    batches = [Batch({name: x[at] for name, x in step.inputs.items()}, step.targets[at], at) for at in _halves()]
    batch_learner = BatchLearner(learner, model, make_fabric("cpu", "32"), num_train=4, l1=0.3)
    for batch in batches:
        batch_learner.gradients(batch, in_step=2)

    exact = deepcopy(model).double()
    exact.zero_grad()
    scores = exact({name: x.double() for name, x in step.inputs.items()})
    chosen = scores[torch.arange(4), step.targets]
    (scores.exp().sum(dim=1).log() - chosen).mean().backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert 2 < len(learning) < len(list(model.parameters()))
    assert len(list(model.parameters())) == sum(len(group.params) for group in groups)
    for name, parameter in model.named_parameters():
        if name not in learning:
            assert parameter.grad is None
            continue
        slope = exact.get_parameter(name).grad
        assert parameter.grad is not None
        assert slope is not None
        expected = slope.numpy() + 0.3 * np.sign(parameter.detach().double().numpy())
        np.testing.assert_allclose(parameter.grad.double().numpy(), expected, rtol=1e-4, atol=1e-6)


def _halves() -> list[torch.Tensor]:
    return [torch.tensor([0, 1]), torch.tensor([2, 3])]


def test_a_run_learns_with_the_l1_of_its_recipe(shapes_project: Project, registry: Registry, heard: Heard) -> None:
    training = {"epochs": 1, "batch_size": 4, "l1": 10.0, "learning_rate": 1e-6, "accumulate": 3}
    values = {"dataset": {"shots": 4}, "backbone": TINY_VISION, "strategy": "linear_probe", "training": training}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    run = execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    weights = load_run_model(run, registry)[1].head.get_parameter("output.weight").numel()
    norm = heard.of(StepLogged)[0].gradient_norms["head"]
    # The bias begins at 0, whose sign is 0; beside ten for every weight, the gradient of the loss is small.
    assert norm == pytest.approx(10 * weights**0.5, rel=0.05)


@pytest.mark.parametrize("scale", [1.0, 65536.0], ids=["32 bits", "scaled as in 16 bits"])
def test_norms_of_gradients_are_those_of_all_groups_of_one_name_together(scale: float) -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=shape) for shape in ((3, 4), (5,), (2, 2), (6,))]
    parameters = [nn.Parameter(torch.zeros(gradient.shape, dtype=torch.float64)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient * scale)
    waiting = nn.Parameter(torch.ones(3))
    groups = [
        ParamGroup("backbone", [parameters[0], waiting], 0.1, 0.1),
        ParamGroup("head", [parameters[1]], 0.1, 0.1),
        ParamGroup("backbone", [parameters[2]], 0.1, 0.0),
        ParamGroup("head", [parameters[3]], 0.1, 0.0),
    ]
    optimizer = make_optimizer(groups, TrainingOptions())
    scaled = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[Precision() if scale == 1 else scaled])
    found = gradient_norms(optimizer, fabric)
    together = {"backbone": (0, 2), "head": (1, 3)}
    expected = {name: np.sqrt(sum((gradients[n] ** 2).sum() for n in which)) for name, which in together.items()}
    assert found == pytest.approx(expected, rel=1e-12)
