"""Linear probe: the backbone stays as it is, and only the head learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import BackboneInfo, FineTuningStrategy, Options, Situation, TaskHead, option, options_as
from tlstudio_strategies.common import inverse_strength_option, needs_own_layer, ridge

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["LinearProbe", "LinearProbeOptions"]


class LinearProbeOptions(Options):
    """Options of the linear probe."""

    C: float = inverse_strength_option()
    cache_features: bool = option(
        True,
        title="Keep features",
        help="Computes the features of each sample once. Off allows augmentation but is slow: choose few epochs.",
        advanced=True,
    )


class LinearProbe(FineTuningStrategy):
    """Trains the head on the features of the frozen backbone.

    With the linear classification head this is the multinomial logistic regression of scikit-learn: the same
    objective (mean cross-entropy + ||W||^2 / (2 C n), no penalty on the bias), whose only minimum the loop approaches.
    """

    name = "linear_probe"
    title = "Linear probe"
    description = (
        "Leaves the backbone as it is and trains only the head on its features. Fast, hard to overfit; "
        "the right first try, and often the best one for up to a few hundred samples. Also called feature extraction."
    )
    source = "Alain and Bengio 2016, arXiv:1610.01644; scikit-learn, LogisticRegression"
    Options = LinearProbeOptions

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse heads on logits: the layer that makes these belongs to the backbone; see `FineTuningStrategy`."""
        return needs_own_layer(head)

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend settings under which the head comes close to the minimum; see `FineTuningStrategy`.

        About 3,000 steps bring the objective within 1e-4 of its minimum on features of real backbones (384 to 1,280
        wide, 300 to 10,000 samples); a step is cheap, as it passes the head alone.
        """
        batch_size = 64 if situation.num_train < 4_000 else 256
        steps = math.ceil(max(1, situation.num_train) / batch_size)
        return {
            "epochs": min(300, max(50, round(3_000 / steps))),
            "batch_size": batch_size,
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "warmup": 0.0,
            "weight_decay": 0.0,
            "keep": "last",  # the minimum is the aim; on a small split, the best epoch is partly luck
            "clip_norm": 0.0,
            "augmentation": "none",
        }

    def caches_features(self, options: api.Options) -> bool:
        """Whether features are computed once and kept."""
        return options_as(LinearProbeOptions, options).cache_features

    def keeps_backbone(self, options: api.Options) -> bool:
        """Always; see `FineTuningStrategy`."""
        return True

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Freeze the backbone."""
        model.backbone.requires_grad_(False)
        model.head.requires_grad_(True)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return the head as one group; `extra_loss` is the only pull on its weights unless decay is asked for."""
        from tlstudio.api.nn import grouped_parameters

        return grouped_parameters([("head", model.head.parameters(), learning_rate)], weight_decay=weight_decay)

    def extra_loss(self, model: TransferModel, options: api.Options, num_train: int) -> Tensor | None:
        """Return the penalty of scikit-learn's estimators; see `ridge`."""
        return ridge(model.head, options_as(LinearProbeOptions, options).C, num_train)
