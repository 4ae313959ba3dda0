"""SetFit: pairs of the few labelled samples teach the backbone what is alike, then a logistic regression is fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from tlstudio_strategies.common import fine_tuning_options
from tlstudio_strategies.fitted import fitted_names, hidden_layer_problems, why_not_linear

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["SetFit", "SetFitOptions"]


class SetFitOptions(Options):
    """Options of SetFit."""

    C: float = option(
        1.0,
        title="Inverse regularisation (C)",
        help="Of the logistic regression: smaller keeps its weights smaller.",
        gt=0,
        le=1e9,
    )
    layer_decay: float = option(
        1.0,
        title="Layer-wise decay",
        help="Each layer group learns this much more slowly than the one above it; 1 is off.",
        gt=0,
        le=1,
        advanced=True,
    )


class Pairs(Method):
    """The loss of SetFit, and the regression that ends each epoch."""

    name = "setfit"
    title = "SetFit"
    description = "Draws features of one class together and those of two apart."
    kind = "few labels"
    source = "Tunstall et al. 2022, arXiv:2209.11055"
    # Of samples that are mixed or have no label, there are no pairs; and the head is fitted to the last weights, not to
    # their mean.
    excludes = ("mixup", "cutmix", "fixmatch", "pseudo_labels", "ema", "swa")
    needs_backbone = True
    Options = SetFitOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse a hidden layer, and batches without a pair; see `Method`."""
        found = hidden_layer_problems(self.title, setting)
        if setting.batch_size < 2:
            found.append(Problem("", "A batch of one sample has no pairs.", "Set training.batch_size to 2 or more."))
        return found

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the loss."""
        from tlstudio_strategies.setfit_module import PairsModule

        return PairsModule(context, strength=options_as(SetFitOptions, options).C)


class SetFit(FineTuningStrategy):
    """Few-shot learning without prompts (Tunstall et al. 2022, arXiv:2209.11055), for any pooled backbone."""

    name = "setfit"
    title = "SetFit (pairs of few samples)"
    description = (
        "Made for a handful of labelled texts a class: the backbone learns from pairs which samples are alike, of "
        "which there are many more than samples, and a logistic regression on its features tells the classes. "
        "At its best with a backbone for sentences; works for images too."
    )
    source = Pairs.source
    Options = SetFitOptions

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse heads that are no regression on pooled features; see `FineTuningStrategy`."""
        return why_not_linear(head)

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend about 60 steps, each of which looks at the 120 pairs of a batch of 16; see `FineTuningStrategy`.

        The paper makes more steps, with fewer pairs in each, at 2e-5.
        """
        values = fine_tuning_options(situation, learning_rate=1e-4)
        steps = math.ceil(max(1, situation.num_train) / 16)
        return {**values, "batch_size": 16, "epochs": min(20, max(2, round(60 / steps))), "keep": "last"}

    def method(self, options: api.Options) -> tuple[Method, api.Options]:
        """Give the loss on pairs; see `FineTuningStrategy`."""
        return Pairs(), options

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Let the backbone learn; the head is fitted."""
        model.backbone.requires_grad_(True)
        model.head.requires_grad_(False)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return one group for each layer group of the backbone."""
        from tlstudio.api.nn import grouped_parameters

        decay, groups = options_as(SetFitOptions, options).layer_decay, model.layer_groups()
        named = [
            (group.name, group.parameters(), learning_rate * decay**depth)
            for depth, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True)
        ]
        return grouped_parameters(named, weight_decay=weight_decay)

    def updates(self, model: TransferModel, options: api.Options) -> set[str]:
        """Return what learns, and the head."""
        from tlstudio.api.nn import learning_names

        return learning_names(model) | fitted_names(model)
