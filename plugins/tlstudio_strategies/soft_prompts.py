"""Prompt tuning and prefix tuning: what a model of texts reads before each text is learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import BackboneInfo, Options, Situation, TaskHead, option, options_as
from tlstudio_strategies.added import AddedStrategy
from tlstudio_strategies.common import fine_tuning_options

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PrefixTuning", "PrefixTuningOptions", "PromptTuning", "PromptTuningOptions"]


class PromptTuningOptions(Options):
    """Options of prompt tuning."""

    prompts: int = option(
        20,
        title="Prompts",
        help="How many learned tokens stand before each text.",
        ge=1,
        le=512,
    )


class SoftPromptStrategy(AddedStrategy):
    """What both have in common.

    Neither has an adapter file: PEFT reads the text behind what stands before it, at other positions than here, where
    the text keeps its own; no file can say otherwise.
    """

    merges = False

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse what does not read texts; see `FineTuningStrategy`."""
        if backbone.modality != "text":
            return f"{self.title} needs a transformer of texts."
        return None


class PromptTuning(SoftPromptStrategy):
    """Soft prompts before the embedded tokens (Lester et al. 2021, arXiv:2104.08691).

    Features are those of the text: what the prompts become is left out. Of an encoder with a decoder, the encoder reads
    them.
    """

    name = "prompt_tuning"
    title = "Prompt tuning"
    description = (
        "Leaves a model of texts as it is and learns a few tokens that it reads before each text. Fewest numbers of "
        "all; good with large models, weaker than LoRA with small ones. They stay part of the model. Also called soft "
        "prompts."
    )
    source = "Lester et al. 2021, arXiv:2104.08691"
    Options = PromptTuningOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend a very high rate, as the paper does; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=3e-2)

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put prompts in that begin as tokens of the vocabulary."""
        from tlstudio_strategies.soft_prompts_module import add_prompts

        add_prompts(backbone, options_as(PromptTuningOptions, options).prompts)


class PrefixTuningOptions(Options):
    """Options of prefix tuning."""

    prompts: int = option(
        20, title="Length of the prefix", help="How many learned keys and values each layer sees.", ge=1, le=512
    )
    hidden: int = option(
        64,
        title="Width of the network behind",
        help="The prefix comes from a small network of this width, which is more stable than to learn it itself; 0: "
        "none. The paper has 512, which stores more: 12 % of a small encoder, where 64 are 1.3 %.",
        ge=0,
        le=8192,
        advanced=True,
    )


class PrefixTuning(SoftPromptStrategy):
    """Learned keys and values before those of each layer (Li and Liang 2021, arXiv:2101.00190, section 4).

    Encoders see them as in P-tuning v2 (Liu et al. 2021, arXiv:2110.07602): those of which the attention takes keys and
    values from outside, such as BERT and RoBERTa, which shows when the model is there. Of an encoder with a decoder,
    the decoder sees them.
    """

    name = "prefix_tuning"
    title = "Prefix tuning"
    description = (
        "Leaves a model of texts as it is and learns what each of its layers sees before the text: more than prompt "
        "tuning does. For models that write and for encoders such as BERT, RoBERTa and MiniLM. It stays part of the "
        "model. Of encoders it is also called P-tuning v2."
    )
    source = "Li and Liang 2021, arXiv:2101.00190; Liu et al. 2021, arXiv:2110.07602"
    Options = PrefixTuningOptions
    stored_width = ("hidden", ".soft_prompt.network.0.weight")

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend a high rate; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=5e-3)

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put a prefix in, drawn at random."""
        from tlstudio_strategies.soft_prompts_module import add_prefix

        chosen = options_as(PrefixTuningOptions, options)
        add_prefix(backbone, chosen.prompts, chosen.hidden)
