"""Recommendation as torch modules. Imported only when a head is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import Features, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, TargetEncoder
from tlstudio_heads.encoders import ValueEncoder
from tlstudio_heads.modules import Centre

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["ChoiceModule", "RatingModule", "UserEncoder"]


class UserEncoder(TargetEncoder):
    """Gives a standardised value, and as context the number of the user.

    Args:
        users: The users that are known; their numbers begin with 1, and 0 is anybody else.
        mean: See `ValueEncoder`.
        std: See `ValueEncoder`.
    """

    def __init__(self, users: Sequence[str], mean: float, std: float) -> None:
        self._numbers = {name: number for number, name in enumerate(users, start=1)}
        self._values = ValueEncoder(mean, std)

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return standardised values ``[B]`` float32."""
        return self._values(labels, items)

    def context(self, samples: Sequence[Sample]) -> Tensor:
        """Return numbers of users ``[B]`` int64."""
        return torch.tensor([self._numbers.get(sample.user or "", 0) for sample in samples], dtype=torch.int64)


class _RecommendationModule(HeadModule):
    """A matrix factorisation in which the vector of an item is a linear map of its features.

    The score of user u for an item with the features x is ``b_u + w x + p_u (V x)``, as in Koren, Bell and Volinsky
    2009 ("Matrix factorization techniques for recommender systems") with content in the place of learned items: an
    item that nobody has rated has a vector like any other. To an unknown user the mean of all users stands in, which
    gives what most people like.

    Args:
        num_features: Width D of the features.
        target: The users, and mean and standard deviation of the training values.
        factors: Width of the vectors of users and items.
        dropout: Share of the features that is dropped while training.
    """

    def __init__(self, num_features: int, target: TargetInfo, *, factors: int, dropout: float) -> None:
        super().__init__()
        self.target = target
        self.centre = Centre(num_features)
        self.dropout = nn.Dropout(dropout)
        self.item_vector = nn.Linear(num_features, factors)
        self.item_bias = nn.Linear(num_features, 1)
        self.user_vector = nn.Embedding(len(target.users), factors)
        self.user_bias = nn.Embedding(len(target.users), 1)
        # At the start all scores are nearly alike, and no factor is dead: a product of two zeros would learn nothing.
        nn.init.normal_(self.user_vector.weight, std=0.1)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.trunc_normal_(self.item_bias.weight, std=0.01)
        nn.init.zeros_(self.item_bias.bias)

    def forward(self, features: Features) -> Tensor:
        """Compute scores and the numbers of the users, ``[B, 2]`` float32, from pooled features ``[B, D]``."""
        if features.context is None:
            raise ValueError("the head was not told which users the samples are of")
        users = features.context
        x = self.dropout(self.centre(features.require("pooled")))
        known, rows = (users > 0).unsqueeze(1), (users - 1).clamp(min=0)
        vector = torch.where(known, self.user_vector(rows), self.user_vector.weight.mean(dim=0))
        bias = torch.where(known, self.user_bias(rows), self.user_bias.weight.mean(dim=0))
        score = (vector * self.item_vector(x)).sum(dim=1, keepdim=True) + bias + self.item_bias(x)
        return torch.cat([score.float(), users.unsqueeze(1).float()], dim=1)


class RatingModule(_RecommendationModule):
    """Learns ratings, in standard deviations from their mean, by squared error; arguments as of its base."""

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("rmse", "min")

    def encoder(self) -> TargetEncoder:
        """Return what gives standardised ratings ``[B]`` float32, and the users."""
        return UserEncoder(self.target.users, self.target.mean, self.target.std)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error ``[B]`` of standardised ratings."""
        return (output[:, 0] - target).square()

    def metrics(self) -> MetricCollection:
        """Return mae, rmse, spearman and, over the ratings of each user, ndcg_at_10."""
        from tlstudio_heads.recommendation_metrics import rating_metrics

        return rating_metrics(self.target.mean, self.target.std)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return ratings."""
        values = output[:, 0].double() * self.target.std + self.target.mean
        return [Prediction(float(value)) for value in values.tolist()]


class ChoiceModule(_RecommendationModule):
    """Learns what was chosen (1) among what was not (0) by logistic loss; arguments as of its base."""

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("roc_auc", "max")

    def encoder(self) -> TargetEncoder:
        """Return what gives 0 and 1 ``[B]`` float32, and the users."""
        return UserEncoder(self.target.users, 0.0, 1.0)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Logistic loss ``[B]``."""
        return F.binary_cross_entropy_with_logits(output[:, 0], target, reduction="none")

    def metrics(self) -> MetricCollection:
        """Return roc_auc, average_precision and, over the items of each user, ndcg_at_10."""
        from tlstudio_heads.recommendation_metrics import choice_metrics

        return choice_metrics()

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the probability of each choice, among what was drawn as not chosen."""
        return [Prediction(float(value)) for value in output[:, 0].double().sigmoid().tolist()]
