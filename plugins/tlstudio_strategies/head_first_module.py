"""What fits the head in LP-FT. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio_strategies.common import unfrozen_groups
from tlstudio_strategies.head_fitting import fit_head
from tlstudio_strategies.lp_ft import FITTED

__all__ = ["HeadFirstModule"]


class HeadFirstModule(MethodModule):
    """Fits a head on pooled features before the first step; lets any other one learn alone in the first epochs.

    Args:
        context: The run.
        strength: Inverse strength C of the penalty on the head.
        epochs: Epochs in which a head that cannot be fitted at once learns alone.
    """

    objective: Tensor

    def __init__(self, context: MethodContext, *, strength: float, epochs: int) -> None:
        super().__init__(context)
        self._at_once = context.head.requires in FITTED
        self._strength = strength
        self._epochs = epochs
        self._backbone = [p for p in context.model.backbone.parameters() if p.requires_grad]
        self.register_buffer("objective", torch.zeros(()))

    def begin(self) -> None:
        """Fit the head where this can be done at once."""
        if self._at_once:
            self.objective.fill_(fit_head(self.context, self._strength))

    def on_epoch_start(self, epoch: int) -> None:
        """Keep the backbone as it is in the first epochs, which the epoch's number alone decides."""
        if not self._at_once:
            for parameter in self._backbone:
                parameter.requires_grad_(epoch >= self._epochs)

    def passes(self) -> Mapping[str, float]:
        """One, for the features that the head is fitted on."""
        return {"": 1} if self._at_once else {}

    def quantities(self) -> Mapping[str, float]:
        """The loss with which the fitted head begins, or how many groups learn: none while the head learns alone."""
        return {"loss of the probe": float(self.objective)} if self._at_once else unfrozen_groups(self.context.model)
