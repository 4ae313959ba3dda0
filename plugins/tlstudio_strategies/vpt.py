"""Visual prompt tuning: learned tokens beside the patches of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tlstudio import api
from tlstudio.api import BackboneInfo, Options, Situation, TaskHead, option, options_as
from tlstudio_strategies.added import AddedStrategy
from tlstudio_strategies.common import fine_tuning_options

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VisualPrompts", "VisualPromptsOptions"]


class VisualPromptsOptions(Options):
    """Options of visual prompt tuning."""

    depth: Literal["deep", "shallow"] = option(
        "deep",
        title="Where",
        help="Deep gives each block prompts of its own; shallow puts them before the first block alone.",
    )
    prompts: int = option(10, title="Prompts", help="How many tokens are added to the patches.", ge=1, le=1000)


class VisualPrompts(AddedStrategy):
    """Visual prompt tuning, shallow and deep (Jia et al. 2022, arXiv:2203.12119)."""

    name = "vpt"
    title = "Visual prompts (VPT)"
    description = (
        "Leaves a vision transformer as it is and learns tokens that its blocks look at beside the patches of the "
        "image. Few numbers; good where images are like those of its pretraining. They stay part of the model."
    )
    source = "Jia et al. 2022, arXiv:2203.12119"
    Options = VisualPromptsOptions
    merges = False

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse what is no plain vision transformer; see `FineTuningStrategy`."""
        if backbone.modality != "image" or "tokens" not in backbone.provides:
            return "Visual prompts need a plain vision transformer, such as a ViT, DeiT or DINOv2."
        return None

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend a high rate, as the paper does; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=5e-3)

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put prompts in, drawn as in the paper."""
        from tlstudio_strategies.vpt_module import add_visual_prompts

        chosen = options_as(VisualPromptsOptions, options)
        add_visual_prompts(backbone, prompts=chosen.prompts, deep=chosen.depth == "deep")
