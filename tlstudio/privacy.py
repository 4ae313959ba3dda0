"""What nobody wants in a log or a report that is handed on: secrets, the user's name, where the user's home is."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

HIDDEN = "<secret>"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|PRIVATE|_PWD$|_DSN$", re.IGNORECASE)
_SHORTEST = 6  # shorter values are words such as "true" and "none" more often than secrets
_WORDS = r"token|secret|passw(?:or)?d|passphrase|pwd|api_?key|access_?key|private_?key|credentials?|signature"
# Every repetition that could be tried again from many places has an end, so that a long text takes no time on end.
_NAME = r"[\w.-]{0,60}"
_SHAPES = (
    # https://user:password@host, postgres://user:password@host
    (re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://)[^\s/?#\"'<>]{1,500}@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    # ?token=..., &X-Amz-Signature=..., #access_token=...
    (
        re.compile(rf"([?&;#]{_NAME}(?:{_WORDS}|\bkey|\bsig|\bauth|\bcode)=)[^\s&;#\"'<>]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    # Authorization: Bearer ..., Cookie: ...
    (
        re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(['\"]?\s?[:=]\s?)[^\r\n]+", re.IGNORECASE),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\b(bearer )[\w.~+/=-]{12,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    # api_key="...", HF_TOKEN=..., "password": "..."; bare words count only with a digit: the rest is source code
    (
        re.compile(
            rf"\b({_NAME}(?:{_WORDS})['\"]?\s{{0,9}}[:=]\s{{0,9}})(\"[^\"\r\n]{{6,500}}\"|'[^'\r\n]{{6,500}}')",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"\b({_NAME}(?:{_WORDS})\s{{0,9}}[:=]\s{{0,9}})(?=[^\s\d]{{0,200}}\d)[\w/+=-]{{8,500}}(?![\w.(\[])",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    # Known by their look: Hugging Face, GitHub, GitLab, Slack, AWS, OpenAI and the like, JSON web tokens
    (
        re.compile(
            r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,200}"
            r"|xox[abprs]-[\w-]{10,200}|A(?:KIA|SIA)[0-9A-Z]{16}|sk-[\w-]{20,300}"
            r"|eyJ[\w-]{8,2000}\.[\w-]{8,4000}\.[\w-]{0,2000})"
        ),
        HIDDEN,
    ),
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        HIDDEN,
    ),
)


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Leave out of a text where the user's home is, what the user is called, and secrets.

    Secrets are the values of environment variables whose name says so, and what looks like a password, key or token.

    Args:
        text: A log, a report, a traceback.
        environment: The environment variables.
    """
    values = [value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN).replace(quote(value, safe=""), HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    for home in _homes():
        text = re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
    name = user_name()
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<user>", text) if len(name) > 2 else text


def _homes() -> list[str]:
    """The user's home in every way in which it is written, the longest first."""
    try:
        home = Path.home()
    except RuntimeError:
        return []
    written = set()
    for path in {str(home), os.path.realpath(home)} - {os.sep, home.anchor}:
        posix = path.replace("\\", "/")
        written |= {path, path.replace("\\", "\\\\"), posix, quote(posix, safe="/:")}
    return sorted(written, key=len, reverse=True)


def user_name() -> str:
    """The login name of the user, or ``"unknown"``."""
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"


class CleanStream(io.TextIOWrapper):
    """Passes on what a program writes, without secrets, a line at a time: in pieces, they would not be known.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._rest = ""
        super().__init__(stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)

    def write(self, text: str, /) -> int:
        """Write a piece of text; what is behind the last line end waits for its line."""
        *lines, self._rest = re.split(r"(?<=[\r\n])", self._rest + text)
        if lines:
            super().write(without_secrets("".join(lines)))
            super().flush()
        return len(text)

    def flush(self) -> None:
        """Write the line that has no end yet, too."""
        rest, self._rest = self._rest, ""
        if rest:
            super().write(without_secrets(rest))
        super().flush()
