"""The optimizer, its schedule, and the penalty that is not a matter of the strategy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tlstudio.api.nn import ParamGroup
from tlstudio.engine.recipe import TrainingOptions


def make_optimizer(groups: list[ParamGroup], options: TrainingOptions) -> torch.optim.Optimizer:
    """Make the optimizer; names of groups are kept for the events."""
    dicts = [
        {"params": group.params, "lr": group.lr, "weight_decay": group.weight_decay, "name": group.name}
        for group in groups
    ] or [{"params": [torch.zeros(0, requires_grad=True)], "lr": 0.0, "name": "nothing"}]  # fitted, not learned
    if options.optimizer == "sgd":
        return torch.optim.SGD(dicts, lr=options.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(dicts, lr=options.learning_rate)


def highest_rate(groups: Sequence[ParamGroup], module: nn.Module) -> float:
    """The highest learning rate of a module's parameters; 0 where none of them learns."""
    own = set(map(id, module.parameters()))
    return max((group.lr for group in groups if any(id(one) in own for one in group.params)), default=0.0)


def learning_rate_factor(step: int, total_steps: int, options: TrainingOptions) -> float:
    """Scale of the learning rate at a step: a linear warm-up from above 0, then the schedule down to 0.

    Args:
        step: From 0.
        total_steps: Steps of the whole run.
        options: Warm-up share and schedule.

    Returns:
        A factor in 0..1.
    """
    warmup = round(options.warmup * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if options.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress if options.schedule == "linear" else 1.0


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Learning rate of each named group of parameters at the next step; 0 while nothing of it learns."""
    rates: dict[str, float] = {}
    for group in reversed(optimizer.param_groups):
        learns = any(parameter.requires_grad for parameter in group["params"])
        rates[str(group["name"])] = max(rates.get(str(group["name"]), 0.0), float(group["lr"]) if learns else 0.0)
    return rates


def gradient_norms(optimizer: torch.optim.Optimizer, fabric: Fabric) -> dict[str, float]:
    """Euclidean norm of the gradient of each named group of parameters, before clipping.

    Args:
        optimizer: Its groups have names; those of one name are taken together.
        fabric: Its precision may have scaled the gradients (fp16).
    """
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    scale = float(scaler.get_scale()) if scaler is not None else 1.0
    named: dict[str, list[Tensor]] = {}
    for group in reversed(optimizer.param_groups):
        named.setdefault(str(group["name"]), []).extend(p.grad for p in group["params"] if p.grad is not None)
    return {name: float(torch.nn.utils.get_total_norm(grads)) / scale for name, grads in named.items()}


def sum_of_absolutes(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Sum of absolute values of all parameters that learn now."""
    return torch.stack([p.abs().sum() for p in parameters if p.requires_grad]).sum()
