"""The loss of unlabelled samples whose labels are the model's own predictions. Imported only when it is built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio_methods.unlabelled import STREAM, WEAK

__all__ = ["PseudoLabelModule", "pseudo_label_loss"]


class PseudoLabelModule(MethodModule):
    """Adds ``lambda * pseudo_label_loss`` of a batch of unlabelled samples.

    Their labels come from the view `WEAK`, where there is one, else from what is learned itself.

    Args:
        context: The run.
        threshold: Probability from which a prediction counts.
        strength: Lambda.
        rises: Shares of the run between which lambda rises from 0; equal: it is whole from there on.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        threshold: float,
        strength: float,
        rises: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(context)
        self._threshold = threshold
        self._strength = strength
        self._rises = rises
        self._lambda = 0.0
        self._now = {name: torch.zeros(()) for name in ("pseudo-label rate", "mean confidence", "unlabelled loss")}

    def extra_loss(self, step: TrainingStep) -> Tensor | None:
        """Loss of the unlabelled batch; while lambda is 0, its predictions are looked at all the same."""
        stream = step.streams[STREAM]
        self._lambda = self._strength * self._risen(step.progress)
        _, learned = stream.computed()
        weak = learned.detach()
        if WEAK in stream.views:
            with torch.no_grad():  # the label is a constant
                _, weak = step.forward(stream.views[WEAK])
        several = self.context.model.head.target.task == "multi_label"
        loss, rate, confidence = pseudo_label_loss(weak, learned, self._threshold, several=several)
        values = (rate, confidence, loss.detach())
        self._now = dict(zip(self._now, values, strict=True))
        return loss * self._lambda

    def _risen(self, progress: float) -> float:
        start, end = self._rises
        if progress >= end:
            return 1.0
        return max(0.0, (progress - start) / (end - start)) if end > start else 0.0

    def quantities(self) -> Mapping[str, float]:
        """Of the last batch: how many of its samples got a label, how sure the model was, and their loss."""
        return {name: float(value) for name, value in self._now.items()} | {"lambda": self._lambda}


def pseudo_label_loss(
    weak: Tensor, learned: Tensor, threshold: float, *, several: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over the batch of the cross-entropy with what the model is sure of; the unsure count as 0 (FixMatch, eq. 4).

    Args:
        weak: Logits ``[B, K]`` that give the labels; no gradient goes there.
        learned: Logits ``[B, K]`` that are to say the same.
        threshold: Probability from which a prediction becomes a label.
        several: Whether each class is a question of its own; it then is answered, by yes or no, where one of the two
            reaches the threshold, and the mean is over samples and classes.

    Returns:
        The loss, the share of predictions that became labels, and their mean probability, all of them scalars.
    """
    weak, learned = weak.detach().float(), learned.float()
    if several:
        yes = weak.sigmoid()
        confidence, labels = torch.maximum(yes, 1 - yes), (yes >= 0.5).float()
        losses = F.binary_cross_entropy_with_logits(learned, labels, reduction="none")
    else:
        confidence, classes = weak.softmax(dim=1).max(dim=1)
        losses = F.cross_entropy(learned, classes, reduction="none")
    sure = (confidence >= threshold).float()
    return (losses * sure).mean(), sure.mean(), confidence.mean()
