"""Random variation of training texts, drawn from a seed alone."""

from __future__ import annotations

import random
import re

from tlstudio.api import Augmentation

CHANGED_SHARE = {"light": 0.05, "strong": 0.1}
"""Share of the words of a text that are left out or swapped, as Wei and Zou advise for few and for many texts."""
# Scripts without spaces between words: each character stands for a word there.
_ALONE = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_ALONE}]|[^\\s{_ALONE}]+")


def vary(text: str, augmentation: Augmentation, seed: int) -> str:
    """Leave out words, or swap some with others: two of the four changes of EDA (Wei and Zou 2019, arXiv:1901.11196).

    The other two need a list of synonyms. At least one word stays; what stands between words stays where it is.

    Args:
        text: The text.
        augmentation: ``"light"`` or ``"strong"``; anything else leaves it as it is.
        seed: All that is random derives from it.
    """
    share = CHANGED_SHARE.get(augmentation, 0.0)
    words = list(_WORD.finditer(text))
    if not share or len(words) < 2:
        return text
    dice = random.Random(seed)  # noqa: S311  no secret
    if dice.random() < 0.5:
        kept = [dice.random() >= share for _ in words]
        if not any(kept):
            kept[dice.randrange(len(words))] = True
        return _without(text, words, kept)
    order = [word[0] for word in words]
    for _ in range(max(1, round(share * len(words)))):
        one, other = dice.sample(range(len(words)), 2)
        order[one], order[other] = order[other], order[one]
    return _with(text, words, order)


def _without(text: str, words: list[re.Match[str]], kept: list[bool]) -> str:
    """Leave out words, each with what stands between it and the next."""
    ends = [word.start() for word in words[1:]] + [words[-1].end()]
    parts = [text[word.start() : end] for word, end, keep in zip(words, ends, kept, strict=True) if keep]
    result = text[: words[0].start()] + "".join(parts)
    return (result if kept[-1] else result.rstrip()) + text[words[-1].end() :]


def _with(text: str, words: list[re.Match[str]], order: list[str]) -> str:
    """Put words in the places of others."""
    parts, end = [], 0
    for word, other in zip(words, order, strict=True):
        parts += [text[end : word.start()], other]
        end = word.end()
    return "".join([*parts, text[end:]])
