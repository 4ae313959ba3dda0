"""Optimizer, schedule and L1 against independent arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tlstudio.api.nn import ParamGroup
from tlstudio.engine.optimization import learning_rate_factor, make_optimizer, sum_of_absolutes
from tlstudio.engine.recipe import TrainingOptions


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_in_the_warm_up_and_then_follows_the_schedule(schedule: str) -> None:
    options = TrainingOptions.model_validate({"schedule": schedule, "warmup": 0.2})
    factors = [learning_rate_factor(step, 100, options) for step in range(101)]
    assert factors[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    progress = np.arange(81) / 80
    expected = {
        "cosine": 0.5 * (1 + np.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": np.ones(81),
    }[schedule]
    assert factors[20:] == pytest.approx(expected.tolist())


def test_the_rate_never_leaves_0_to_1_even_with_few_steps() -> None:
    for warmup in (0.0, 0.1, 1.0):
        options = TrainingOptions(warmup=warmup)
        for total in (1, 2, 3):
            assert all(0 <= learning_rate_factor(step, total, options) <= 1 for step in range(total + 1))


def test_l1_is_the_sum_of_absolute_values_of_what_learns_and_its_gradient_the_sign() -> None:
    learns = nn.Parameter(torch.tensor([[1.5, -2.0], [0.5, -0.25]]))
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    total = sum_of_absolutes([learns, frozen])
    assert float(total.detach()) == pytest.approx(4.25)
    total.backward()
    assert learns.grad is not None
    assert learns.grad.tolist() == [[1.0, -1.0], [1.0, -1.0]]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_groups_keep_their_name_rate_and_decay(name: str) -> None:
    groups = [
        ParamGroup("head", [nn.Parameter(torch.zeros(2))], 1e-2, 0.1),
        ParamGroup("backbone", [nn.Parameter(torch.zeros(2))], 1e-4, 0.0),
    ]
    optimizer = make_optimizer(groups, TrainingOptions.model_validate({"optimizer": name}))
    rows = [(group["name"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rows == [("head", 1e-2, 0.1), ("backbone", 1e-4, 0.0)]
