"""BitFit: of the backbone, only what is added learns, not what is multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Options, RunError, Situation, option, options_as
from tlstudio_strategies.common import fine_tuning_options

if TYPE_CHECKING:
    from torch import nn

    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["BitFit", "BitFitOptions"]


class BitFitOptions(Options):
    """Options of BitFit."""

    norm_scales: bool = option(
        False,
        title="Scales of norms too",
        help="The scales of normalisation layers learn beside their biases. Those of BatchNorm then also take the "
        "statistics of the new samples; without this they keep those of the backbone.",
    )


class BitFit(FineTuningStrategy):
    """Trains bias terms and the head (Ben Zaken, Goldberg and Ravfogel 2022, arXiv:2106.10199)."""

    name = "bitfit"
    title = "Biases only (BitFit)"
    description = (
        "Trains the biases of the backbone, less than one in a hundred of its numbers, together with the head. For "
        "few samples, or where many models are to share one backbone."
    )
    source = "Ben Zaken et al. 2022, arXiv:2106.10199"
    Options = BitFitOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend rates above those of full fine-tuning, as in the paper; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=2e-3 if situation.modality == "image" else 1e-3)

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Let biases and the head learn, and freeze everything else.

        Raises:
            RunError: The backbone has no biases.
        """
        chosen = options_as(BitFitOptions, options)
        model.requires_grad_(False)
        learning = [
            parameter
            for module in model.backbone.modules()
            for name, parameter in module.named_parameters(recurse=False)
            if _is_bias(name) or (chosen.norm_scales and _is_scale(module, name))
        ]
        if not learning:
            raise RunError(
                "This backbone has no biases that could learn.",
                "Choose another strategy"
                + ("." if chosen.norm_scales else ", or set strategy.norm_scales, if it has normalisation layers."),
                field="strategy",
            )
        for parameter in learning:
            parameter.requires_grad_(True)
        model.head.requires_grad_(True)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return the biases and the head, at the same rate."""
        from tlstudio.api.nn import grouped_parameters

        biases = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
        return grouped_parameters(
            [("biases", biases, learning_rate), ("head", model.head.parameters(), learning_rate)],
            weight_decay=weight_decay,
        )


def _is_bias(name: str) -> bool:
    """By the names that libraries give: ``bias``, ``in_proj_bias``, ``q_bias``, ``bias_hh_l0``."""
    return name == "bias" or name.endswith("_bias") or name.startswith("bias_")


def _is_scale(module: nn.Module, name: str) -> bool:
    return name == "weight" and "norm" in type(module).__name__.lower()
