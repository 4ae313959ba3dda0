"""Nearest mean: each class is the mean of its samples' features, and nothing learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tlstudio import api
from tlstudio.api import (
    BackboneInfo,
    FineTuningStrategy,
    Method,
    Options,
    Problem,
    Setting,
    Situation,
    TaskHead,
    option,
    options_as,
)
from tlstudio_strategies.fitted import fitted_names, hidden_layer_problems, why_not_linear

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["NearestMean", "NearestMeanOptions"]


class NearestMeanOptions(Options):
    """Options of nearest mean."""

    distance: Literal["euclidean", "cosine"] = option(
        "euclidean",
        title="Distance",
        help="Euclidean, or by the angle between features: the usual one for embeddings of sentences.",
    )
    temperature: float = option(
        0.0,
        title="Temperature",
        help=(
            "Distances are divided by it before they become probabilities; it changes how sure the model is, not what "
            "it predicts. 0 chooses the one under which training samples that are left out are likeliest."
        ),
        ge=0,
        le=1e6,
        advanced=True,
    )


class Means(Method):
    """Sets the head from the means before the first step."""

    name = "nearest_mean"
    title = "Nearest mean"
    description = "Makes each class the mean of its samples' features."
    kind = "few labels"
    source = "Mensink et al. 2013, doi:10.1109/TPAMI.2013.83; Snell et al. 2017, arXiv:1703.05175"
    Options = NearestMeanOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse a hidden layer, and methods that would have nothing to do; see `Method`."""
        found = hidden_layer_problems(self.title, setting)
        if others := [name for name in setting.methods if name != self.name]:
            what = f"Nothing learns in {self.title}, so that nothing can come of {', '.join(others)}."
            found.append(Problem("", what, "Take the methods out, or choose another strategy."))
        return found

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build what computes the means."""
        from tlstudio_strategies.nearest_mean_module import MeansModule

        chosen = options_as(NearestMeanOptions, options)
        return MeansModule(context, cosine=chosen.distance == "cosine", temperature=chosen.temperature)


class NearestMean(FineTuningStrategy):
    """The nearest class mean (Mensink et al. 2013), on the features of a frozen backbone (as Snell et al. 2017).

    Written as a linear layer: the squared distance of x to the mean m is ``|x|^2 - 2 m x + |m|^2``, of which the first
    term is the same for all classes. So its weights are ``2 m / T`` and its biases ``-|m|^2 / T``.
    """

    name = "nearest_mean"
    title = "Nearest mean (prototypes)"
    description = (
        "Leaves everything as it is and calls a sample after the class whose mean features are nearest. Done in "
        "seconds, with nothing to set: the first thing to try with a handful of samples a class. As in "
        "prototypical networks."
    )
    source = Means.source
    Options = NearestMeanOptions

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse heads that are no linear classification; see `FineTuningStrategy`."""
        return why_not_linear(head)

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend one epoch: there is nothing to repeat; see `FineTuningStrategy`."""
        return {"epochs": 1, "batch_size": 64, "keep": "last", "augmentation": "none"}

    def caches_features(self, options: api.Options) -> bool:
        """Features are computed once."""
        return True

    def method(self, options: api.Options) -> tuple[Method, api.Options]:
        """Give what computes the means; see `FineTuningStrategy`."""
        return Means(), options

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Freeze everything."""
        model.requires_grad_(False)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return nothing: nothing learns."""
        return []

    def updates(self, model: TransferModel, options: api.Options) -> set[str]:
        """Return the head."""
        return fitted_names(model)
