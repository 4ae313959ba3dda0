"""Text backbones: the starter encoder, the Hugging Face cache, and any folder of an encoder or language model."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import Backbone, BackboneFamily, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_backbones() -> Sequence[Backbone | BackboneFamily]:
    """Return the backbones. Imports neither torch nor transformers."""
    from tlstudio_text.backbones import AutoModelBackbone, HuggingFaceCache, MiniLM
    from tlstudio_text.writing_backbones import LanguageModel

    return [MiniLM(), AutoModelBackbone(), LanguageModel(), HuggingFaceCache()]
