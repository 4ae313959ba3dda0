"""Options of the audio backbones."""

from __future__ import annotations

from typing import Literal

from tlstudio.api import option
from tlstudio.api.model_folders import ModelFolder


class AudioOptions(ModelFolder):
    """How an audio backbone is built and fed."""

    max_seconds: float = option(
        20.0,
        title="Longest recording",
        help="Recordings are cut after this many seconds, or after what the model can take if that is less. Longer "
        "takes more time and memory.",
        unit="s",
        gt=0,
        le=600,
    )
    pooling: Literal["mean", "max"] = option(
        "mean",
        title="Pooling",
        help="How one vector is made of all moments of a recording: their mean, or the largest value of each feature, "
        "which suits short events in long recordings.",
        advanced=True,
    )


class SpeechOptions(AudioOptions):
    """The same for a model that writes down what is said."""

    max_seconds: float = option(
        30.0,
        title="Longest recording",
        help="Recordings are cut after this many seconds, or after what the model can take if that is less (30 s).",
        unit="s",
        gt=0,
        le=600,
    )
    language: str = option(
        "en",
        title="Language",
        help="What is spoken and written, as a code such as en, de or zh. Models for English alone do not need it.",
    )
