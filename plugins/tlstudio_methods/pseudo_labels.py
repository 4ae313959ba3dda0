"""Pseudo-labels: the model's own predictions on unlabelled samples are learned like labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataStream, Method, Options, Problem, Setting, View, option, options_as
from tlstudio_methods.unlabelled import STREAM, class_problems, dataset_option, ratio_option, unlabelled_rows

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["PseudoLabels", "PseudoLabelsOptions"]


class PseudoLabelsOptions(Options):
    """Options of pseudo-labels."""

    dataset: str = dataset_option()
    strength: float = option(
        3.0,
        title="Lambda",
        help="Weight of the unlabelled samples' loss beside that of the labelled, once it has risen.",
        ge=0,
        le=100,
    )
    rises_from: float = option(
        0.1, title="Rises from", help="Share of the run after which the weight begins to rise from 0.", ge=0, le=1
    )
    rises_to: float = option(0.6, title="Rises to", help="Share of the run after which it is whole.", ge=0, le=1)
    threshold: float = option(
        0.0,
        title="Threshold",
        help="A prediction becomes a label where its probability is at least this; 0 takes every prediction.",
        ge=0,
        lt=1,
        advanced=True,
    )
    ratio: float = ratio_option(1.0)


class PseudoLabels(Method):
    """The simple way to learn from unlabelled samples (Lee 2013, ICML workshop on representation learning).

    The weight rises from 0 to 3 between two points of the run, as alpha(t) there between epochs 100 and 600.
    """

    name = "pseudo_labels"
    title = "Pseudo-labels"
    description = (
        "Takes the class that the model finds likeliest for an unlabelled sample as its label, and lets such samples "
        "count more and more. Works for every kind of data, as it needs no augmentation; FixMatch is usually better "
        "for images. Also called self-training."
    )
    kind = "few labels"
    source = "Lee 2013, Pseudo-Label, ICML Workshop on Challenges in Representation Learning"
    Options = PseudoLabelsOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse tasks without classes, and a weight that is whole before it rises; see `Method`."""
        chosen = options_as(PseudoLabelsOptions, options)
        found = list(class_problems(self.title, setting))
        if chosen.rises_to < chosen.rises_from:
            what = f"The weight is whole at {chosen.rises_to:g} of the run, before it rises from {chosen.rises_from:g}."
            found.append(Problem("rises_to", what, "Set rises_to to at least rises_from."))
        return found

    def streams(self, options: api.Options) -> Sequence[DataStream]:
        """Ask for unlabelled samples, varied as those of the run are; see `Method`."""
        chosen = options_as(PseudoLabelsOptions, options)
        rows = unlabelled_rows(chosen.dataset)
        views = {"": View("as the run")}
        return [DataStream(STREAM, chosen.dataset, rows=rows, views=views, ratio=chosen.ratio, together=True)]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the loss of the unlabelled samples."""
        from tlstudio_methods.unlabelled_module import PseudoLabelModule

        chosen = options_as(PseudoLabelsOptions, options)
        return PseudoLabelModule(
            context,
            threshold=chosen.threshold,
            strength=chosen.strength,
            rises=(chosen.rises_from, chosen.rises_to),
        )
