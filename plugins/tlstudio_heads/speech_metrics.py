"""Error rates of transcripts. Importing this imports torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from torchmetrics.text import CharErrorRate, WordErrorRate

from tlstudio.api import Prediction, Sample
from tlstudio.api.nn import LabelMetrics

__all__ = ["TranscriptMetrics"]


class TranscriptMetrics(LabelMetrics):
    """Word and character error rate: edits (in, out, other) over what should be there, of all samples together.

    Args:
        written: How both texts are written before they are compared.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {"wer": "min", "cer": "min"}

    def __init__(self, written: Callable[[str], str] = str) -> None:
        self._written = written
        self._found: list[str] = []
        self._truth: list[str] = []

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in predicted transcripts and those of the samples."""
        self._found += [self._written(str(prediction.value)) for prediction in predictions]
        self._truth += [self._written(str(sample.label)) for sample in samples]

    def compute(self) -> dict[str, float]:
        """Return wer and cer, from 0 on; more than 1 where far too much is written."""
        if not any(text.strip() for text in self._truth):
            wrong = float(any(text.strip() for text in self._found))
            return {"wer": wrong, "cer": wrong}
        words, characters = WordErrorRate(), CharErrorRate()
        return {
            "wer": float(words(self._found, self._truth)),
            "cer": float(characters(self._found, self._truth)),
        }
