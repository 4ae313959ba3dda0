"""Options of the text backbones."""

from __future__ import annotations

from tlstudio.api import Options, option
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
        help="How one vector is made of all tokens: their mean, the first one (cls), or the largest value of each "
        "feature. The mean suits most models.",
        advanced=True,
    )


class AutoModelOptions(TextOptions):
    """The same for a model that the user brings."""

    weights: str = option(
        "",
        title="Model folder",
        help="Folder of a Hugging Face model: config.json, model.safetensors and the tokenizer's files. 'random' "
        "starts from scratch, with the architecture of the folder below.",
        browse="folder",
    )
    folder: str = option(
        "",
        title="Architecture folder",
        help="Folder with config.json and the tokenizer's files, where the weights are elsewhere or random.",
        advanced=True,
        browse="folder",
    )
