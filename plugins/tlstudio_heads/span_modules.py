"""The heads on tokens as torch modules. Imported only when a head is built.

A text backbone's preprocessor gives ``offsets`` with each sample: the first character of each token and the one behind
its last, ``(0, 0)`` for tokens that are not part of the sample's own text (marks, padding, a question).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import DataError, Features, Label, Prediction, Sample, Span, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, LabelMetrics, TargetEncoder

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["AnswerEncoder", "AnswerModule", "TokenEncoder", "TokenModule"]

IGNORED = -100
"""Target of tokens that are not part of the text."""

NEVER = -1e4
"""An output that no probability is left of, in half precision too."""

_SHOWN = 60
"""Characters of a text in a message."""


class TokenHead(HeadModule):
    """Dropout and a linear layer on each token.

    Args:
        num_features: Width D of the features.
        num_outputs: Number K of outputs.
        target: What is learned.
        dropout: Share of the features that is dropped while training.
    """

    decodes_in_place: ClassVar[bool] = True

    def __init__(self, num_features: int, num_outputs: int, target: TargetInfo, *, dropout: float) -> None:
        super().__init__()
        self.target = target
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(num_features, num_outputs)
        nn.init.trunc_normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Features) -> Tensor:
        """Compute raw outputs ``[B, T, K]`` from token features ``[B, T, D]``."""
        output: Tensor = self.output(self.dropout(features.require("tokens")))
        return output

    def metrics(self) -> MetricCollection:
        """Return none: what counts are spans."""
        from torchmetrics import MetricCollection

        return MetricCollection({})


class TokenModule(TokenHead):
    """Marks spans by the scheme IOB2: for each class a first and a further token, and one for all else.

    Args:
        num_features: Width D of the features.
        target: The classes, C of them; there are 1 + 2C outputs.
        dropout: See `TokenHead`.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("f1_micro", "max")

    def __init__(self, num_features: int, target: TargetInfo, *, dropout: float) -> None:
        super().__init__(num_features, 1 + 2 * len(target.classes), target, dropout=dropout)

    def encoder(self) -> TargetEncoder:
        """Return what gives the tag of each token, ``[B, T]`` int64."""
        return TokenEncoder(self.target.classes)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy ``[B]``, the mean over the tokens of the text."""
        losses = F.cross_entropy(output.float().transpose(1, 2), target, reduction="none", ignore_index=IGNORED)
        return losses.sum(dim=1) / (target != IGNORED).sum(dim=1).clamp(min=1)

    def label_metrics(self) -> LabelMetrics:
        """Return precision, recall and F1 of whole spans."""
        from tlstudio_heads.span_metrics import SpanMetrics

        return SpanMetrics()

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the spans of each text.

        A token that goes on with a class that has not begun begins it, as conlleval takes it. The confidence of a
        prediction is that of its least certain token.
        """
        probabilities = output.float().softmax(dim=2)
        values, tags = probabilities.max(dim=2)
        rows = zip(tags.tolist(), values.tolist(), inputs["offsets"].tolist(), strict=True)
        return [self._prediction(*row) for row in rows]

    def _prediction(self, tags: list[int], values: list[float], offsets: list[list[int]]) -> Prediction:
        spans: list[Span] = []
        least = 1.0
        inside = 0  # the class of the span that is open, counted from 1
        for tag, value, (start, end) in zip(tags, values, offsets, strict=True):
            if end <= start:
                inside = 0
                continue
            least = min(least, value)
            kind, goes_on = (tag + 1) // 2, tag > 0 and tag % 2 == 0
            if kind and goes_on and inside == kind:
                spans[-1] = Span(spans[-1].name, spans[-1].start, end)
            elif kind:
                spans.append(Span(self.target.classes[kind - 1], start, end))
            inside = kind
        return Prediction(tuple(spans), certainty=least)


class TokenEncoder(TargetEncoder):
    """Gives the tag of each token: 0 outside; for the class at place c, 2c + 1 begins a span and 2c + 2 goes on.

    A token belongs to a span if any of its characters does: tokens are not cut.

    Args:
        classes: The names, in their order.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(classes)}

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, T]`` int64, `IGNORED` where a token is not part of the text."""
        offsets = [offsets_of(item) for item in items]
        tags = torch.full((len(labels), max(map(len, offsets))), IGNORED)
        for row, label, places in zip(tags, labels, offsets, strict=True):
            for number, (start, end) in enumerate(places):
                if end > start:
                    row[number] = 0
            for span in spans_of(label):
                inside = tokens_of(span, places)
                if span.name not in self._index:
                    raise DataError(f"The name {span.name!r} is none of the classes that the model learns.")
                for number in inside:
                    row[number] = 2 * self._index[span.name] + 1 + (number > inside[0])
        return tags

    def misfit(self, sample: Sample, prepare: Callable[[Sample], Mapping[str, Any]]) -> str:
        """Say which marked part splits a token."""
        spans = spans_of(sample.label)
        places = offsets_of(prepare(sample)) if spans else []
        return next(filter(None, (split_token(sample.text or "", span, places) for span in spans)), "")


