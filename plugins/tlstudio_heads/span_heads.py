"""Heads that mark parts of a text, on token features. Light: torch is imported when a head is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, dropout_option, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["QuestionAnswering", "TokenClassification"]


class TokenOptions(Options):
    """Options of heads that look at each token by itself."""

    dropout: float = dropout_option(0.1)


class AnswerOptions(TokenOptions):
    """Options of the question answering head."""

    longest: int = option(
        30,
        title="Longest answer",
        help="An answer has at most this many tokens; a word has one to three.",
        ge=1,
        le=512,
    )


class TokenClassification(TaskHead):
    """Marks words: names, places, substances. Each token is inside a span of a class, begins one, or is outside."""

    name = "token_classification"
    title = "Token classification"
    description = "Marks parts of a text, such as names, places or substances, each with its class."
    source = "Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040; Devlin et al. 2019, arXiv:1810.04805"
    task: Task = "token_classification"
    requires: FeatureKind = "tokens"
    Options = TokenOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.span_modules import TokenModule

        chosen = as_options(TokenOptions, options)
        must_be(self, target)
        if not target.classes:
            raise DataError(
                "No part of any text is marked, so there is nothing to learn.",
                "Choose the column that holds the marked parts.",
                field="dataset",
            )
        return TokenModule(features.num_features, target, dropout=chosen.dropout)


class QuestionAnswering(TaskHead):
    """Finds the part of a text that answers a question, or that none does."""

    name = "question_answering"
    title = "Question answering"
    description = "Finds the part of a text that answers a question about it, and says when there is none."
    source = "Devlin et al. 2019, arXiv:1810.04805; Rajpurkar et al. 2018, arXiv:1806.03822"
    task: Task = "question_answering"
    requires: FeatureKind = "tokens"
    Options = AnswerOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.span_modules import AnswerModule

        chosen = as_options(AnswerOptions, options)
        must_be(self, target)
        return AnswerModule(features.num_features, target, dropout=chosen.dropout, longest=chosen.longest)
