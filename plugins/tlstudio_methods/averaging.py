"""Averaged weights: what is validated and kept is a mean over steps (EMA) or over epochs (SWA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Options, Problem, Setting, option, options_as

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["EMA", "SWA", "EMAOptions", "SWAOptions", "first_averaged"]


class EMAOptions(Options):
    """Options of the moving average."""

    decay: float = option(
        0.9998,
        title="Decay",
        help="Share of the average that stays at each step: 0.9998 remembers about 5,000 steps.",
        ge=0,
        lt=1,
    )
    warmup: bool = option(
        True,
        title="Warm-up of the decay",
        help="Forgets the first steps quickly: at step n the decay is at most 1 - n^-power. Without it, a short run "
        "never gets away from its beginning.",
    )
    power: float = option(
        2 / 3,
        title="Power of the warm-up",
        help="Higher remembers longer: about n^power of the n steps so far.",
        gt=0,
        le=1,
        advanced=True,
    )


class SWAOptions(Options):
    """Options of stochastic weight averaging."""

    start: float = option(
        0.75,
        title="Begins after",
        help="Share of the epochs after which the weights at the end of each epoch are averaged; the last always is.",
        ge=0,
        lt=1,
    )
    rate: float = option(
        0.5,
        title="Learning rate from there on",
        help="Held at this share of the highest rate, so that the epochs find different weights; 0 leaves the schedule "
        "as it is.",
        ge=0,
        le=1,
    )


class EMA(Method):
    """Exponential moving average of the weights (Polyak and Juditsky 1992), as in timm's ModelEmaV2 and V3.

    Running statistics of BatchNorm are averaged as well, other buffers taken over.
    """

    name = "ema"
    title = "Moving average of the weights (EMA)"
    description = (
        "Validates and keeps a moving average of the weights instead of the last ones, which is steadier and often a "
        "little better. Costs nearly nothing; use it with any strategy where training takes some hundred steps."
    )
    kind = "regularisation"
    source = "Polyak and Juditsky 1992, doi:10.1137/0330046; timm, ModelEmaV3"
    excludes = ("swa",)
    Options = EMAOptions

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Begin with the weights as they are."""
        from tlstudio_methods.averaging_module import EMAModule

        chosen = options_as(EMAOptions, options)
        return EMAModule(context, decay=chosen.decay, power=chosen.power if chosen.warmup else None)


class SWA(Method):
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407) by torch's own average."""

    name = "swa"
    title = "Average over epochs (SWA)"
    description = (
        "Averages the weights at the ends of the last epochs, which are trained at a steady learning rate: the mean "
        "lies in a flatter place than any of them and generalises better. Use it with enough epochs, 8 or more."
    )
    kind = "regularisation"
    source = "Izmailov et al. 2018, arXiv:1803.05407; torch.optim.swa_utils"
    excludes = ("ema",)
    Options = SWAOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse the mean of one epoch; see `Method`."""
        if setting.epochs - first_averaged(options_as(SWAOptions, options).start, setting.epochs) > 1:
            return ()
        what = f"of {setting.epochs} epochs, the weights of the last alone would be averaged."
        return [Problem("start", what, "Begin earlier, or raise training.epochs.")]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Wait for the first epoch that counts."""
        from tlstudio_methods.averaging_module import SWAModule

        chosen = options_as(SWAOptions, options)
        return SWAModule(context, start=chosen.start, rate=chosen.rate)


def first_averaged(start: float, epochs: int) -> int:
    """Number, from 0, of the first epoch that counts: the last one always does."""
    return min(int(start * epochs), epochs - 1)
