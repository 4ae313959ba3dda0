"""The head for speech recognition as a torch module. Imported only when the head is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import DataError, Features, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, LabelMetrics, TargetEncoder
from tlstudio_heads.transcripts import Writing

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["CtcModule", "TranscriptEncoder"]

BLANK = 0
"""The output for "nothing"; character c of the vocabulary is output c + 1."""
PADDING = -100
"""Target behind the end of a transcript."""
NEVER = -1e4
"""An output that no probability is left of, in half precision too."""


class CtcModule(HeadModule):
    """Dropout and a linear layer on each token: one output a character, and one for nothing.

    Args:
        num_features: Width D of the features.
        target: What is learned.
        writing: How transcripts are written.
        dropout: Share of the features that is dropped while training.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("wer", "min")
    decodes_in_place: ClassVar[bool] = True

    def __init__(self, num_features: int, target: TargetInfo, writing: Writing, *, dropout: float) -> None:
        super().__init__()
        self.target = target
        self.writing = writing
        self.characters = writing.characters(target.characters)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(num_features, 1 + len(self.characters))
        nn.init.trunc_normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Features) -> Tensor:
        """Compute raw outputs ``[B, T, K]`` from token features ``[B, T, D]``; padding says nothing for certain."""
        output: Tensor = self.output(self.dropout(features.require("tokens")))
        if features.mask is None:
            return output
        nothing = torch.full_like(output[0, 0], NEVER)
        nothing[BLANK] = 0.0
        return torch.where(features.mask.unsqueeze(2), output, nothing)

    def encoder(self) -> TargetEncoder:
        """Return what gives the outputs of the characters, ``[B, L]`` int64."""
        return TranscriptEncoder(self.characters, self.writing)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood ``[B]`` of all ways to write the transcript, for each character of it.

        0 where a recording has fewer moments than its transcript needs: there is no way then. Computed on the CPU,
        where it is the same each time; it is small beside the rest.
        """
        logs = output.float().cpu().log_softmax(dim=2).transpose(0, 1)
        lengths = (output[:, :, 1:] > NEVER).any(dim=2).sum(dim=1).cpu()
        wanted = target.cpu()
        counts = (wanted != PADDING).sum(dim=1)
        losses = F.ctc_loss(
            logs, wanted.clamp(min=1), lengths, counts, blank=BLANK, reduction="none", zero_infinity=True
        )
        return (losses / counts.clamp(min=1)).to(output.device)

    def metrics(self) -> MetricCollection:
        """Return none: what counts are words and characters."""
        from torchmetrics import MetricCollection

        return MetricCollection({})

    def label_metrics(self) -> LabelMetrics:
        """Return word and character error rate."""
        from tlstudio_heads.speech_metrics import TranscriptMetrics

        return TranscriptMetrics(self.writing)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return what is said: the likeliest output of each moment, repetitions taken as one, then without nothing.

        The confidence is the geometric mean over the moments of the probability of that output.
        """
        logs = output.float().log_softmax(dim=2)
        real = (output[:, :, 1:] > NEVER).any(dim=2)
        best, places = logs.max(dim=2)
        sure = ((best * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)).exp()
        return [
            Prediction(self._text(row), certainty=min(1.0, share))
            for row, share in zip(places, sure.tolist(), strict=True)
        ]

    def _text(self, places: Tensor) -> str:
        said = torch.unique_consecutive(places).tolist()
        return " ".join("".join(self.characters[place - 1] for place in said if place != BLANK).split())


class TranscriptEncoder(TargetEncoder):
    """Gives the output of each character of a transcript.

    A character that no training transcript has is left out: it cannot be learned. Error rates count it.

    Args:
        characters: The characters, in the order of the outputs.
        writing: How transcripts are written.
    """

    def __init__(self, characters: str, writing: Writing) -> None:
        self._index = {character: number + 1 for number, character in enumerate(characters)}
        self._writing = writing

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, L]`` int64, `PADDING` behind the end of each."""
        rows = []
        for label in labels:
            if not isinstance(label, str):
                raise DataError(
                    f"{label!r} is no transcript." if label is not None else "A recording has no transcript.",
                    "Import the data set for speech recognition, or choose another head.",
                )
            found = (self._index.get(character) for character in self._writing(label))
            rows.append(torch.tensor([place for place in found if place is not None], dtype=torch.int64))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)
