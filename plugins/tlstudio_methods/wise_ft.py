"""WiSE-FT: keeps the model that fine-tuning began with, to be averaged with the one that it ended with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Problem, Setting

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["WiSEFT"]


class WiSEFT(Method):
    """Weight-space ensembles for fine-tuning (Wortsman et al. 2022, arXiv:2109.01903).

    The paper averages a zero-shot model, whose head is there before anything is trained, with the fine-tuned one. Where
    the head is new, the first model that solves the task is the one after the head has learned on the backbone as it
    was: that is kept. With a head that begins with random weights, there is no such model.
    """

    name = "wise_ft"
    title = "Keep the start for an average (WiSE-FT)"
    description = (
        "Keeps the model with which fine-tuning begins, so that its weights can be averaged with those of the end: "
        "when the run is done, the best mixture of both can be found. Often better on data that differ from those of "
        "training, at no cost when the model is used. It changes nothing while the run trains."
    )
    kind = "regularisation"
    source = "Wortsman et al. 2022, arXiv:2109.01903"
    keeps_start = True

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse runs that have no first model, or none that changes; see `Method`."""
        strategy = setting.strategy
        if strategy.keeps_backbone(setting.strategy_options):
            what = f"{strategy.title} leaves the backbone as it is: start and end are the same model."
            return [Problem("", what, "Choose the strategy LP-FT.")]
        if not (strategy.head_first or setting.head_taken_over):
            what = f"With {strategy.title}, the head begins with random weights: there is no first model to average."
            remedy = "Choose the strategy LP-FT, or start from an earlier run and take its head over (head.take_over)."
            return [Problem("", what, remedy)]
        return ()

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Do nothing at all while the run trains."""
        from tlstudio.api.method_modules import MethodModule

        return MethodModule(context)
