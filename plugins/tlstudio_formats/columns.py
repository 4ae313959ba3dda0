"""Guessing which column holds the text, the image, the label, the group and the split: by name and by content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from tlstudio.api.images import IMAGE_SUFFIXES
from tlstudio.api.sounds import SOUND_SUFFIXES
from tlstudio_formats.column_names import (
    AUDIO_NAMES,
    GROUP_NAMES,
    ID_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    SPLIT_NAMES,
    TEXT_NAMES,
    TRANSCRIPT_NAMES,
)
from tlstudio_formats.values import SPLIT_WORDS, as_text, is_missing

_LONG = 10_000
"""Letters of a cell that are looked at."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the first cells of a column look like.

    Attributes:
        filled: Share of cells that hold something.
        distinct: Share of different values among these.
        num_distinct: Number of different values.
        length: Mean length as text.
        numbers: Share of numbers.
        spaces: Share of values with a space in it, or of scripts written without spaces, ten letters and more.
        images: Share that ends like an image file.
        sounds: Share that ends like a sound file.
        splits: Share that names a split.
    """

    filled: float
    distinct: float
    num_distinct: int
    length: float
    numbers: float
    spaces: float
    images: float
    sounds: float
    splits: float


def look_at(cells: Sequence[Any]) -> Look:
    """Look at the cells of a column."""
    texts = [as_text(cell)[:_LONG].strip() for cell in cells if not is_missing(cell)]
    count = len(texts) or 1
    return Look(
        filled=len(texts) / max(1, len(cells)),
        distinct=len(set(texts)) / count,
        num_distinct=len(set(texts)),
        length=sum(map(len, texts)) / count,
        numbers=sum(_is_number(text) for text in texts) / count,
        spaces=sum(" " in text or (not text.isascii() and len(text) >= 10) for text in texts) / count,
        images=sum(is_file_name(text, IMAGE_SUFFIXES) for text in texts) / count,
        sounds=sum(is_file_name(text, SOUND_SUFFIXES) for text in texts) / count,
        splits=sum(text.casefold() in SPLIT_WORDS for text in texts) / count,
    )


def guess_columns(names: Sequence[str], rows: Sequence[Sequence[Any]], wanted: Sequence[str]) -> dict[str, str]:
    """Guess columns for roles.

    Args:
        names: Names of the columns.
        rows: First rows, cells in the order of `names`.
        wanted: Roles among ``text``, ``image``, ``audio``, ``label``, ``group`` and ``split``.

    Returns:
        The column of each role, ``""`` where none fits; no column has two roles.
    """
    looks = {name: look_at([row[place] for row in rows]) for place, name in enumerate(names)}
    left = list(names)
    found = dict.fromkeys(wanted, "")
    # The surest first: a path and a split are known by their content, a label is what remains.
    for role in ("image", "audio", "split", "group", "text", "label"):
        if role not in wanted:
            continue
        scores = {name: _SCORES[role](name, looks[name]) for name in left}
        best = max(left, key=lambda name: scores[name], default="")
        if best and scores[best] > 0:
            found[role] = best
            left.remove(best)
    return found


def _score_image(name: str, look: Look) -> float:
    return 0.0 if look.images < 0.5 else look.images + 0.5 * named(name, IMAGE_NAMES)


def _score_audio(name: str, look: Look) -> float:
    return 0.0 if look.sounds < 0.5 else look.sounds + 0.5 * named(name, AUDIO_NAMES)


def _score_split(name: str, look: Look) -> float:
    return named(name, SPLIT_NAMES) + 0.1 if look.splits > 0.95 and look.num_distinct <= 6 else 0.0


def _score_group(name: str, look: Look) -> float:
    # By name alone: a column that happens to repeat is no reason to tie samples together.
    known = named(name, GROUP_NAMES)
    return known if known == 1 and look.distinct < 1 else 0.0


def _score_text(name: str, look: Look) -> float:
    known = named(name, TEXT_NAMES)
    if look.filled == 0 or look.numbers > 0.9 or max(look.images, look.sounds) > 0.5 or named(name, LABEL_NAMES) == 1:
        return 0.0
    prose = look.spaces * min(1.0, look.length / 40) * (0.3 + 0.7 * look.distinct)
    if known == 0 and prose < 0.05:
        return 0.0
    return known + 1.5 * prose


def _score_label(name: str, look: Look) -> float:
    known = named(name, LABEL_NAMES)
    if look.filled == 0 or max(look.images, look.sounds) > 0.5:
        return 0.0
    if known == 0 and named(name, ID_NAMES) > 0:
        return 0.0
    numeric = look.numbers > 0.95
    if not numeric and (look.length > 80 or (look.distinct > 0.9 and look.num_distinct > 20)):
        return 0.0
    few = look.num_distinct >= 2 and (look.distinct <= 0.5 or look.num_distinct <= 10)
    if known == 0 and not few:
        return 0.0
    # Of two that could be it, the one whose values recur more often: classes do, remarks do not.
    recurs = 0.5 * (1 - look.distinct)
    return 2 * known + (1.0 if few else 0.2) + (0.0 if numeric else 0.3) + 0.1 * look.filled + recurs


_SCORES = {
    "image": _score_image,
    "audio": _score_audio,
    "split": _score_split,
    "group": _score_group,
    "text": _score_text,
    "label": _score_label,
}


def named(name: str, names: frozenset[str]) -> float:
    """1 where a name is one of these, 0.6 where a word of it is, 0 else."""
    folded = name.casefold().strip()
    if folded in names or folded.replace(" ", "_") in names:
        return 1.0
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return 0.6 if any(word in names for word in words if word) else 0.0


def is_label_name(name: str) -> bool:
    """Whether a column is called as one of labels is."""
    return named(name, LABEL_NAMES) == 1


def is_transcript(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column holds what is said in recordings: it is called so, or its cells are sentences that differ."""
    look = look_at(cells)
    if look.filled == 0 or look.numbers > 0.9 or max(look.images, look.sounds) > 0.5:
        return False
    return named(name, TRANSCRIPT_NAMES) == 1 or (look.spaces > 0.6 and look.distinct > 0.6 and look.num_distinct > 3)


def is_file_name(text: str, suffixes: frozenset[str]) -> bool:
    """Whether a text ends like the name of a file of some kind."""
    if len(text) > 1000 or "\n" in text:
        return False
    suffix = PureWindowsPath(text).suffix if "\\" in text else PurePosixPath(text).suffix
    return suffix.lower() in suffixes


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True
