"""LP-FT: a linear probe first, and full fine-tuning from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Method, Options, Problem, Setting, Situation, option, options_as
from tlstudio_strategies.common import (
    fine_tuning_options,
    head_lr_factor_option,
    inverse_strength_option,
    layer_decay_option,
    layerwise_groups,
    needs_own_layer,
)

if TYPE_CHECKING:
    from torch import nn

    from tlstudio.api import BackboneInfo, TaskHead
    from tlstudio.api.method_modules import MethodContext, MethodModule
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["FITTED", "LPFT", "HeadFirst", "LPFTOptions"]

FITTED = ("pooled", "parts")
"""The features on which a head is fitted at once."""


class LPFTOptions(Options):
    """Options of LP-FT."""

    C: float = inverse_strength_option()
    layer_decay: float = layer_decay_option()
    keep_statistics: bool = option(
        True,
        title="Keep BatchNorm",
        help="BatchNorm layers stay as they are: with the statistics of each batch, features would not be those that "
        "the head was fitted on. Networks without BatchNorm do not care.",
    )
    head_epochs: int = option(
        2,
        title="Epochs of the head alone",
        help="Heads on tokens or maps cannot be fitted at once: for so many epochs they learn alone. Other heads are "
        "fitted before the first epoch.",
        ge=1,
        le=1000,
        unit="epochs",
        advanced=True,
    )
    head_lr_factor: float = head_lr_factor_option(
        "A head on tokens or maps learns at this times the learning rate of the backbone. Others are fitted before, "
        "and then learn at that of the backbone."
    )


class HeadFirst(Method):
    """The first half of LP-FT."""

    name = "head_first"
    title = "Head first"
    description = "Fits the head on the features of the frozen backbone before that learns."
    source = "Kumar et al. 2022, arXiv:2202.10054"
    needs_backbone = True
    Options = LPFTOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse a head that learns alone to the end; see `Method`."""
        alone = options_as(LPFTOptions, options).head_epochs
        if setting.head.requires in FITTED or alone < setting.epochs:
            return ()
        what = f"the head would learn alone for {alone} of {setting.epochs} epochs, and the backbone never."
        return [Problem("head_epochs", what, "Choose fewer, or raise training.epochs.")]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build what fits the head."""
        from tlstudio_strategies.head_first_module import HeadFirstModule

        chosen = options_as(LPFTOptions, options)
        return HeadFirstModule(context, strength=chosen.C, epochs=chosen.head_epochs)


class LPFT(FineTuningStrategy):
    """Linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054).

    A head with random weights distorts good features in the first steps of fine-tuning; one that has been fitted on
    them does not. The probe's objective is that of `LinearProbe`.
    """

    name = "lp_ft"
    title = "Probe, then full fine-tuning (LP-FT)"
    description = (
        "First fits the head on what the backbone gives, then trains every layer from there. Keeps more of what the "
        "backbone knows than full fine-tuning: better where new samples differ from those of training."
    )
    source = HeadFirst.source
    head_first = True
    Options = LPFTOptions

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse heads that have nothing to be fitted, or nothing to be fitted to; see `FineTuningStrategy`."""
        if head.views > 1:
            return f"{head.title} compares views of items, and has no labels that it could be fitted to before."
        return needs_own_layer(head)

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend what full fine-tuning does; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=2e-4 if situation.modality == "image" else 5e-5)

    def method(self, options: api.Options) -> tuple[Method, api.Options] | None:
        """Fit the head before the first step."""
        return HeadFirst(), options

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Let everything learn but layers with running statistics, where these are to be kept."""
        model.requires_grad_(True)
        for parameter in _with_statistics(model, options_as(LPFTOptions, options)):
            parameter.requires_grad_(False)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return one group for each layer group and the head, without what stays as it is."""
        chosen = options_as(LPFTOptions, options)
        fitted = getattr(model.backbone, "wanted", "pooled") in FITTED
        groups = layerwise_groups(
            model,
            model.layer_groups(),
            learning_rate=learning_rate,
            decay=chosen.layer_decay,
            head_rate=learning_rate * (1.0 if fitted else chosen.head_lr_factor),
            weight_decay=weight_decay,
        )
        kept = {id(p) for p in _with_statistics(model, chosen)}
        learning = [replace(group, params=[p for p in group.params if id(p) not in kept]) for group in groups]
        return [group for group in learning if group.params]


def _with_statistics(model: TransferModel, options: LPFTOptions) -> list[nn.Parameter]:
    """Parameters that stay as they are: those of layers with running statistics, where these are kept."""
    modules = model.backbone.modules() if options.keep_statistics else ()
    with_statistics = [module for module in modules if getattr(module, "running_mean", None) is not None]
    return [parameter for module in with_statistics for parameter in module.parameters()]
