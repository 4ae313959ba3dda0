"""Backbones for recordings: wav2vec 2.0, HuBERT and their kin, the Audio Spectrogram Transformer, Whisper."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import Backbone, BackboneFamily, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_backbones() -> Sequence[Backbone | BackboneFamily]:
    """Return the backbones. Imports neither torch nor transformers."""
    from tlstudio_audio.backbones import AudioModelBackbone
    from tlstudio_audio.writing_backbones import SpeechModelBackbone

    return [SpeechModelBackbone(), AudioModelBackbone()]  # of a folder that both can read, the first does more
