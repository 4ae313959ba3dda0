"""Writing down what is said, from features in the order of time. Light: torch is imported when a head is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be
from tlstudio_heads.transcripts import Writing

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Ctc", "CtcOptions"]


class CtcOptions(Options):
    """Options of the head for speech recognition."""

    case: Literal["keep", "lower", "upper"] = option(
        "lower",
        title="Letters",
        help="Whether transcripts are learned with small and large letters as they are, or all small or all large: "
        "nobody hears the difference, and fewer letters are learned sooner. Error rates count alike.",
    )
    punctuation: Literal["keep", "remove"] = option(
        "remove",
        title="Punctuation",
        help="Whether marks such as commas are learned, too; apostrophes and hyphens inside words always are. Error "
        "rates count alike.",
    )
    dropout: float = option(
        0.1,
        title="Dropout",
        help="Share of the features that are left out at random while training; guards against learning by heart.",
        ge=0,
        lt=1,
    )


class Ctc(TaskHead):
    """Connectionist temporal classification (Graves et al. 2006): a character or nothing for each moment."""

    name = "ctc"
    title = "Speech recognition (CTC)"
    description = (
        "Writes down what is said: for each moment a character of the training transcripts, or nothing. Choose it for "
        "wav2vec 2.0, HuBERT and other backbones that hear but do not write."
    )
    task: Task = "speech_recognition"
    requires: FeatureKind = "tokens"
    Options = CtcOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.speech_modules import CtcModule

        chosen = as_options(CtcOptions, options)
        must_be(self, target)
        writing = Writing(chosen.case, keep_marks=chosen.punctuation == "keep")
        if not writing.characters(target.characters).strip():
            raise DataError(
                "The transcripts of the train split have no letters, so there is nothing to learn.",
                "Choose the column that holds what is said.",
                field="dataset",
            )
        return CtcModule(features.num_features, target, writing, dropout=chosen.dropout)
