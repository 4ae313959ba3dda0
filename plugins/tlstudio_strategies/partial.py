"""Partial fine-tuning: the last layers and the head learn, the rest stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Options, Situation, option, options_as
from tlstudio_strategies.common import (
    fine_tuning_options,
    head_lr_factor_option,
    last_groups,
    layerwise_groups,
    learn_from_the_top,
)

if TYPE_CHECKING:
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["Partial", "PartialOptions"]


class PartialOptions(Options):
    """Options of partial fine-tuning."""

    groups: int = option(
        1,
        title="Layer groups",
        help="How many of the backbone's last layer groups learn; more than it has means all.",
        ge=1,
        le=1000,
    )
    head_lr_factor: float = head_lr_factor_option()


class Partial(FineTuningStrategy):
    """Trains the last layer groups and the head; frozen BatchNorm layers keep their statistics too."""

    name = "partial"
    title = "Partial fine-tuning"
    description = (
        "Trains the last layers of the backbone together with the head, and keeps the earlier ones, which see "
        "general things such as edges or word forms. Cheaper than full fine-tuning and safer with few samples. "
        "Also called last-N or freezing."
    )
    source = "Yosinski et al. 2014, arXiv:1411.1792"
    Options = PartialOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend rates a little above those of full fine-tuning; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=5e-4 if situation.modality == "image" else 1e-4)

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Let the head and the last groups learn, and freeze the rest."""
        learn_from_the_top(model, options_as(PartialOptions, options).groups)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return one group for each layer group that learns and the head."""
        chosen = options_as(PartialOptions, options)
        return layerwise_groups(
            model,
            last_groups(model, chosen.groups),
            learning_rate=learning_rate,
            decay=1.0,
            head_rate=learning_rate * chosen.head_lr_factor,
            weight_decay=weight_decay,
        )
