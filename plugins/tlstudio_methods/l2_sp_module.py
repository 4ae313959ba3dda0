"""The penalty of L2-SP as a torch module. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep

__all__ = ["L2SPModule"]


class L2SPModule(MethodModule):
    """Adds ``alpha / 2 * ||w - w0||^2 + beta / 2 * ||v||^2``: w of the backbone, begun at w0, v of the head (eq. 3).

    What a strategy has put into the backbone (adapters) begins at w0 as well: there it says that they do nothing.

    Args:
        context: The run.
        alpha: Strength for the backbone.
        beta: Strength for the head.
    """

    def __init__(self, context: MethodContext, *, alpha: float, beta: float) -> None:
        super().__init__(context)
        self._backbone = list(context.model.backbone.parameters())
        self._head = list(context.model.head.parameters())
        self._alpha = alpha
        self._beta = beta
        self._distance = torch.zeros(())
        for number, parameter in enumerate(self._backbone):
            self.register_buffer(f"start_{number}", parameter.detach().clone())

    def begin(self) -> None:
        """Note the first weights, which may have been changed since the model was built."""
        with torch.no_grad():
            for number, parameter in enumerate(self._backbone):
                self.get_buffer(f"start_{number}").copy_(parameter)

    def extra_loss(self, step: TrainingStep) -> Tensor | None:
        """The penalty over what learns now."""
        pulls = [
            (parameter - self.get_buffer(f"start_{number}")).float().square().sum()
            for number, parameter in enumerate(self._backbone)
            if parameter.requires_grad
        ]
        sizes = [parameter.float().square().sum() for parameter in self._head if parameter.requires_grad]
        if not pulls and not sizes:
            return None
        distance = torch.stack(pulls).sum() if pulls else torch.zeros((), device=sizes[0].device)
        self._distance = distance.detach()
        size = torch.stack(sizes).sum() if sizes else torch.zeros_like(distance)
        return distance * (self._alpha / 2) + size * (self._beta / 2)

    def quantities(self) -> Mapping[str, float]:
        """How far the backbone has moved from its start, ``||w - w0||``."""
        return {"distance from the start": float(self._distance.sqrt())}
