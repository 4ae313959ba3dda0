"""FixMatch: unlabelled samples teach by what the model is sure of, seen through strong augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import DataStream, Method, Options, Problem, Setting, View, option, options_as
from tlstudio_methods.unlabelled import STREAM, WEAK, class_problems, dataset_option, ratio_option, unlabelled_rows

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["FixMatch", "FixMatchOptions"]


class FixMatchOptions(Options):
    """Options of FixMatch."""

    dataset: str = dataset_option()
    threshold: float = option(
        0.95,
        title="Threshold",
        help="A prediction on an unlabelled sample becomes its label where its probability is at least this.",
        gt=0,
        lt=1,
    )
    strength: float = option(
        1.0, title="Lambda", help="Weight of the unlabelled samples' loss beside that of the labelled.", ge=0, le=100
    )
    ratio: float = ratio_option(7.0)
    strong: Literal["strong", "randaugment", "trivialaugment"] = option(
        "strong",
        title="Strong variation",
        help="How the samples are varied for which the label is learned; the two policies are for images alone.",
        advanced=True,
    )


class FixMatch(Method):
    """Consistency and confidence (Sohn et al. 2020, arXiv:2001.07685)."""

    name = "fixmatch"
    title = "FixMatch"
    description = (
        "Learns from unlabelled samples too: what the model predicts with confidence for a lightly varied sample "
        "becomes the label of the same sample strongly varied. For few labels and many unlabelled samples, best "
        "under a strategy that lets the backbone learn; each step costs several times as much."
    )
    kind = "few labels"
    source = "Sohn et al. 2020, arXiv:2001.07685"
    excludes = ("pseudo_labels",)
    Options = FixMatchOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse tasks without classes; see `Method`."""
        return class_problems(self.title, setting)

    def streams(self, options: api.Options) -> Sequence[DataStream]:
        """Ask for unlabelled samples, lightly and strongly varied; see `Method`."""
        chosen = options_as(FixMatchOptions, options)
        views = {"strong": View(chosen.strong), WEAK: View("light")}
        rows = unlabelled_rows(chosen.dataset)
        return [DataStream(STREAM, chosen.dataset, rows=rows, views=views, ratio=chosen.ratio, together=True)]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the loss of the unlabelled samples."""
        from tlstudio_methods.unlabelled_module import PseudoLabelModule

        chosen = options_as(FixMatchOptions, options)
        return PseudoLabelModule(context, threshold=chosen.threshold, strength=chosen.strength)
