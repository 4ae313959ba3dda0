"""Fitting a head on the features of a frozen backbone before a run trains. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from tlstudio.api.features import Features
from tlstudio.api.method_modules import MethodContext
from tlstudio_strategies.common import ridge

__all__ = ["fit_head"]

_AT_ONCE = 2**16  # samples: their features are moved to the device together
_MOST_STEPS = 1000


def fit_head(context: MethodContext, strength: float) -> float:
    """Fit the head of a model on the pooled features of the train split, as they are without variation.

    The objective is that of the linear probe: mean loss of the samples and the penalty of scikit-learn. It is minimised
    over all samples at once (L-BFGS with a line search), without dropout, so that nothing random is in it.

    Args:
        context: The run; its head takes pooled features.
        strength: Inverse strength C of the penalty.

    Returns:
        The objective that was reached; 0 where the head has nothing to learn.
    """
    model = context.model
    head = model.head
    parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
    if not parameters:
        return 0.0
    model.eval()
    device = parameters[0].device
    parts = _parts(context)
    # What a head measures in the first batch of training, such as the mean of features, it is to measure before.
    head.train()
    with torch.no_grad():
        head(_moved(parts[0][0], device))
    head.eval()

    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=_MOST_STEPS,
        max_eval=2 * _MOST_STEPS,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), device=device)
        for features, targets in parts:
            output = head(_moved(features, device)).float()
            loss = head.loss(output, targets.to(device)).sum() / context.num_train
            torch.autograd.backward(loss)
            total += loss.detach()
        penalty = ridge(head, strength, context.num_train)
        if penalty is not None:
            torch.autograd.backward(penalty)
            total += penalty.detach()
        return total

    with torch.enable_grad():
        optimizer.step(objective)
        reached = float(objective())
    optimizer.zero_grad()
    return reached


def _moved(features: Features, device: torch.device) -> Features:
    context = None if features.context is None else features.context.to(device)
    return Features(pooled=features.require("pooled").to(device), context=context)


def _parts(context: MethodContext) -> list[tuple[Features, Tensor]]:
    """Features, what the head asks for besides, and targets of all samples, in large parts on the CPU."""
    pooled, asked, targets = [], [], []
    for inputs, target in context.batches(""):
        with torch.no_grad():
            features, _ = context.forward(inputs)
        pooled.append(features.require("pooled").float().cpu())
        targets.append(target.cpu())
        if features.context is not None:
            asked.append(features.context.cpu())
    contexts = torch.cat(asked).split(_AT_ONCE) if asked else None
    together = zip(torch.cat(pooled).split(_AT_ONCE), torch.cat(targets).split(_AT_ONCE), strict=True)
    return [
        (Features(pooled=part, context=contexts[number] if contexts else None), ends)
        for number, (part, ends) in enumerate(together)
    ]
