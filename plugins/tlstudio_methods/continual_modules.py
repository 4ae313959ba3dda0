"""Replay and elastic weight consolidation as torch modules. Imported only when one is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tlstudio.api import RunError
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio.api.nn import TargetEncoder

__all__ = ["EWCModule", "ReplayModule"]


class ReplayModule(MethodModule):
    """Adds lambda times the mean loss of kept samples, under the head of the run.

    Args:
        context: The run.
        names: Names of the streams.
        strength: Lambda.
    """

    def __init__(self, context: MethodContext, names: Sequence[str], *, strength: float) -> None:
        super().__init__(context)
        self._names = tuple(names)
        self._strength = strength
        self._loss = torch.zeros(())

    def encoder(self, stream: str) -> TargetEncoder:
        """Encode as the head of the run does."""
        return self.context.model.head.encoder()

    def extra_loss(self, step: TrainingStep) -> Tensor:
        """The mean loss over all kept samples of the batch."""
        losses = []
        for name in self._names:
            batch = step.streams[name]
            assert batch.targets is not None  # noqa: S101  the streams are labelled
            _, output = step.forward(batch.inputs)
            losses.append(self.context.model.head.loss(output, batch.targets))
        loss = torch.cat(losses).mean()
        self._loss = loss.detach()
        return loss * self._strength

    def quantities(self) -> Mapping[str, float]:
        """Loss of the earlier samples."""
        return {"loss of earlier data": float(self._loss)}


class EWCModule(MethodModule):
    """Adds ``lambda / 2 * sum_i F_i (w_i - w*_i)^2`` over the weights of the backbone (eq. 3 of the paper).

    The head is held likewise where it is that of the earlier run, taken over with the same classes.

    F is the diagonal of the Fisher information of the earlier model: the mean over its samples of the squared gradient
    of the log-likelihood of the true label (the empirical Fisher), measured sample by sample in evaluation mode.

    Args:
        context: The run.
        name: Name of the earlier model and of the stream of its data.
        strength: Lambda.

    Raises:
        RunError: The backbone has other parameters than the earlier one.
    """

    def __init__(self, context: MethodContext, name: str, *, strength: float) -> None:
        super().__init__(context)
        self._name = name
        self._strength = strength
        self._penalty = torch.zeros(())
        own = dict(context.model.backbone.named_parameters())
        earlier = dict(context.models[name].backbone.named_parameters())
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in earlier.items()}:
            raise RunError(
                "The backbone has other parameters than that of the earlier run, so its weights cannot be held.",
                "Start from that run, with a strategy that puts nothing into the backbone (full, partial).",
                field="methods.ewc.run",
            )
        self._own = list(own.values())
        self._earlier = list(earlier.values())
        heads = context.model.head, context.models[name].head
        if context.head_taken_over and heads[0].target.classes == heads[1].target.classes:
            self._own += heads[0].parameters()
            self._earlier += heads[1].parameters()
        for number, parameter in enumerate(self._earlier):
            self.register_buffer(f"first_{number}", parameter.detach().clone())
            self.register_buffer(f"fisher_{number}", torch.zeros_like(parameter))

    def encoder(self, stream: str) -> TargetEncoder:
        """Encode as the head of the earlier run does."""
        return self.context.models[self._name].head.encoder()

    def begin(self) -> None:
        """Measure the Fisher information."""
        model = self.context.models[self._name]
        for parameter in self._earlier:
            parameter.requires_grad_(True)
        count = 0
        for inputs, targets in self.context.batches(self._name):
            for row in range(len(targets)):
                one = {key: value[row : row + 1] for key, value in inputs.items()}
                loss = model.head.loss(model(one).float(), targets[row : row + 1]).sum()
                grads = torch.autograd.grad(loss, self._earlier, allow_unused=True)
                for number, grad in enumerate(grads):
                    if grad is not None:
                        self.get_buffer(f"fisher_{number}").add_(grad.square())
                count += 1
        for number, parameter in enumerate(self._earlier):
            parameter.requires_grad_(False)
            self.get_buffer(f"fisher_{number}").div_(max(1, count))

    def extra_loss(self, step: TrainingStep) -> Tensor | None:
        """The penalty over what learns now."""
        terms = [
            (self.get_buffer(f"fisher_{number}") * (p - self.get_buffer(f"first_{number}")).square()).sum()
            for number, p in enumerate(self._own)
            if p.requires_grad
        ]
        if not terms:
            return None
        penalty = torch.stack(terms).sum() * (self._strength / 2)
        self._penalty = penalty.detach()
        return penalty

    def passes(self) -> Mapping[str, float]:
        """One with gradients over the earlier data."""
        return {self._name: 3}

    def quantities(self) -> Mapping[str, float]:
        """The penalty: how much of what the earlier task needs has moved."""
        return {"penalty": float(self._penalty)}
