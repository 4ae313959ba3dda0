"""Reading a large JSON object piece by piece: what is in its lists, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tlstudio.api import DataError
from tlstudio.api.files import check_plain_file

_CHUNK = 2**20
_LONGEST = 2**26  # letters of one value that is read as a whole
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, value)`` for each member of the object in a file; of a list, one pair for each of its items.

    Raises:
        DataError: It is no JSON object, or something in it is too large or too deep.
        OSError: It may not be read.
    """
    check_plain_file(path)
    with path.open(encoding="utf-8-sig") as file:
        try:
            yield from _object(_Reader(file))
        except (ValueError, RecursionError) as error:  # of letters that are no UTF-8, too
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise DataError(f"{path.name} is no valid JSON: {why}.", "Export it again.", path=path) from error


class _Reader:
    """A window on the text that moves on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._place = 0
        self._passed = 0  # letters before the window
        self._ended = False

    def sign(self) -> str:
        """Return the next letter that is no space without taking it; "" at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if self._ended:
                return ""
            self._more(_CHUNK)

    def take(self, sign: str) -> None:
        """Take a letter that has to be the next."""
        found = self.sign()
        if found != sign:
            where = f"at letter {self._passed + self._place:,}"
            raise ValueError(f"{sign!r} is missing {where}" if found else f"it ends {where} where {sign!r} is missing")
        self._place += 1

    def value(self) -> Any:  # noqa: ANN401  whatever JSON can hold
        """Take the value that begins here."""
        self.sign()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._ended:
                    raise ValueError(f"{error.msg} at letter {self._passed + error.pos:,}") from None
            else:
                # A number at the end of the window may go on behind it.
                if self._ended or end < len(self._text):
                    self._place = end
                    return value
            if len(self._text) - self._place > _LONGEST:
                raise ValueError(f"the value at letter {self._passed + self._place:,} does not end or is far too long")
            self._more(len(self._text) - self._place)

    def _more(self, least: int) -> None:
        """Read on; by as much again as is there, so that a long value is not looked at too often."""
        more = self._file.read(max(_CHUNK, least))
        self._ended = not more
        self._passed += self._place
        self._text = self._text[self._place :] + more
        self._place = 0


def _object(reader: _Reader) -> Iterator[tuple[str, Any]]:
    if reader.sign() != "{":
        raise ValueError("it is no object with fields")
    reader.take("{")
    while reader.sign() != "}":
        if reader.sign() != '"':
            reader.take('"')
        name = reader.value()
        reader.take(":")
        if reader.sign() == "[":
            for item in _list(reader):
                yield name, item
        else:
            yield name, reader.value()
        if reader.sign() != "}":
            reader.take(",")
    reader.take("}")
    if reader.sign():
        raise ValueError("there is more behind its end")


def _list(reader: _Reader) -> Iterator[Any]:
    reader.take("[")
    while reader.sign() != "]":
        yield reader.value()
        if reader.sign() != "]":
            reader.take(",")
    reader.take("]")
