"""Full fine-tuning: everything learns, the layers near the input more slowly if asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Options, Situation, options_as
from tlstudio_strategies.common import fine_tuning_options, head_lr_factor_option, layer_decay_option, layerwise_groups

if TYPE_CHECKING:
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["Full", "FullOptions"]


class FullOptions(Options):
    """Options of full fine-tuning."""

    layer_decay: float = layer_decay_option()
    head_lr_factor: float = head_lr_factor_option()


class Full(FineTuningStrategy):
    """Trains all parameters, with layer-wise learning rates (Clark et al. 2020, ELECTRA, arXiv:2003.10555)."""

    name = "full"
    title = "Full fine-tuning"
    description = (
        "Trains every layer. Reaches the most when there are many samples or they differ from what the backbone "
        "has seen; needs the most time and memory. With layer-wise decay of the learning rate (LLRD), if you like."
    )
    source = "Kornblith et al. 2019, arXiv:1805.08974; Clark et al. 2020, arXiv:2003.10555"
    Options = FullOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend small steps for the backbone; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=2e-4 if situation.modality == "image" else 5e-5)

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Let everything learn."""
        model.requires_grad_(True)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return one group for each layer group and the head."""
        chosen = options_as(FullOptions, options)
        return layerwise_groups(
            model,
            model.layer_groups(),
            learning_rate=learning_rate,
            decay=chosen.layer_decay,
            head_rate=learning_rate * chosen.head_lr_factor,
            weight_decay=weight_decay,
        )
