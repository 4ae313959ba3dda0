"""Text backbones: the starter encoder, the Hugging Face cache, and any model folder."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import Backbone, BackboneFamily, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_backbones() -> Sequence[Backbone | BackboneFamily]:
    """Return the backbones. Imports neither torch nor transformers."""
    from tlstudio_text.backbones import AutoModelBackbone, HuggingFaceCache, MiniLM

    return [MiniLM(), AutoModelBackbone(), HuggingFaceCache()]
