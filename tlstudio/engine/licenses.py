"""What a model says of its licence, found in the texts beside it."""

from __future__ import annotations

import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from tlstudio.api.files import check_plain_file

_BEGINNING = 4000  # characters of a text, or bytes of a wheel's metadata
_CLASSIFIER = "License :: OSI Approved :: "


def license_of(path: Path) -> str:
    """Read the licence of a model from the head of its card, or the first words of a text of it; ``""``: none is there.

    Args:
        path: Its folder, or a file in it.
    """
    folder = path if path.is_dir() else path.parent
    for card in sorted(folder.glob("[Rr][Ee][Aa][Dd][Mm][Ee].md")):
        if found := re.search(r"^license:\s*([\w.+-]+)\s*$", _beginning(card), flags=re.MULTILINE):
            return found[1]
    for text in sorted(folder.glob("[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*")):
        return next((line.strip()[:60] for line in _beginning(text).splitlines() if line.strip()), "")
    return ""


def license_of_wheel(path: Path) -> str:
    """Read what a wheel says of its licence; ``""`` where it says nothing, or is none."""
    if path.suffix.lower() != ".whl":
        return ""
    try:
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            with wheel.open(name) as file:
                text = file.read(_BEGINNING).decode("utf-8", errors="replace")
    except (OSError, StopIteration, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return ""
    facts = HeaderParser().parsestr(text)
    said = [facts.get("License-Expression"), facts.get("License"), *facts.get_all("Classifier", [])]
    for words in said:
        first = str(words or "").strip().partition("\n")[0]
        if first.startswith(_CLASSIFIER) or (first and "::" not in first and first.upper() != "UNKNOWN"):
            return first.removeprefix(_CLASSIFIER)[:60]
    return ""


def _beginning(path: Path) -> str:
    try:
        check_plain_file(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_BEGINNING)
    except OSError:
        return ""
