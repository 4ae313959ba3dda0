"""Heads that let the backbone write. Light: torch is imported when a head is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["TextGeneration", "WritingOptions"]


class WritingOptions(Options):
    """How texts are written."""

    max_new_tokens: int = option(
        64,
        title="Longest text written",
        help="A text ends after this many tokens at the latest; a token is a word or a part of one.",
        unit="tokens",
        ge=1,
        le=32_768,
    )
    beams: int = option(
        1,
        title="Beams",
        help="How many beginnings are followed up at the same time. 1 takes the likeliest token each time and is "
        "fastest; 4 often gives better translations and summaries.",
        ge=1,
        le=64,
    )
    live: int = option(
        4,
        title="Live samples",
        help="So many texts of the validation split are written after each epoch, to be read while the model trains.",
        ge=0,
        le=1000,
    )
    evaluated: int | None = option(
        500,
        title="Texts in an evaluation",
        help="So many texts of a split, spread evenly over it, are written and compared at the end; to write takes "
        "long. Loss and perplexity are those of all. Empty: all are written.",
        ge=1,
    )


class TextGeneration(TaskHead):
    """Learns to write a text from a text: the likelihood of each next token is raised, as a language model learns."""

    name = "generation"
    title = "Text generation"
    description = "Writes a text for each text: a summary, a translation, a reply, or how it goes on."
    source = "Sutskever et al. 2014, arXiv:1409.3215; Raffel et al. 2020, arXiv:1910.10683"
    task: Task = "generation"
    requires: FeatureKind = "logits"
    Options = WritingOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio.api.nn import Generation
        from tlstudio_heads.generation_modules import GenerationModule

        chosen = as_options(WritingOptions, options)
        must_be(self, target)
        how = Generation(chosen.max_new_tokens, chosen.beams, chosen.live, chosen.evaluated)
        return GenerationModule(target, how)
