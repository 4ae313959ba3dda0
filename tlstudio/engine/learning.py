"""The gradients of one batch: what the loop, the trial of batch sizes and the timing have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tlstudio.api import RunError
from tlstudio.api.features import Features
from tlstudio.api.method_modules import Inputs, TrainingStep
from tlstudio.engine.datasets import Batch
from tlstudio.engine.optimization import sum_of_absolutes
from tlstudio.engine.training_state import Learner

Forward = Callable[[Inputs], tuple[Features, Tensor]]


class BatchLearner:
    """Computes gradients as a run does.

    Args:
        learner: What is trained.
        network: The learner's network, as Fabric has wrapped it.
        fabric: Device and precision.
        num_train: Number of training samples.
        l1: Strength of the L1 penalty.
    """

    def __init__(
        self,
        learner: Learner,
        network: Any,  # noqa: ANN401  Fabric's wrapper has no type that helps
        fabric: Fabric,
        *,
        num_train: int,
        l1: float = 0.0,
    ) -> None:
        self._learner = learner
        self._fabric = fabric
        self._num_train = num_train
        self._l1 = l1
        self.forward = forward_of(network, learner.model.head)

    def gradients(self, batch: Batch, *, in_step: int = 1, progress: float = 0.0) -> Tensor:
        """Add the gradients of a batch's mean loss to those that are there; returns the losses ``[B]``.

        Args:
            batch: The batch.
            in_step: Number of batches that make a step; the loss is divided by it.
            progress: Share of the steps of the run that has been made.

        Raises:
            RunError: BatchNorm is given a single value of each channel.
        """
        learner, methods = self._learner, self._learner.methods
        batch = on_device(batch, self._fabric.device)
        step = TrainingStep(batch.inputs, batch.targets, {}, {}, progress, self.forward)
        if methods:
            methods.transform(step, batch)

        def compute() -> Tensor:
            step.features, step.output = methods.compute(step, batch)
            losses = learner.model.head.loss(step.output, step.targets)
            loss: Tensor | float = 0.0
            if methods:
                with self._fabric.autocast():
                    losses = methods.losses(step, batch, losses)
                    loss = methods.extra_loss(step, batch)
            self._fabric.backward((losses.mean() + loss + self._penalty()) / in_step)
            return losses

        try:
            return methods.backward(compute)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(
                "BatchNorm cannot learn from a single sample whose feature maps have shrunk to one pixel.",
                "Set the batch size to 2 or more, choose larger images, or a strategy that keeps BatchNorm frozen.",
                field="training.batch_size",
            ) from error

    def _penalty(self) -> Tensor | float:
        """What the strategy and L1 add to the loss of a batch."""
        learner = self._learner
        extra = learner.strategy.extra_loss(learner.model, learner.options, self._num_train)
        penalty: Tensor | float = 0.0 if extra is None else extra
        if self._l1:
            learning = [parameter for group in learner.groups for parameter in group.params]
            penalty = penalty + self._l1 * sum_of_absolutes(learning)
        return penalty


def forward_of(network: Callable[[Inputs], Tensor], head: nn.Module) -> Forward:
    """Make what computes features and outputs; the features are seen where the head takes them."""
    seen: list[Features] = []

    def see(_module: nn.Module, taken: tuple[Features, ...]) -> None:
        seen.append(taken[0])

    def forward(inputs: Inputs) -> tuple[Features, Tensor]:
        hook = head.register_forward_pre_hook(see)  # no longer than now: what validation computes is not to be kept
        try:
            output = network(inputs).float()
            return seen.pop(), output
        finally:
            hook.remove()
            seen.clear()

    return forward


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch with all that comes with it."""

    def moved(inputs: Inputs) -> Inputs:
        return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}

    return replace(
        batch,
        inputs=moved(batch.inputs),
        targets=batch.targets.to(device, non_blocking=True),
        views={name: moved(view) for name, view in batch.views.items()},
        streams={name: on_device(one, device) for name, one in batch.streams.items()},
    )
