"""Metrics of spans and answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from tlstudio.api import Label, Prediction, Sample, Span
from tlstudio.api.nn import LabelMetrics

__all__ = ["AnswerMetrics", "SpanMetrics"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


class SpanMetrics(LabelMetrics):
    """Precision, recall and F1 of spans: one is right if its name and both its ends are, as in CoNLL-2003 and seqeval.

    ``f1_macro`` is the mean over the names that occur in labels or predictions; what is undefined counts as 0.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {
        "f1_micro": "max",
        "f1_macro": "max",
        "precision_micro": "max",
        "recall_micro": "max",
    }

    def __init__(self) -> None:
        self._hits, self._found, self._support = Counter[str](), Counter[str](), Counter[str]()

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in predicted spans and those of the samples."""
        for prediction, sample in zip(predictions, samples, strict=True):
            found, truth = _spans(prediction.value), _spans(sample.label)
            self._found.update(span.name for span in found)
            self._support.update(span.name for span in truth)
            self._hits.update(span.name for span in found & truth)

    def compute(self) -> dict[str, float]:
        """Return f1_micro, f1_macro, precision_micro and recall_micro, in 0..1."""
        names = sorted(self._found.keys() | self._support.keys())
        hits, found, support = self._hits.total(), self._found.total(), self._support.total()
        each = [_f1(self._hits[name], self._found[name], self._support[name]) for name in names]
        return {
            "f1_micro": _f1(hits, found, support),
            "f1_macro": sum(each) / len(each) if each else 0.0,
            "precision_micro": hits / found if found else 0.0,
            "recall_micro": hits / support if support else 0.0,
        }


class AnswerMetrics(LabelMetrics):
    """Exact match and F1 of answers as SQuAD 2.0 counts them (Rajpurkar et al. 2018, arXiv:1806.03822), in 0..1.

    Case, punctuation, the articles a, an, the and runs of spaces do not count; of several right answers, the nearest
    does. Where there is no answer, only "none" is right.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {"exact_match": "max", "f1": "max"}

    def __init__(self) -> None:
        self._exact: list[float] = []
        self._f1: list[float] = []

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in predicted answers and those of the samples."""
        for prediction, sample in zip(predictions, samples, strict=True):
            text = sample.text or ""
            given = _words(_texts(prediction.value, text)[:1])[0]
            right = _words(_texts(sample.label, text))
            self._exact.append(float(any(given == words for words in right)))
            self._f1.append(max(_overlap(given, words) for words in right))

    def compute(self) -> dict[str, float]:
        """Return exact_match and f1."""
        count = max(1, len(self._f1))
        return {"exact_match": sum(self._exact) / count, "f1": sum(self._f1) / count}


def _spans(label: Label) -> set[Span]:
    return {part for part in label if isinstance(part, Span)} if isinstance(label, tuple) else set()


def _f1(hits: int, found: int, support: int) -> float:
    return 2 * hits / (found + support) if found + support else 0.0


def _texts(label: Label, text: str) -> list[str]:
    parts = label if isinstance(label, tuple) else ()
    return [text[part.start : part.end] for part in parts if isinstance(part, Span)]


def _words(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text that count; no text at all is an answer of no words."""
    plain = ("".join(sign for sign in text.lower() if sign not in _PUNCTUATION) for text in texts or [""])
    return [_ARTICLES.sub(" ", text).split() for text in plain]


def _overlap(given: Sequence[str], right: Sequence[str]) -> float:
    if not given or not right:
        return float(given == right)
    common = (Counter(given) & Counter(right)).total()
    return 2 * common / (len(given) + len(right))
