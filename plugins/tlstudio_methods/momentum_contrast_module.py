"""Momentum encoder and queue as a torch module. Imported only when it is built."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import Features
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep

__all__ = ["MomentumContrastModule", "info_nce"]


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the similarity to the own key against those to the keys of the queue (He et al. 2020, eq. 1).

    Args:
        queries: ``[B, D]``.
        keys: The other view of each, ``[B, D]``, of unit length.
        queue: Keys of earlier batches, ``[Q, D]``, of unit length.
        temperature: What similarities are divided by.

    Returns:
        ``[B]``.
    """
    with torch.autocast(queries.device.type, enabled=False):  # similarities are compared by small differences
        unit = F.normalize(queries.float(), dim=-1)
        positive = (unit * keys).sum(dim=-1, keepdim=True)
        logits = torch.cat([positive, unit @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device), reduction="none")


class MomentumContrastModule(MethodModule):
    """Takes the place of the head's loss.

    After each step, the weights of the momentum encoder follow: ``k <- m k + (1 - m) q`` (eq. 2). It works in
    evaluation mode, with running statistics of BatchNorm that follow likewise (Cai et al. 2021, arXiv:2101.08482), as
    on one device statistics of a batch would tell which keys belong to it, and there are no others to shuffle with. As
    statistics begin far from what they are of, these follow faster at first, with ``m = t / (t + 9)`` after t steps.

    Keys of a batch enter the queue after its step, in the place of the oldest.

    Args:
        context: The run.
        momentum: m.
        queue: Keys in the queue.
        temperature: What similarities are divided by.
        symmetric: Whether each of the two views is a query once, or the first alone.
    """

    queue: Tensor
    place: Tensor
    steps: Tensor

    def __init__(
        self, context: MethodContext, *, momentum: float, queue: int, temperature: float, symmetric: bool
    ) -> None:
        super().__init__(context)
        self._momentum = momentum
        self._temperature = temperature
        self._symmetric = symmetric
        self.encoder_of_keys = copy.deepcopy(context.model).requires_grad_(False).eval()
        with torch.no_grad():
            features = Features(pooled=next(context.model.parameters()).new_zeros(1, context.features.num_features))
            width = context.model.head(features).shape[-1]
        self.register_buffer("queue", F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._new: list[Tensor] = []
        self._of: tuple[TrainingStep, Tensor] | None = None
        self._accuracy = torch.zeros(())

    def begin(self) -> None:
        """Copy the first weights, which may have been changed since the model was built."""
        self.encoder_of_keys.load_state_dict(self.context.model.state_dict())

    def _keys(self, inputs: dict[str, Tensor]) -> Tensor:
        keys: Tensor = self.encoder_of_keys(inputs)
        return F.normalize(keys.float(), dim=-1)

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        """InfoNCE of each item, ``[B]``."""
        _, output = step.computed()
        if self._of is None or self._of[0] is not step:  # a method around the gradients may compute them twice
            with torch.no_grad():
                keys = self._keys(step.inputs)
            self._of = step, keys
            self._new.append(keys.flatten(0, 1) if self._symmetric else keys[:, 1])
        keys = self._of[1]
        pairs = ((0, 1), (1, 0)) if self._symmetric else ((0, 1),)
        each = [info_nce(output[:, one], keys[:, other], self.queue, self._temperature) for one, other in pairs]
        with torch.no_grad():
            unit = F.normalize(output[:, 0].float(), dim=-1)
            found = (unit * keys[:, 1]).sum(dim=-1) > (unit @ self.queue.T).amax(dim=1)
            self._accuracy = found.float().mean()
        return torch.stack(each).mean(dim=0)

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the momentum encoder follow, and put the keys of the step into the queue."""
        self.steps += 1
        statistics = min(self._momentum, float(self.steps) / (float(self.steps) + 9))
        model: nn.Module = self.context.model
        for own, other in zip(self.encoder_of_keys.parameters(), model.parameters(), strict=True):
            own.lerp_(other.detach(), 1 - self._momentum)
        for mine, theirs in zip(self.encoder_of_keys.buffers(), model.buffers(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - statistics)
            else:
                mine.copy_(theirs)
        keys = torch.cat(self._new)[-len(self.queue) :]
        places = (self.place + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.place.copy_((self.place + len(keys)) % len(self.queue))
        self._new, self._of = [], None

    def quantities(self) -> Mapping[str, float]:
        """How often a view is more similar to its other one than to all of the queue."""
        return {"queue accuracy": float(self._accuracy)}
