"""Options of the text backbones."""

from __future__ import annotations

from typing import Literal

from tlstudio.api import Options, option
from tlstudio.api.model_folders import ModelFolder
from tlstudio.api.pooling import Pooling


class TextOptions(Options):
    """How a text backbone is built and fed."""

    weights: str = option(
        "pretrained",
        title="Weights",
        help="'pretrained' takes what is already on this machine (starter package or cache), 'random' starts from "
        "scratch; otherwise the path of a weight file or of a model folder. Nothing is downloaded.",
        browse="any",
    )
    max_length: int | None = option(
        256,
        title="Longest text",
        help="Texts are cut after this many tokens (a token is a word or a part of one). Empty: as many as the model "
        "can take, which is also the limit. Longer takes more time and memory.",
        unit="tokens",
        ge=4,
        le=131_072,
    )
    pooling: Pooling = option(
        "mean",
        title="Pooling",
        help="How one vector is made of all tokens: their mean, the first one (cls), the largest value of each "
        "feature, or the last one, which suits decoders. The mean suits most models.",
        advanced=True,
    )


class WritingOptions(TextOptions):
    """How a language model is built, and how texts are put before it."""

    max_length: int | None = option(
        256,
        title="Longest prompt",
        help="Texts are cut so that they, with the words around them, have at most this many tokens (a token is a "
        "word or a part of one). Empty: as many as the model can take beside the answer.",
        unit="tokens",
        ge=4,
        le=131_072,
    )
    max_answer: int = option(
        128,
        title="Longest answer",
        help="Of what is to be written, this many tokens are learned from.",
        unit="tokens",
        ge=1,
        le=32_768,
    )
    pooling: Pooling = option(
        "mean",
        title="Pooling",
        help="Where the model is to classify: how one vector is made of all tokens. The last one has seen all the "
        "others in a decoder; the mean suits most models.",
        advanced=True,
    )
    prompt: str = option(
        "{text}",
        title="Prompt",
        help="What the model is given: {text} stands for the text and {pair} for the second one, as in "
        "'summarize: {text}'.",
    )
    separator: Literal["newline", "blank line", "space", "none"] = option(
        "newline",
        title="Between prompt and answer",
        help="What stands between the two in a model that goes on with a text. An encoder-decoder needs nothing.",
    )
    style: Literal["plain", "chat"] = option(
        "plain",
        title="Style",
        help="Chat puts the prompt into the form of a conversation that the model was made for; only some models have "
        "one. Separator and marks are then those of the model.",
    )


class AutoModelOptions(ModelFolder, TextOptions):
    """The same for an encoder that the user brings."""


class LanguageModelOptions(ModelFolder, WritingOptions):
    """The same for a language model that the user brings."""
