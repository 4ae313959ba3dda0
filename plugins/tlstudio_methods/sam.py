"""Sharpness-aware minimisation: steps that lower the loss also where the weights were a little worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Options, option, options_as

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["SAM", "SAMOptions"]


class SAMOptions(Options):
    """Options of sharpness-aware minimisation."""

    rho: float = option(
        0.05,
        title="Rho",
        help="How far the weights are pushed uphill before the gradient is taken; adaptive steps want ten times as "
        "much.",
        gt=0,
        le=10,
    )
    adaptive: bool = option(
        False,
        title="Adaptive (ASAM)",
        help="Pushes each weight in proportion to its size, so that how layers are scaled does not matter.",
    )
    eta: float = option(
        0.01,
        title="Eta",
        help="Added to the size of each weight in adaptive steps, so that small ones move too.",
        ge=0,
        le=1,
        advanced=True,
    )


class SAM(Method):
    """SAM (Foret et al. 2021, arXiv:2010.01412) and ASAM (Kwon et al. 2021, arXiv:2102.11600)."""

    name = "sam"
    title = "Flat minima (SAM)"
    description = (
        "Takes each gradient where the weights were pushed a little uphill, and so finds flat minima, which "
        "generalise better from few samples and noisy labels. Each step takes twice the time."
    )
    kind = "regularisation"
    source = "Foret et al. 2021, arXiv:2010.01412; Kwon et al. 2021, arXiv:2102.11600"
    Options = SAMOptions

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Stand around the gradients of each batch."""
        from tlstudio_methods.sam_module import SAMModule

        chosen = options_as(SAMOptions, options)
        return SAMModule(context, rho=chosen.rho, eta=chosen.eta if chosen.adaptive else None)
