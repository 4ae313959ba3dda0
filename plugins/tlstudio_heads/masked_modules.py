"""Finding again what was hidden, as torch modules. Imported only when a head is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import TARGETS, Features, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, TargetEncoder
from tlstudio_heads.generation_modules import Perplexity, TokenAccuracy, loss_per_text, padded

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["HiddenTokens", "HiddenValues", "MaskedLanguageModule", "MaskedValuesModule"]


class HiddenTokens(TargetEncoder):
    """Takes what the preprocessor has hidden; labels do not matter."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return the hidden tokens ``[B, M]`` int64, -100 behind the last."""
        return padded([item[TARGETS] for item in items])


class MaskedLanguageModule(HeadModule):
    """Negative log-likelihood of the hidden tokens. Scores and the layer that makes them come from the backbone.

    Args:
        target: What is learned: nothing of labels.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("perplexity", "min")
    decodes_in_place: ClassVar[bool] = True

    def __init__(self, target: TargetInfo) -> None:
        super().__init__()
        self.target = target

    def forward(self, features: Features) -> Tensor:
        """Return the scores of the hidden tokens, ``[B, M, V]``."""
        return features.require("masked")

    def encoder(self) -> TargetEncoder:
        """Return what gives the hidden tokens, ``[B, M]`` int64."""
        return HiddenTokens()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood ``[B]``, the mean over the hidden tokens of each text."""
        return loss_per_text(output, target)

    def metrics(self) -> MetricCollection:
        """Return the perplexity, and the share of hidden tokens that are found."""
        from torchmetrics import MetricCollection

        return MetricCollection({"perplexity": Perplexity(), "masked_accuracy": TokenAccuracy()})

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Say nothing of any sample."""
        return [Prediction(None)] * len(output)


class HiddenValues(TargetEncoder):
    """Takes what the preprocessor has hidden; labels do not matter."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return what stood in the columns ``[B, C]`` float32, NaN where nothing was hidden."""
        return torch.tensor([item[TARGETS] for item in items], dtype=torch.float32)


class MaskedValuesModule(HeadModule):
    """A linear layer on the features of a row: a number for each column of numbers, scores for categories of others.

    Args:
        num_features: Width D of the features.
        restored: What there is to be restored of each of C columns: 1 for a number, else how many categories.
        target: What is learned: nothing of labels.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("loss", "min")
    decodes_in_place: ClassVar[bool] = True  # scores of all categories are not to be kept

    def __init__(self, num_features: int, restored: Sequence[int], target: TargetInfo) -> None:
        super().__init__()
        self.target = target
        self.restored = tuple(restored)
        self.output = nn.Linear(num_features, max(1, sum(restored)))

    def forward(self, features: Features) -> Tensor:
        """Compute ``[B, P]``, columns side by side, from features ``[B, D]``."""
        output: Tensor = self.output(features.require("values"))
        return output

    def encoder(self) -> TargetEncoder:
        """Return what gives the hidden columns, ``[B, C]`` float32."""
        return HiddenValues()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error of standardised numbers and cross-entropy of categories: mean over hidden columns, ``[B]``."""
        losses = torch.zeros_like(target)
        for column, (own, true) in enumerate(columns_of(output, target, self.restored)):
            rows = ~true.isnan()
            if own.shape[1] == 1:
                losses[rows, column] = (own[rows, 0].float() - true[rows]).square()
            else:
                losses[rows, column] = F.cross_entropy(own[rows].float(), true[rows].long(), reduction="none")
        return losses.sum(dim=1) / (~target.isnan()).sum(dim=1).clamp(min=1)

    def metrics(self) -> MetricCollection:
        """Return the error of hidden numbers in standard deviations, and the share of hidden categories found."""
        from tlstudio_heads.masked_metrics import restored_metrics

        return restored_metrics(self.restored)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Say nothing of any sample."""
        return [Prediction(None)] * len(output)


def columns_of(output: Tensor, target: Tensor, restored: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Give for each column what was restored of it ``[B, 1 or categories]``, and what stood there ``[B]``."""
    yield from zip(output[:, : sum(restored)].split(list(restored), dim=1), target.unbind(dim=1), strict=True)
