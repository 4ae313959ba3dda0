"""Heads that mark parts of a text: targets, losses and metrics agree with independent computations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from seqeval.metrics.sequence_labeling import f1_score, precision_score, recall_score
from torchmetrics.text import SQuAD

from tlstudio.api import DataError, Features, FeatureShape, Label, Prediction, Sample, Span, TargetInfo
from tlstudio.api.nn import HeadModule
from tlstudio_heads.span_heads import QuestionAnswering, TokenClassification
from tlstudio_heads.span_metrics import AnswerMetrics, SpanMetrics

CLASSES = ("LOC", "PER")
WORDS = ["Anna", "Maria", "went", "to", "New", "York", "in", "May"]


def token_head() -> HeadModule:
    target = TargetInfo("token_classification", CLASSES, (1, 1))
    return TokenClassification().build(FeatureShape(4), target, TokenClassification.Options())


def answer_head(longest: int = 30) -> HeadModule:
    options = QuestionAnswering.Options.model_validate({"longest": longest})
    return QuestionAnswering().build(FeatureShape(4), TargetInfo("question_answering", ("answer",), (1,)), options)


def offsets(words: Sequence[str] = WORDS) -> list[tuple[int, int]]:
    """A mark, the words as they stand with one space between, and a mark."""
    places, start = [], 0
    for word in words:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return [(0, 0), *places, (0, 0)]


def inputs(rows: Sequence[Sequence[tuple[int, int]]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    return {"offsets": torch.tensor([[*row, *[(0, 0)] * (longest - len(row))] for row in rows])}


def certain(tags: torch.Tensor, count: int) -> torch.Tensor:
    """Outputs by which each token has its tag beyond doubt."""
    return torch.nn.functional.one_hot(tags.clamp(min=0), count).float() * 30


def test_each_token_of_a_span_gets_its_tag_and_marks_get_none() -> None:
    label = (Span("PER", 0, 10), Span("LOC", 19, 27))
    tags = token_head().encoder()([label, ()], [{"offsets": offsets()}, {"offsets": offsets(["no"])}])
    assert tags.tolist() == [[-100, 3, 4, 0, 0, 1, 2, 0, 0, -100], [-100, 0, -100, *[-100] * 7]]


def test_what_was_encoded_is_decoded_to_the_same_spans() -> None:
    label = (Span("PER", 0, 4), Span("PER", 5, 10), Span("LOC", 19, 27))
    items = [{"offsets": offsets()}]
    head = token_head()
    tags = head.encoder()([label], items)
    prediction = head.decode(certain(tags, 5), inputs([offsets()]))[0]
    assert prediction.value == label
    assert prediction.confidence == pytest.approx(1.0)


def test_a_span_that_cuts_a_token_is_learned_as_the_whole_token() -> None:
    tags = token_head().encoder()([(Span("LOC", 20, 22),)], [{"offsets": offsets()}])
    assert tags[0].tolist()[5] == 1


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (19, 27, ""),
        (18, 27, ""),  # the blank before a word is no part of another one
        (20, 27, '"ew York" (LOC) begins or ends inside the token "New", which is learned as a whole.'),
        (19, 25, '"New Yo" (LOC) begins or ends inside the token "York", which is learned as a whole.'),
    ],
)
def test_a_span_that_splits_a_token_is_told_with_its_words(start: int, end: int, said: str) -> None:
    sample = Sample("1", text=" ".join(WORDS), label=(Span("LOC", start, end),))
    item = {"offsets": [(0, 0), *((max(0, first - 1), last) for first, last in offsets()[1:-1]), (0, 0)]}
    for head in (token_head(), answer_head()):
        assert head.encoder().misfit(sample, lambda _: item) == said


def test_an_answer_in_what_is_left_out_of_its_text_is_told() -> None:
    sample = Sample("1", text=" ".join(WORDS), pair="When?", label=(Span("answer", 31, 34),))
    said = answer_head().encoder().misfit(sample, lambda _: {"offsets": offsets()[:6]})
    assert said.startswith('the answer "May" lies in the part of its text that is left out')


def test_a_text_without_marked_parts_need_not_be_prepared_to_be_looked_at() -> None:
    for head in (token_head(), answer_head()):
        assert head.encoder().misfit(Sample("1", text="a", label=()), lambda _: pytest.fail("prepared")) == ""


def test_the_loss_of_a_text_is_the_mean_over_its_own_tokens() -> None:
    torch.manual_seed(0)
    output = torch.randn(1, 4, 5, dtype=torch.float64)
    target = torch.tensor([[-100, 0, 3, -100]])
    logits = output[0].numpy()
    terms = [math.log(np.exp(logits[n]).sum()) - logits[n, tag] for n, tag in ((1, 0), (2, 3))]
    assert token_head().loss(output, target).item() == pytest.approx(sum(terms) / 2, abs=1e-6)


def random_tags(rng: np.random.Generator) -> list[str]:
    """Tags of the scheme IOB2."""
    tags: list[str] = []
    for _ in range(rng.integers(1, 12)):
        name = rng.choice(["A", "B", "C"])
        tags += [f"B-{name}", *[f"I-{name}"] * int(rng.integers(0, 3))] if rng.random() < 0.5 else ["O"]
    return tags


def spans_of(tags: Sequence[str]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for place, tag in enumerate(tags):
        if tag[0] == "B":
            spans.append(Span(tag[2:], place, place + 1))
        elif tag[0] == "I":
            spans[-1] = Span(spans[-1].name, spans[-1].start, place + 1)
    return tuple(spans)


@pytest.mark.filterwarnings("ignore::Warning")  # seqeval's own, where something is undefined
def test_metrics_of_spans_are_those_of_seqeval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        truth = [random_tags(rng) for _ in range(6)]
        found = []
        for tags in truth:
            other = random_tags(rng) if rng.random() < 0.5 else list(tags)
            found.append([*other[: len(tags)], *["O"] * (len(tags) - len(other))])
        metrics = SpanMetrics()
        metrics.update(
            [Prediction(spans_of(tags)) for tags in found],
            [Sample(str(n), text="x", label=spans_of(tags)) for n, tags in enumerate(truth)],
        )
        values = metrics.compute()
        wanted = {
            "f1_micro": f1_score(truth, found),
            "f1_macro": f1_score(truth, found, average="macro"),
            "precision_micro": precision_score(truth, found),
            "recall_micro": recall_score(truth, found),
        }
        assert values == pytest.approx(wanted, abs=1e-6)


def random_text(rng: np.random.Generator) -> str:
    words = ["The", "an", "cat", "Cat's", "mat", "a", "u.s.", "red,", "(red)", "it", "is", "-"]
    return " ".join(rng.choice(words, rng.integers(1, 8)))


def test_metrics_of_answers_are_those_of_squad() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        mine, reference = AnswerMetrics(), SQuAD()
        predictions: list[dict[str, str]] = []
        targets: list[dict[str, Any]] = []
        for number in range(8):
            text = random_text(rng)
            spans = [
                Span("answer", int(start), int(rng.integers(start + 1, len(text) + 1)))
                for start in rng.integers(0, len(text), rng.integers(2, 5))
            ]
            given, *right = spans
            mine.update([Prediction((given,))], [Sample("x", text=text, label=tuple(right))])
            name = str(number)
            predictions.append({"id": name, "prediction_text": text[given.start : given.end]})
            answers = {"answer_start": [0] * len(right), "text": [text[span.start : span.end] for span in right]}
            targets.append({"id": name, "answers": answers})
        reference.update(predictions, targets)
        wanted = {name: float(value) / 100 for name, value in reference.compute().items()}
        assert mine.compute() == pytest.approx(wanted, abs=1e-6)


def test_where_there_is_no_answer_only_none_is_right() -> None:
    metrics = AnswerMetrics()
    asked: Sequence[Label] = [(), (), (Span("answer", 0, 3),)]
    said: Sequence[Label] = [(), (Span("answer", 0, 3),), ()]
    metrics.update([Prediction(value) for value in said], [Sample("x", text="cat sat", label=label) for label in asked])
    assert metrics.compute() == pytest.approx({"exact_match": 1 / 3, "f1": 1 / 3})


def test_the_likeliest_allowed_pair_of_tokens_is_the_answer() -> None:
    torch.manual_seed(0)
    places = offsets()
    for longest in (1, 2, 30):
        head = answer_head(longest)
        output = torch.randn(6, len(places), 2) * 3
        predictions = head.decode(output, inputs([places] * 6))
        for row, prediction in zip(output.double().numpy(), predictions, strict=True):
            text = range(1, len(places) - 1)
            allowed = [(0, 0), *((i, j) for i in text for j in text if i <= j < i + longest)]
            first, last = max(allowed, key=lambda pair: row[pair[0], 0] + row[pair[1], 1])
            expected = (Span("answer", places[first][0], places[last][1]),) if last else ()
            assert prediction.value == expected


def test_an_answer_that_was_cut_off_is_learned_as_none() -> None:
    encoder = answer_head().encoder()
    label = (Span("answer", 19, 27),)
    assert encoder(
        [label, label, ()], [{"offsets": offsets()}, {"offsets": offsets()[:6]}, {"offsets": offsets()}]
    ).tolist() == [
        [5, 6],
        [0, 0],
        [0, 0],
    ]


def test_padding_is_never_an_answer() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, False]])
    output = answer_head()(Features(tokens=torch.randn(1, 3, 4), mask=mask))
    assert output[0, 2].max().item() < -1000


@pytest.mark.parametrize(("label", "words"), [(None, "no marked parts"), ("x", "no list of spans"), (1.0, "no list")])
def test_labels_of_another_kind_are_told(label: Label, words: str) -> None:
    with pytest.raises(DataError, match=words):
        token_head().encoder()([label], [{"offsets": offsets()}])


def test_a_tokenizer_that_does_not_tell_places_is_named_as_the_reason() -> None:
    with pytest.raises(DataError, match="does not tell where in the text its tokens are"):
        answer_head().encoder()([()], [{"input_ids": [1, 2]}])
