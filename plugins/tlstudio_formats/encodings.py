"""Finding out in which encoding a text file was written."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from tlstudio.api import DataError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16 LE, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 2**20
_SAMPLE = 2**15
_IN_WORDS = "\u2018\u2019\u2013\u2014\u00b4\u00b7"  # apostrophes and dashes stand between letters
# Encodings that people still meet; asking for all that exist makes short texts a lottery.
_LEGACY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257",
    "gb18030", "big5", "cp932", "euc_jp", "cp949", "koi8_r", "iso8859_15",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding and what to say of it.

    Attributes:
        name: As Python calls it.
        note: A sentence where it is not plain UTF-8; ``""`` otherwise.
    """

    name: str
    note: str = ""


def check_encoding(name: str) -> str:
    """Return Python's name of an encoding that a user has given.

    Raises:
        DataError: There is no such encoding.
    """
    try:
        known = codecs.lookup(name.strip()).name
        return "utf-8-sig" if known == "utf-8" else known  # with or without a byte order mark
    except LookupError:
        raise DataError(
            f"There is no text encoding {name!r}.", "Try utf-8, cp1252 or utf-16, or leave it empty.", field="encoding"
        ) from None


def detect_encoding(path: Path, limit: int | None = None) -> Encoding:
    """Detect the encoding of a file: by its byte order mark, else UTF-8 if all of it is, else by its letters.

    Args:
        path: The file.
        limit: Bytes to look at; `None`: all.

    Raises:
        OSError: The file cannot be read.
    """
    suspicious = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid = True
    with path.open("rb") as file:
        read = 0
        while chunk := file.read(_CHUNK if limit is None else min(_CHUNK, limit - read)):
            if read == 0:
                found = _by_first_bytes(chunk)
                if found is not None:
                    return found
            read += len(chunk)
            if valid:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    valid = False
            if not valid and len(suspicious) < _SAMPLE:
                suspicious += _non_ascii_lines(chunk)
            if not valid and len(suspicious) >= _SAMPLE:
                break
    if valid:
        return Encoding("utf-8")
    return _legacy(bytes(suspicious[:_SAMPLE]))


def decode(data: bytes) -> tuple[str, Encoding]:
    """Decode a whole text; bytes that do not fit become U+FFFD."""
    found = _by_first_bytes(data[:_CHUNK])
    if found is None:
        try:
            return data.decode("utf-8"), Encoding("utf-8")
        except UnicodeDecodeError:
            found = _legacy(_non_ascii_lines(data)[:_SAMPLE])
    return data.decode(found.name, "replace"), found


def _by_first_bytes(data: bytes) -> Encoding | None:
    for mark, name in _BOMS:
        if data.startswith(mark):
            title = "UTF-8 with a byte order mark" if name == "utf-8-sig" else name.upper()
            return Encoding(name, f"The file is in {title}.")
    # Latin text in UTF-16 without a mark has a zero in every other byte.
    head = data[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if odd > 0.4 * half and even < 0.05 * half:
        return Encoding("utf-16-le", "The file seems to be in UTF-16 (little endian, without a mark).")
    if even > 0.4 * half and odd < 0.05 * half:
        return Encoding("utf-16-be", "The file seems to be in UTF-16 (big endian, without a mark).")
    return None


def _non_ascii_lines(data: bytes) -> bytes:
    return b"\n".join(line[:2000] for line in data.split(b"\n") if not line.isascii())


def _legacy(sample: bytes) -> Encoding:
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for letter in text if letter > "\x7f") - bad
    if good > 10 * bad:
        return Encoding("utf-8", "The file is in UTF-8 but damaged in places: what cannot be read is shown as \ufffd.")
    name = "cp1252" if _looks_western(sample) else _guess(sample)
    return Encoding(name, f"The file is not in UTF-8; it was read as {name.upper()}. Set the encoding if it looks odd.")


def _looks_western(sample: bytes) -> bool:
    """Whether the text makes sense in Windows-1252: accents stand alone or in pairs amid plain letters."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    odd = strange = run = 0
    for before, letter, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if letter <= "\x7f":
            run = 0
            continue
        run += 1
        odd += 1
        sign_in_word = not letter.isalpha() and before.isalpha() and after.isalpha() and letter not in _IN_WORDS
        if run > 2 or sign_in_word or (letter.isupper() and before.islower()):
            strange += 1
    return odd > 0 and strange <= 0.1 * odd


def _guess(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_LEGACY).best()
    return best.encoding if best is not None else "cp1252"
