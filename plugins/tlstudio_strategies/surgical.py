"""Surgical fine-tuning: one block of layers learns, chosen by where the new data differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Method, Options, Problem, Setting, Situation, option, options_as
from tlstudio_strategies.common import (
    fine_tuning_options,
    head_lr_factor_option,
    inverse_strength_option,
    layerwise_groups,
)

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule
    from tlstudio.api.nn import LayerGroup, ParamGroup, TransferModel

__all__ = ["ChosenBlock", "Surgical", "SurgicalOptions", "block_size"]


class SurgicalOptions(Options):
    """Options of surgical fine-tuning."""

    block: Literal["auto", "first", "middle", "last"] = option(
        "auto",
        title="Block that learns",
        help="First where new samples look different (noise, style), middle where parts of them are new, last where "
        "only the labels are. Auto takes the block with the largest gradient for its size, behind a head that was "
        "fitted before; where a model writes, that is its own.",
    )
    share: float = option(
        0.25, title="Share of the layers", help="How large the block is, as a share of all layer groups.", gt=0, le=1
    )
    head_lr_factor: float = head_lr_factor_option()
    C: float = inverse_strength_option()


class ChosenBlock(Method):
    """Auto: measures which block is to learn."""

    name = "chosen_block"
    title = "Choice of the block"
    description = (
        "Fits the head, unless the model writes by its own, and lets the block of layers learn of which the relative "
        "gradient norm is largest."
    )
    source = "Lee et al. 2023, arXiv:2210.11466"
    needs_backbone = True
    Options = SurgicalOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse heads that are new and cannot be fitted before: their gradients would say nothing of the data.

        Where a model writes, the layer that gives the scores is its own, and has learned already.
        """
        head = setting.head
        if head.requires == "logits" or (head.requires in ("pooled", "parts") and head.views == 1):
            return ()
        what = f"{setting.head.title} cannot be fitted before the run, so that no block can be chosen by its gradients."
        return [Problem("block", what, "Set strategy.block to first, middle or last.")]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build what measures."""
        from tlstudio_strategies.surgical_module import ChosenBlockModule

        chosen = options_as(SurgicalOptions, options)
        return ChosenBlockModule(context, share=chosen.share, strength=chosen.C)


class Surgical(FineTuningStrategy):
    """One contiguous block of layers and the head learn (Lee et al. 2023, arXiv:2210.11466).

    The paper's relative gradient norm (section 5, Auto-RGN) scales the rates of all layers; here it chooses the block
    that learns at all. The head is new in any case, so it learns too.
    """

    name = "surgical"
    title = "Surgical fine-tuning"
    description = (
        "Trains one block of the backbone's layers - the first, the middle, the last, or the one that the new samples "
        "pull at most - together with the head. Try it where samples differ from what the backbone knows in one way."
    )
    source = ChosenBlock.source
    Options = SurgicalOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend what partial fine-tuning does; see `FineTuningStrategy`."""
        return fine_tuning_options(situation, learning_rate=5e-4 if situation.modality == "image" else 1e-4)

    def method(self, options: api.Options) -> tuple[Method, api.Options] | None:
        """Choose the block before the first step, where it is not named."""
        return (ChosenBlock(), options) if options_as(SurgicalOptions, options).block == "auto" else None

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Let the block and the head learn; where it is still to be chosen, everything may."""
        model.requires_grad_(False)
        for group in _block(model, options):
            group.requires_grad_(True)
        model.head.requires_grad_(True)

    def alternatives(self, model: TransferModel, options: api.Options) -> Sequence[Sequence[LayerGroup]]:
        """Return every block that may be chosen; see `FineTuningStrategy`."""
        chosen = options_as(SurgicalOptions, options)
        groups = model.layer_groups()
        size = block_size(len(groups), chosen.share)
        if chosen.block != "auto" or size == len(groups):
            return ()
        return [groups[start : start + size] for start in range(len(groups) - size + 1)]

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return one group for each layer group that may learn and the head."""
        chosen = options_as(SurgicalOptions, options)
        return layerwise_groups(
            model,
            _block(model, options),
            learning_rate=learning_rate,
            decay=1.0,
            head_rate=learning_rate * chosen.head_lr_factor,
            weight_decay=weight_decay,
        )


def block_size(groups: int, share: float) -> int:
    """Number of layer groups in a block, at least one."""
    return max(1, round(groups * share))


def _block(model: TransferModel, options: api.Options) -> list[LayerGroup]:
    chosen = options_as(SurgicalOptions, options)
    groups = model.layer_groups()
    size = block_size(len(groups), chosen.share)
    starts = {"first": 0, "middle": (len(groups) - size) // 2, "last": len(groups) - size}
    if chosen.block == "auto":
        return groups
    return groups[starts[chosen.block] :][:size]
