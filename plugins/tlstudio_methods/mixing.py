"""Mixup and CutMix: a sample is mixed with another one, and its loss with that for the label of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tlstudio import api
from tlstudio.api import Method, Options, Problem, Setting, Task, option, options_as

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["CutMix", "CutMixOptions", "Mixup", "MixupOptions"]

TASKS: Sequence[Task] = ("classification", "multi_label", "regression")
"""Tasks whose label says something of a sample as a whole."""
TEACHERS = ("distillation", "lwf")
"""Methods whose teacher looks at the samples as they were before they were mixed."""


def probability_option() -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare how many batches are mixed."""
    return option(
        1.0,
        title="Share of batches",
        help="How many of the batches are mixed; the others are learned from as they are.",
        gt=0,
        le=1,
        advanced=True,
    )


class MixupOptions(Options):
    """Options of mixup."""

    alpha: float = option(
        0.2,
        title="Alpha",
        help="Each batch is mixed by a share drawn from Beta(alpha, alpha): 0.2 mostly leaves a sample what it is, "
        "1 makes all shares equally likely.",
        ge=0.01,
        le=100,
    )
    level: Literal["auto", "features"] = option(
        "auto",
        title="What is mixed",
        help="Auto mixes images as images and features of everything else (manifold mixup); features always mixes "
        "what the head takes.",
        advanced=True,
    )
    probability: float = probability_option()


class CutMixOptions(Options):
    """Options of CutMix."""

    alpha: float = option(
        1.0,
        title="Alpha",
        help="The area of the rectangle is a share drawn from Beta(alpha, alpha); at 1 all are equally likely.",
        ge=0.01,
        le=100,
    )
    mixup: float = option(
        0.0,
        title="Share of mixup",
        help="How many of the mixed batches are mixed as a whole (mixup) instead; 0.5 alternates at random, as timm "
        "does.",
        ge=0,
        lt=1,
    )
    mixup_alpha: float = option(
        0.8,
        title="Alpha of mixup",
        help="Alpha of the batches that are mixed as a whole.",
        ge=0.01,
        le=100,
        advanced=True,
    )
    probability: float = probability_option()


class Mixup(Method):
    """Mixup (Zhang et al. 2018, arXiv:1710.09412), of features as in manifold mixup (Verma et al. 2019).

    The loss is ``lambda * loss(label) + (1 - lambda) * loss(label of the other)``. Of the layers that manifold mixup
    (arXiv:1806.05236) draws from, features are mixed behind the last, which also works where they are kept.
    """

    name = "mixup"
    title = "Mixed samples (mixup)"
    description = (
        "Learns from blends of two samples with both of their labels, so that the model is less sure of itself "
        "between classes and overfits less. Use it where samples are few and training is long enough."
    )
    kind = "regularisation"
    source = "Zhang et al. 2018, arXiv:1710.09412; Verma et al. 2019, arXiv:1806.05236"
    excludes = ("cutmix", *TEACHERS)
    changes_samples = True
    Options = MixupOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse labels that lie somewhere in a sample, and features that are not one vector; see `Method`."""
        found = _against_mixing(self.title, setting)
        images = setting.modality == "image" and options_as(MixupOptions, options).level == "auto"
        one_vector = setting.head.requires in ("pooled", "parts") and not setting.head.reads_inputs
        if setting.task in TASKS and not (images or one_vector):
            what = f"The head '{setting.head.name}' does not take one vector of features a sample, which is mixed."
            found.append(Problem("", what, "Choose another head."))
        return found

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Mix with shares from a Beta distribution."""
        from tlstudio_methods.mixing_module import MixingModule, mixup

        chosen = options_as(MixupOptions, options)
        return MixingModule(
            context,
            mix=mixup(chosen.alpha),
            probability=chosen.probability,
            images="if there are any" if chosen.level == "auto" else "never",
        )


class CutMix(Method):
    """CutMix (Yun et al. 2019, arXiv:1905.04899), alternating with mixup where asked for."""

    name = "cutmix"
    title = "Pasted rectangles (CutMix)"
    description = (
        "Replaces a rectangle of each image by that of another one, and shares the label by area: the model learns to "
        "look at more than the most telling part. Use it for images of things, with enough epochs."
    )
    kind = "regularisation"
    source = "Yun et al. 2019, arXiv:1905.04899"
    excludes = ("mixup", *TEACHERS)
    changes_samples = True
    needs_backbone = True
    Options = CutMixOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse what is no image, and labels that lie somewhere in it; see `Method`."""
        found = _against_mixing(self.title, setting)
        if setting.modality != "image":
            what = f"{self.title} needs images."
            found.append(Problem("", what, "Choose mixup, which mixes features of anything."))
        return found

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Paste rectangles whose areas come from a Beta distribution."""
        from tlstudio_methods.mixing_module import MixingModule, cutmix, mixup

        chosen = options_as(CutMixOptions, options)
        return MixingModule(
            context,
            mix=cutmix(chosen.alpha),
            probability=chosen.probability,
            images="always",
            instead=mixup(chosen.mixup_alpha),
            switch=chosen.mixup,
        )


def _against_mixing(title: str, setting: Setting) -> list[Problem]:
    """Say why there is nothing to be mixed."""
    found = []
    if setting.task not in TASKS:
        what = f"{title} is for labels of a sample as a whole: classes, several labels or a number."
        found.append(Problem("", what, "Take it out."))
    if setting.batch_size < 2:
        what = f"{title} mixes samples of one batch, and there is one in each."
        found.append(Problem("probability", what, "Set training.batch_size to 2 or more."))
    return found
