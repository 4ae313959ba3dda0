"""Deep adaptation networks: features of source and target get the same distribution, by maximum mean discrepancy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import option, options_as
from tlstudio_methods.domains import (
    HOW_TO_MEASURE,
    Alignment,
    AlignmentOptions,
    Schedule,
    schedule_option,
    strength_option,
)

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["Mmd", "MmdOptions"]


class MmdOptions(AlignmentOptions):
    """Options of DAN."""

    strength: float = strength_option(1.0, "Weight of the squared discrepancy beside the loss.")
    schedule: Schedule = schedule_option("constant")
    layers: Literal["features", "outputs", "both"] = option(
        "features",
        title="What is aligned",
        help="The pooled features, the outputs of the head above them, or both, as the paper aligns several layers.",
    )
    kernels: int = option(
        5,
        title="Kernels",
        help="Number of Gaussian kernels of different widths: more of them notice differences of more sizes.",
        ge=1,
        le=33,
        advanced=True,
    )
    factor: float = option(
        2.0,
        title="Steps between widths",
        help="The width of each kernel is this times that of the one before; the middle one is the median distance.",
        gt=1,
        le=16,
        advanced=True,
    )
    estimator: Literal["unbiased", "biased"] = option(
        "unbiased",
        title="Estimator",
        help="Unbiased leaves each sample's likeness to itself out, and may be below 0; biased counts it.",
        advanced=True,
    )


class Mmd(Alignment):
    """Multi-kernel MMD of deep features (Long et al. 2015, arXiv:1502.02791; Gretton et al. 2012).

    Kernels are ``exp(-||x - y||^2 / gamma)`` with gamma at and around the median squared distance of the batch. The
    paper learns weights of its kernels, and sums over pairs in linear time for batches that are large; here all kernels
    weigh the same, as in its authors' later code, and all pairs of a batch count.
    """

    name = "mmd"
    title = "Align distributions with a target (MMD, DAN)"
    description = (
        "Adapts to unlabelled data of another kind, as Deep CORAL does, but compares whole distributions of features "
        f"instead of their covariance; it gains from larger batches. {HOW_TO_MEASURE}"
    )
    source = "Long et al. 2015, arXiv:1502.02791"
    Options = MmdOptions

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the loss."""
        from functools import partial

        from tlstudio_methods.adaptation_module import AlignmentModule
        from tlstudio_methods.distances import mmd_distance

        chosen = options_as(MmdOptions, options)
        unbiased = chosen.estimator == "unbiased"
        return AlignmentModule(
            context,
            strength=chosen.strength,
            schedule=chosen.schedule,
            layers=chosen.layers,
            distance=partial(mmd_distance, kernels=chosen.kernels, factor=chosen.factor, unbiased=unbiased),
            name="mmd",
        )
