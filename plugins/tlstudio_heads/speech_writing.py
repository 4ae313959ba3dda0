"""Speech recognition by a backbone that writes, as a torch module. Imported only when the head is built."""

from __future__ import annotations

from tlstudio.api import TargetInfo
from tlstudio.api.nn import Generation, LabelMetrics
from tlstudio_heads.generation_modules import GenerationModule
from tlstudio_heads.speech_metrics import TranscriptMetrics
from tlstudio_heads.transcripts import Writing

__all__ = ["SpeechWritingModule"]


class SpeechWritingModule(GenerationModule):
    """Negative log-likelihood of the tokens of transcripts; what is written is measured by its errors.

    Args:
        target: What is learned.
        how: How transcripts are written.
        writing: How both are written before they are compared.
    """

    def __init__(self, target: TargetInfo, how: Generation, writing: Writing) -> None:
        super().__init__(target, how)
        self._writing = writing

    def label_metrics(self) -> LabelMetrics:
        """Return word and character error rate of what was written."""
        return TranscriptMetrics(self._writing)
