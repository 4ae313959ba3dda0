"""Image backbones: the starter ones, every network of torchvision and timm, and model folders of transformers."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import Backbone, BackboneFamily, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_backbones() -> Sequence[Backbone | BackboneFamily]:
    """Return the selection and the families. Imports neither torch nor a model library."""
    from tlstudio_vision.folder_models import AutoImageModel, CachedImageModels
    from tlstudio_vision.selection import selection
    from tlstudio_vision.timm_models import TimmFamily
    from tlstudio_vision.torchvision_models import TorchvisionFamily

    torchvision = TorchvisionFamily()
    return [
        *selection(),
        AutoImageModel(),
        torchvision,
        TimmFamily(taken=torchvision),
        CachedImageModels(),
    ]