class AnswerModule(TokenHead):
    """Two outputs a token: whether the answer begins with it, and whether it ends with it.

    After Devlin et al. 2019 (arXiv:1810.04805), section 4.3: the first token of all stands for "there is no answer".

    Args:
        num_features: Width D of the features.
        target: What is learned.
        dropout: See `TokenHead`.
        longest: Most tokens of an answer.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("f1", "max")

    def __init__(self, num_features: int, target: TargetInfo, *, dropout: float, longest: int) -> None:
        super().__init__(num_features, 2, target, dropout=dropout)
        self.longest = longest

    def forward(self, features: Features) -> Tensor:
        """Compute raw outputs ``[B, T, 2]``; padding is never an answer."""
        output = super().forward(features)
        return output if features.mask is None else output.masked_fill(~features.mask.unsqueeze(2), NEVER)

    def encoder(self) -> TargetEncoder:
        """Return what gives the first and the last token of the answer, ``[B, 2]`` int64."""
        return AnswerEncoder()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy ``[B]`` over the tokens, the mean of first and last."""
        starts, ends = (F.cross_entropy(output[:, :, k].float(), target[:, k], reduction="none") for k in (0, 1))
        return (starts + ends) / 2

    def label_metrics(self) -> LabelMetrics:
        """Return exact match and F1 as SQuAD counts them."""
        from tlstudio_heads.span_metrics import AnswerMetrics

        return AnswerMetrics()

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the likeliest answer of each question, or no span where none is likelier.

        Its confidence is the probability of its first token times that of its last, by the softmax over all tokens.
        """
        offsets = inputs["offsets"]
        in_text = offsets[:, :, 1] > offsets[:, :, 0]
        in_text[:, 0] = True
        scores = output.float().masked_fill(~in_text.unsqueeze(2), float("-inf")).log_softmax(dim=1)
        predictions = []
        for starts, ends, places in zip(scores[:, :, 0], scores[:, :, 1], offsets.tolist(), strict=True):
            pairs = starts.unsqueeze(1) + ends.unsqueeze(0)
            allowed = torch.ones_like(pairs, dtype=torch.bool).triu().tril(self.longest - 1)
            says_none = places[0][1] <= places[0][0]  # a mark before the text, which some tokenizers lack
            if says_none:
                allowed[0, 1:] = False
            best = pairs.masked_fill(~allowed, float("-inf")).argmax()
            first, last = divmod(int(best), len(ends))
            answer = () if says_none and not last else (Span("answer", places[first][0], places[last][1]),)
            predictions.append(Prediction(answer, certainty=float(pairs[first, last].exp())))
        return predictions


class AnswerEncoder(TargetEncoder):
    """Gives the first and the last token of the first answer; ``(0, 0)`` where there is none or it was cut off."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return ``[B, 2]`` int64."""
        rows = []
        for label, item in zip(labels, items, strict=True):
            spans, places = spans_of(label), offsets_of(item)
            span = spans[0] if spans else Span("answer", 0, 0)
            inside = tokens_of(span, places)
            rows.append((inside[0], inside[-1]) if is_whole(span, inside, places) else (0, 0))
        return torch.tensor(rows, dtype=torch.int64)

    def misfit(self, sample: Sample, prepare: Callable[[Sample], Mapping[str, Any]]) -> str:
        """Say whether the first answer splits a token, or is cut off with the end of its text."""
        spans = spans_of(sample.label)[:1]
        for span in spans:
            places, text = offsets_of(prepare(sample)), sample.text or ""
            if not is_whole(span, tokens_of(span, places), places):
                said = "lies in the part of its text that is left out, and is learned as a question without an answer."
                return f"the answer {quoted(text[span.start : span.end])} {said}"
            return split_token(text, span, places)
        return ""


def offsets_of(item: Mapping[str, Any]) -> Sequence[Sequence[int]]:
    """Where the tokens of a prepared sample are in its text, ``[T, 2]``.

    Raises:
        DataError: The backbone's tokenizer does not tell.
    """
    if "offsets" not in item:
        raise DataError(
            "The tokenizer of this backbone does not tell where in the text its tokens are.",
            "Choose a backbone whose folder has a tokenizer.json.",
        )
    offsets: Sequence[Sequence[int]] = item["offsets"]
    return offsets


def tokens_of(span: Span, places: Sequence[Sequence[int]]) -> list[int]:
    """The numbers of the tokens that have characters of a span."""
    return [number for number, (start, end) in enumerate(places) if start < span.end and end > span.start]


def is_whole(span: Span, inside: Sequence[int], places: Sequence[Sequence[int]]) -> bool:
    """Whether the tokens of a span reach to its end, and the text was not cut there."""
    return bool(inside) and places[inside[-1]][1] >= span.end


def split_token(text: str, span: Span, places: Sequence[Sequence[int]]) -> str:
    """Say in a sentence that a span begins or ends inside a token; ``""`` where it does not.

    Blanks do not count: in many tokenizers, the one before a word belongs to its token.
    """
    for start, end in (places[number] for number in tokens_of(span, places)):
        if text[start : span.start].strip() or text[span.end : end].strip():
            part, token = quoted(text[span.start : span.end]), quoted(text[start:end].strip())
            return f"{part} ({span.name}) begins or ends inside the token {token}, which is learned as a whole."
    return ""


def quoted(words: str) -> str:
    """The words of a text in a message."""
    return f'"{words if len(words) <= _SHOWN else f"{words[: _SHOWN - 1]}…"}"'


def spans_of(label: Label) -> list[Span]:
    """The spans of a label.

    Raises:
        DataError: It is no list of spans.
    """
    spans = [part for part in label if isinstance(part, Span)] if isinstance(label, tuple) else []
    if not isinstance(label, tuple) or len(spans) < len(label):
        raise DataError(
            f"{label!r} is no list of spans." if label is not None else "A text has no marked parts.",
            "Import the data set as token classification or question answering, or choose another head.",
        )
    return spans
