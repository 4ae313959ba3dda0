"""Writing down what is said, from features in the order of time. Light: torch is imported when a head is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, dropout_option, must_be
from tlstudio_heads.generation_heads import WritingOptions
from tlstudio_heads.transcripts import Writing

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Ctc", "CtcOptions", "SpeechWriting", "SpeechWritingOptions"]


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
    dropout: float = dropout_option(0.1)


class Ctc(TaskHead):
    """Connectionist temporal classification (Graves et al. 2006): a character or nothing for each moment."""

    name = "ctc"
    title = "Speech recognition (CTC)"
    description = (
        "Writes down what is said: for each moment a character of the training transcripts, or nothing. Choose it for "
        "wav2vec 2.0, HuBERT and other backbones that hear but do not write."
    )
    source = "Graves et al. 2006, doi:10.1145/1143844.1143891"
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


class SpeechWritingOptions(WritingOptions):
    """How transcripts are written and compared."""

    max_new_tokens: int = option(
        200,
        title="Longest transcript",
        help="A transcript ends after this many tokens at the latest; a token is a word or a part of one.",
        unit="tokens",
        ge=1,
        le=32_768,
    )
    compare: Literal["letters", "all"] = option(
        "letters",
        title="Error rates count",
        help="letters: error rates leave out punctuation and whether letters are small or large, as nobody hears "
        "them. all: they count as well.",
    )


class SpeechWriting(TaskHead):
    """Learns to write down what is said: the likelihood of each next token is raised (Radford et al. 2022)."""

    name = "speech_writing"
    title = "Speech recognition (by writing)"
    description = (
        "Writes down what is said, word by word, with large letters and punctuation as in the training transcripts. "
        "Choose it for Whisper and other backbones that write."
    )
    source = "Radford et al. 2022, arXiv:2212.04356"
    task: Task = "speech_recognition"
    requires: FeatureKind = "logits"
    Options = SpeechWritingOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio.api.nn import Generation
        from tlstudio_heads.speech_writing import SpeechWritingModule

        chosen = as_options(SpeechWritingOptions, options)
        must_be(self, target)
        how = Generation(chosen.max_new_tokens, chosen.beams, chosen.live, chosen.evaluated)
        writing = Writing("lower", keep_marks=False) if chosen.compare == "letters" else Writing()
        return SpeechWritingModule(target, how, writing)
