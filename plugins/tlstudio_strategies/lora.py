"""LoRA: small matrices beside the frozen layers learn, and are folded into them in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import BackboneInfo, Options, TaskHead, option, options_as
from tlstudio_strategies.added import PeftStrategy, Target, target_option, without_tokens

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoRA", "LoRAOptions", "QLoRA", "QLoRAOptions"]


class LoRAOptions(Options):
    """Options of LoRA."""

    rank: int = option(
        0,
        title="Rank",
        help="Width of the added matrices: more can learn more, and needs more memory. 0 chooses it: 8, or so much "
        "less that they have at most 2 % of the backbone's parameters.",
        ge=0,
        le=1024,
    )
    alpha: int = option(
        16,
        title="Alpha",
        help="What is learned is scaled by alpha / rank; twice the rank is usual.",
        ge=1,
        le=65_536,
    )
    dropout: float = option(
        0.0, title="Dropout", help="Share of the adapters' inputs that is dropped while training.", ge=0, lt=1
    )
    target: Target = target_option()
    use_dora: bool = option(
        False,
        title="DoRA",
        help="Also learns the length of each weight vector (Liu et al. 2024): slower, often a little better.",
        advanced=True,
    )


class LoRA(PeftStrategy):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024, arXiv:2402.09353) through PEFT."""

    name = "lora"
    title = "LoRA"
    description = (
        "Leaves the backbone as it is and learns small additions to its layers: close to full fine-tuning at a "
        "fraction of the memory, and a checkpoint of a few megabytes. DoRA is an option of it (use_dora)."
    )
    source = "Hu et al. 2021, arXiv:2106.09685; Liu et al. 2024, arXiv:2402.09353; PEFT, LoraConfig"
    Options = LoRAOptions
    chosen_width = ("rank", 8)
    stored_width = ("rank", ".lora_A.default.weight")

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put adapters in that do nothing yet."""
        from tlstudio_strategies.adapters import add_lora

        chosen = options_as(LoRAOptions, options)
        add_lora(
            backbone,
            rank=chosen.rank,
            alpha=chosen.alpha,
            dropout=chosen.dropout,
            target=chosen.target,
            use_dora=chosen.use_dora,
            most=self.chosen_width[1],
        )

    def width(self, backbone: nn.Module) -> int:
        """Tell the rank; see `AddedStrategy`."""
        from tlstudio_strategies.adapters import rank_of

        return rank_of(backbone)


class QLoRAOptions(Options):
    """Options of QLoRA."""

    rank: int = option(
        0,
        title="Rank",
        help="Width of the added matrices: more can learn more, and needs more memory. 0 chooses it: 16, or so much "
        "less that they have at most 2 % of the backbone's parameters.",
        ge=0,
        le=1024,
    )
    alpha: int = option(16, title="Alpha", help="What is learned is scaled by alpha / rank.", ge=1, le=65_536)
    dropout: float = option(
        0.05, title="Dropout", help="Share of the adapters' inputs that is dropped while training.", ge=0, lt=1
    )


class QLoRA(PeftStrategy):
    """LoRA beside layers in four bits (Dettmers et al. 2023, arXiv:2305.14314): NF4, blocks of 64, in plain torch.

    The scales of the blocks stay in 32 bits ("double quantisation" is left out): four and a half bits a weight. While
    the model is built, the full weights are in memory once.
    """

    name = "qlora"
    title = "QLoRA"
    description = (
        "LoRA beside a backbone whose linear layers are kept in four bits a weight: a seventh of their memory, for "
        "large models that would not fit otherwise. Slower, and a little less exact; an export has full weights again."
    )
    source = "Dettmers et al. 2023, arXiv:2305.14314; PEFT, LoraConfig"
    Options = QLoRAOptions
    chosen_width = ("rank", 16)
    stored_width = ("rank", ".lora_A.default.weight")

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse networks without blocks of linear layers; see `FineTuningStrategy`."""
        return without_tokens(backbone, "QLoRA")

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put layers into four bits, and adapters beside them that do nothing yet."""
        from tlstudio_strategies.adapters import add_qlora

        chosen = options_as(QLoRAOptions, options)
        most = self.chosen_width[1]
        add_qlora(backbone, rank=chosen.rank, alpha=chosen.alpha, dropout=chosen.dropout, most=most)

    def width(self, backbone: nn.Module) -> int:
        """Tell the rank; see `AddedStrategy`."""
        from tlstudio_strategies.adapters import rank_of

        return rank_of(backbone)
