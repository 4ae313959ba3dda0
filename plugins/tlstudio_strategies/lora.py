"""LoRA: small matrices beside the frozen layers learn, and are folded into them in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Options, Situation, option
from tlstudio_strategies.common import fine_tuning_options, options_as

if TYPE_CHECKING:
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["LoRA", "LoRAOptions"]


class LoRAOptions(Options):
    """Options of LoRA."""

    rank: int = option(
        8,
        title="Rank",
        help="Width of the added matrices: more can learn more, and needs more memory.",
        ge=1,
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
    target: Literal["auto", "attention", "all-linear"] = option(
        "auto",
        title="Adapted layers",
        help=(
            "Attention adapts the projections of attention layers; all-linear adapts every linear layer and "
            "convolution. Auto takes attention where there is any, else all-linear."
        ),
    )
    use_dora: bool = option(
        False,
        title="DoRA",
        help="Also learns the length of each weight vector (Liu et al. 2024): slower, often a little better.",
        advanced=True,
    )


class LoRA(FineTuningStrategy):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024, arXiv:2402.09353) through PEFT."""

    name = "lora"
    title = "LoRA"
    description = (
        "Leaves the backbone as it is and learns small additions to its layers: close to full fine-tuning at a "
        "fraction of the memory, and a checkpoint of a few megabytes."
    )
    Options = LoRAOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend rates above those of full fine-tuning, as adapters start at zero; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=2e-3 if situation.modality == "image" else 1e-3)

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Put adapters into the backbone, in place; they and the head learn.

        Raises:
            RunError: No layer of the backbone can be adapted as chosen.
        """
        from tlstudio_strategies.adapters import add_lora

        chosen = options_as(LoRAOptions, options)
        model.requires_grad_(False)
        add_lora(
            model.backbone,
            rank=chosen.rank,
            alpha=chosen.alpha,
            dropout=chosen.dropout,
            target=chosen.target,
            use_dora=chosen.use_dora,
        )
        model.head.requires_grad_(True)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return the adapters and the head, at the same rate."""
        from tlstudio.api.nn import grouped_parameters

        adapters = [p for p in model.backbone.parameters() if p.requires_grad]
        return grouped_parameters(
            [("adapters", adapters, learning_rate), ("head", model.head.parameters(), learning_rate)],
            weight_decay=weight_decay,
        )

    def merge(self, model: TransferModel) -> None:
        """Fold the adapters into the layers they stand beside; the state dict then has its first names again."""
        from tlstudio_strategies.adapters import merge_adapters

        merge_adapters(model.backbone)
