"""L2-SP: weights are pulled towards where they began, not towards zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Options, Problem, Setting, option, options_as

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["L2SP", "L2SPOptions"]


class L2SPOptions(Options):
    """Options of L2-SP."""

    alpha: float = option(
        0.01,
        title="Pull of the backbone",
        help="How strongly the backbone is pulled to its first weights.",
        ge=0,
        le=10,
    )
    beta: float = option(
        0.01, title="Pull of the head", help="How strongly the new head is pulled to zero.", ge=0, le=10, advanced=True
    )


class L2SP(Method):
    """Starting point as the reference (Li, Grandvalet and Davoine 2018, arXiv:1802.01483)."""

    name = "l2_sp"
    title = "Stay near the start (L2-SP)"
    description = (
        "Pulls the weights of the backbone towards those that it began with, so that fine-tuning on few samples does "
        "not forget what they know. Use it with full or partial fine-tuning, instead of weight decay."
    )
    kind = "regularisation"
    source = "Li et al. 2018, arXiv:1802.01483"
    Options = L2SPOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse strategies under which the backbone stays as it is; see `Method`."""
        if setting.strategy.keeps_backbone(setting.strategy_options):
            what = f"{setting.strategy.title} leaves the backbone as it is: there is nothing to pull."
            return [Problem("", what, "Choose a strategy under which the backbone learns, such as full.")]
        return ()

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Note where every parameter that may learn begins."""
        from tlstudio_methods.l2_sp_module import L2SPModule

        chosen = options_as(L2SPOptions, options)
        return L2SPModule(context, alpha=chosen.alpha, beta=chosen.beta)
