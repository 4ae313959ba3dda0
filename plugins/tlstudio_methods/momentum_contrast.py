"""Momentum contrast: many negatives without large batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Options, Problem, Setting, option, options_as

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["MomentumContrast", "MomentumContrastOptions"]


class MomentumContrastOptions(Options):
    """Options of momentum contrast."""

    momentum: float = option(
        0.999,
        title="Momentum",
        help="How much of the momentum encoder stays at each step. 0.999 suits runs of many thousand steps, 0.99 short "
        "ones.",
        ge=0,
        lt=1,
    )
    queue: int = option(
        65_536,
        title="Queue",
        help="Views of earlier batches that each view is told from; never more than there are training items, as a "
        "longer queue would hold the item itself.",
        ge=2,
        le=1_000_000,
    )
    temperature: float = option(
        0.2, title="Temperature", help="What similarities are divided by, in place of that of the head.", gt=0, le=10
    )
    symmetric: bool = option(
        True,
        title="Both ways",
        help="Each of the two views is compared with the other by the momentum encoder (MoCo v3). Off: the first with "
        "the second alone (MoCo v2).",
        advanced=True,
    )


class MomentumContrast(Method):
    """MoCo v2 (He et al. 2020, arXiv:1911.05722; Chen et al. 2020, arXiv:2003.04297)."""

    name = "momentum_contrast"
    title = "Momentum contrast (MoCo)"
    description = (
        "Compares each view with many views of earlier batches, which a slowly following copy of the model has "
        "computed. Choose it for pretraining with the contrastive head where memory is too small for large batches."
    )
    kind = "without labels"
    source = "He et al. 2020, arXiv:1911.05722; Chen et al. 2020, arXiv:2003.04297"
    excludes = ("mixup", "cutmix")
    needs_backbone = True
    Options = MomentumContrastOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse heads that do not compare two views; see `Method`."""
        if setting.head.views != 2 or setting.head.requires != "pooled":
            what = f"{setting.head.title} does not compare two views of each item."
            return [Problem("", what, "Choose the head contrastive, or leave momentum_contrast out.")]
        return ()

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Copy the model, and fill the queue at random."""
        from tlstudio_methods.momentum_contrast_module import MomentumContrastModule

        chosen = options_as(MomentumContrastOptions, options)
        return MomentumContrastModule(
            context,
            momentum=chosen.momentum,
            queue=min(chosen.queue, context.num_train),
            temperature=chosen.temperature,
            symmetric=chosen.symmetric,
        )
