"""How transcripts are written, so that they can be learned and compared."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

_INSIDE_WORDS = frozenset("'\u2019-\u2010\u2011")
"""Marks that belong to a word where letters stand on both sides."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What of a transcript counts.

    Attributes:
        case: Whether letters are kept as they are, or made small or large.
        keep_marks: Whether punctuation and symbols are kept.
    """

    case: Literal["keep", "lower", "upper"] = "keep"
    keep_marks: bool = True

    def __call__(self, text: str) -> str:
        """Write a text so; runs of white space become one space."""
        text = self._cased(text)
        if not self.keep_marks:
            text = "".join(self._plain(text, place) for place in range(len(text)))
        return " ".join(text.split())

    def characters(self, characters: str) -> str:
        """The characters that texts of these characters are then written with, each once, in a fixed order."""
        written = {part for character in characters for part in self._cased(character)}
        kept = {
            " " if character.isspace() else character
            for character in written
            if self.keep_marks or not _is_mark(character) or character in _INSIDE_WORDS
        }
        return "".join(sorted(kept))

    def _cased(self, text: str) -> str:
        return text.lower() if self.case == "lower" else text.upper() if self.case == "upper" else text

    @staticmethod
    def _plain(text: str, place: int) -> str:
        character = text[place]
        if not _is_mark(character):
            return character
        around = text[place - 1 : place] + text[place + 1 : place + 2]
        return character if character in _INSIDE_WORDS and len(around) == 2 and around.isalnum() else " "


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PSC" and not character.isspace()
