"""What somebody will like: users against the features of items. Light: torch is imported when a head is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, dropout_option, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["Recommendation"]


class RecommendationOptions(Options):
    """Options of the recommendation head."""

    factors: int = option(
        32,
        title="Factors",
        help="How many traits of an item each user has a liking or dislike for. More can tell users apart more finely, "
        "and needs more ratings of each.",
        ge=1,
        le=4096,
    )
    dropout: float = dropout_option(0.1)


class Recommendation(TaskHead):
    """A vector for each user, and one for each item that comes from its features alone."""

    name = "recommendation"
    title = "Recommendation"
    description = (
        "Says how much each user will like an item, from what the item is: its text or its image. It so knows items "
        "that nobody has rated yet; to somebody whom it does not know it says what most people like."
    )
    source = "Koren et al. 2009, doi:10.1109/MC.2009.263; van den Oord et al. 2013, NeurIPS"
    task: Task = "recommendation"
    requires: FeatureKind = "pooled"
    Options = RecommendationOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.recommendation_modules import ChoiceModule, RatingModule

        chosen = as_options(RecommendationOptions, options)
        must_be(self, target)
        if not target.users:
            raise DataError(
                "Nobody has rated anything in the training data.",
                "Choose the column that says who has rated or chosen each item.",
                field="dataset",
            )
        if not (math.isfinite(target.mean) and math.isfinite(target.std) and target.std > 0):
            raise DataError(
                "All ratings are the same or not finite, so there is nothing to predict.",
                "Choose a column whose numbers differ.",
                field="dataset",
            )
        kind = ChoiceModule if target.binary else RatingModule
        return kind(features.num_features, target, factors=chosen.factors, dropout=chosen.dropout)
