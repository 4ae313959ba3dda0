"""The loss of joint training as a torch module. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep, rampup
from tlstudio.api.nn import HeadModule, TargetEncoder

__all__ = ["JointModule"]


class JointModule(MethodModule):
    """Adds ``lambda * (mean loss of source 1 + mean loss of source 2 + ...)``.

    Args:
        context: The run; its labelled streams are the sources.
        strength: Lambda.
        schedule: How it changes, as `rampup` takes it.
        shared: Whether the head of the run learns the sources; where not, each has a head of its own.
    """

    def __init__(self, context: MethodContext, *, strength: float, schedule: str, shared: bool) -> None:
        super().__init__(context)
        self._strength = strength
        self._schedule = schedule
        self._own = {} if shared else {name: context.new_head(target) for name, target in context.targets.items()}
        self.heads = nn.ModuleList(self._own.values())
        self._lambda = 0.0
        self._losses = {name: torch.zeros(()) for name in ("target", *context.targets)}

    def encoder(self, stream: str) -> TargetEncoder:
        """Return what encodes the labels of a source."""
        return self._head(stream).encoder()

    def _head(self, stream: str) -> HeadModule:
        return self._own.get(stream, self.context.model.head)

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        """Leave the losses of the run's own samples as they are, and note their mean."""
        self._losses["target"] = losses.detach().mean()
        return losses

    def extra_loss(self, step: TrainingStep) -> Tensor | None:
        """Weighted sum of the sources' mean losses."""
        self._lambda = self._strength * rampup(step.progress, self._schedule)
        total = torch.zeros((), device=self._losses["target"].device)
        for name in self.context.targets:
            batch, head = step.streams[name], self._head(name)
            features, output = batch.computed()
            if name in self._own:
                output = head(features).float()
            loss = head.loss(output, cast(Tensor, batch.targets)).mean()
            self._losses[name] = loss.detach()
            total = total + loss
        return total * self._lambda

    def quantities(self) -> Mapping[str, float]:
        """Lambda, and the mean loss of each part of the last batch."""
        return {"lambda": self._lambda} | {f"{name} loss": float(loss) for name, loss in self._losses.items()}
