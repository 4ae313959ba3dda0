"""Names that are safe as file names on Linux, macOS and Windows, in any script."""

from __future__ import annotations

import re
import unicodedata

from tlstudio.api import DataError

MAX_NAME = 80
"""Longest name in characters: short enough for the path limits of Windows, below 255 bytes in any script."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')
# Windows keeps these names for devices, with any suffix.
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def valid_name(name: str) -> str:
    """Return a data set's name trimmed and in Unicode NFC, ready to be a folder's name.

    Args:
        name: The name as the user typed it; letters of any script, digits, spaces and most signs are allowed.

    Raises:
        DataError: It is empty, too long, hidden, reserved, or has characters that a file name may not have.
    """
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean:
        raise DataError("The data set needs a name.", 'Give it one, such as "leaves".', field="name")
    found = _FORBIDDEN.search(clean)
    if found:
        raise DataError(
            f"The name {clean!r} contains {found.group()!r}, which a folder's name cannot have on every system.",
            "Use letters, digits, spaces, - and _.",
            field="name",
        )
    if clean.startswith(".") or clean.endswith("."):
        raise DataError(
            f"The name {clean!r} begins or ends with a full stop.", "Take the full stop away.", field="name"
        )
    if len(clean) > MAX_NAME or len(clean.encode()) > 240:
        raise DataError(
            f"The name is {len(clean)} characters long; at most {MAX_NAME} are allowed.", "Shorten it.", field="name"
        )
    if clean.split(".")[0].strip().casefold() in _RESERVED:
        raise DataError(f"The name {clean!r} is reserved by Windows.", "Choose another name.", field="name")
    return clean


def safe_name(text: str, default: str = "data") -> str:
    """Make a valid name of any text: what cannot stay becomes ``_``; nothing left gives `default`."""
    clean = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text)).strip().strip(".").strip()
    while len(clean) > MAX_NAME or len(clean.encode()) > 240:
        clean = clean[:-1].rstrip(". ")
    if not clean:
        return default
    return f"{clean}_" if clean.split(".")[0].strip().casefold() in _RESERVED else clean


def plain_text(text: str) -> str:
    """Return the text as valid Unicode: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    if text.isascii():  # nearly always, and quick
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
