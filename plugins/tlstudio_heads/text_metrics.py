"""Metrics of texts that were written, against the texts that were expected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tlstudio.api import Prediction, Sample
from tlstudio.api.nn import LabelMetrics

__all__ = ["OverlapMetrics", "rouge_l", "rouge_n", "words"]

# Letters of scripts that put no spaces between words each stand for themselves.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


class OverlapMetrics(LabelMetrics):
    """ROUGE (Lin 2004), BLEU (Papineni et al. 2002) and chrF (Popović 2015) over all texts that were written.

    ROUGE is the mean F1 of the texts in 0..1, as rouge-score gives it without stemming; BLEU and chrF are those of the
    whole in 0..100, by sacrebleu with its defaults (Chinese is cut into its signs).
    """

    def __init__(self) -> None:
        self._written: list[str] = []
        self._expected: list[str] = []

    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in written texts and the samples with those that were expected."""
        self._written += [str(prediction.value) for prediction in predictions]
        self._expected += [str(sample.label) for sample in samples]

    def compute(self) -> dict[str, float]:
        """Return rouge1, rouge2, rougeL, bleu and chrf."""
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        if not self._written:
            return {}
        pairs = [(words(one), words(other)) for one, other in zip(self._written, self._expected, strict=True)]
        count = len(pairs)
        chinese = sum(len(re.findall(r"[\u4e00-\u9fff]", text)) for text in self._expected)
        bleu = BLEU(tokenize="zh" if chinese * 2 > sum(map(len, self._expected)) else "13a")
        return {
            "rouge1": sum(rouge_n(one, other, 1) for one, other in pairs) / count,
            "rouge2": sum(rouge_n(one, other, 2) for one, other in pairs) / count,
            "rougeL": sum(rouge_l(one, other) for one, other in pairs) / count,
            "bleu": float(bleu.corpus_score(self._written, [self._expected]).score),
            "chrf": float(CHRF().corpus_score(self._written, [self._expected]).score),
        }


def words(text: str) -> list[str]:
    """Cut a text into words of small letters; of ASCII text these are the words of rouge-score."""
    return _WORD.findall(text.lower())


def rouge_n(written: Sequence[str], expected: Sequence[str], n: int) -> float:
    """F1 of the runs of n words that two texts share."""
    one, other = (Counter(zip(*(text[k:] for k in range(n)), strict=False)) for text in (written, expected))
    return _f1((one & other).total(), one.total(), other.total())


def rouge_l(written: Sequence[str], expected: Sequence[str]) -> float:
    """F1 of the longest sequence of words that two texts have in the same order."""
    longest = [0] * (len(expected) + 1)
    for word in written:
        before = 0  # of the row above, one to the left
        for place, other in enumerate(expected, start=1):
            above = longest[place]
            longest[place] = before + 1 if word == other else max(above, longest[place - 1])
            before = above
    return _f1(longest[-1], len(written), len(expected))


def _f1(common: int, one: int, other: int) -> float:
    return 2 * common / (one + other) if common else 0.0
