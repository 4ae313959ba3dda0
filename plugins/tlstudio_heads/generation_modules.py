"""The heads that let the backbone write, as torch modules. Imported only when a head is built.

The scores of the next token come from the backbone, as does the layer that makes them: such a head has nothing that
learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses
from torchmetrics import Metric

from tlstudio.api import TARGETS, DataError, Features, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, Generation, HeadModule, LabelMetrics, TargetEncoder

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["GenerationModule", "NextTokens", "Perplexity", "TokenAccuracy"]

IGNORED = -100


class GenerationModule(HeadModule):
    """Negative log-likelihood of the tokens that are to be written.

    Args:
        target: What is learned.
        how: How texts are written.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("perplexity", "min")

    def __init__(self, target: TargetInfo, how: Generation) -> None:
        super().__init__()
        self.target = target
        self._how = how

    def forward(self, features: Features) -> Tensor:
        """Return the scores of the next token, ``[B, T, V]``."""
        return features.require("logits")

    def encoder(self) -> TargetEncoder:
        """Return what gives the token that should come at each place, ``[B, T]`` int64."""
        return NextTokens()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood ``[B]``, the mean over the tokens to be written."""
        return loss_per_text(output, target)

    def metrics(self) -> MetricCollection:
        """Return the perplexity, and the share of tokens that would be written right after right ones."""
        from torchmetrics import MetricCollection

        return MetricCollection({"perplexity": Perplexity(), "token_accuracy": TokenAccuracy()})

    def label_metrics(self) -> LabelMetrics:
        """Return ROUGE, BLEU and chrF of what was written."""
        from tlstudio_heads.text_metrics import OverlapMetrics

        return OverlapMetrics()

    def generation(self) -> Generation:
        """How texts are written."""
        return self._how

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Read the tokens that the backbone has written, ``[B, L]``."""
        return [Prediction(text) for text in self.texts(output)]


def loss_per_text(output: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of tokens, the mean over those of each text.

    Args:
        output: Scores ``[B, T, V]``.
        target: Tokens ``[B, T]``, -100 where nothing is to be learned.

    Returns:
        ``[B]``; 0 where a text has no token.
    """
    real = target != IGNORED
    losses = torch.zeros(target.shape, device=output.device)
    losses[real] = F.cross_entropy(output[real].float(), target[real], reduction="none")
    return losses.sum(dim=1) / real.sum(dim=1).clamp(min=1)


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Make rows of tokens equally long, ``[B, T]`` int64, with -100 behind the last."""
    longest = max(1, *map(len, rows))
    return torch.tensor([[*row, *[IGNORED] * (longest - len(row))] for row in rows], dtype=torch.int64)


class NextTokens(TargetEncoder):
    """Takes what the preprocessor has made of the label: the token that should come at each place."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, T]`` int64, -100 where nothing is to be learned."""
        for label in labels:
            if not isinstance(label, str):
                raise DataError(
                    f"{label!r} is no text." if label is not None else "A sample has no text that is to be written.",
                    "Choose the column that holds what is to be written, or leave the sample out.",
                )
        return padded([item[TARGETS] for item in items])


class _PerToken(Metric):
    """A mean over all tokens that are to be written, whatever sample they are of."""

    full_state_update = False
    sums: list[Tensor]
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", default=[], dist_reduce_fx="cat")  # not every device adds in 64 bits
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in scores ``[B, T, V]`` and tokens ``[B, T]``."""
        real = target != IGNORED
        self.sums.append(self._sum(output[real].float(), target[real]))
        self.count += real.sum()

    def _sum(self, output: Tensor, target: Tensor) -> Tensor:
        """Sum over tokens, from scores ``[N, V]`` and tokens ``[N]``."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """Return the mean."""
        return torch.tensor(sum(map(float, self.sums)) / max(1, int(self.count)), dtype=torch.float64)


class Perplexity(_PerToken):
    """exp of the mean negative log-likelihood of a token: among how many the model is torn. At most 1e30."""

    higher_is_better = False

    def _sum(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, reduction="sum")

    def compute(self) -> Tensor:
        """Return the perplexity."""
        return super().compute().exp().clamp(max=1e30)


class TokenAccuracy(_PerToken):
    """Share of tokens that are the likeliest where all before them are as they should be."""

    higher_is_better = True

    def _sum(self, output: Tensor, target: Tensor) -> Tensor:
        return (output.argmax(dim=1) == target).sum()
