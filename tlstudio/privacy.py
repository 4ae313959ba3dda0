"""What nobody wants in a log or a report that is handed on: secrets, the user's name, where the user's home is."""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, quote_plus

HIDDEN = "<secret>"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|PRIVATE|_PWD$|_DSN$", re.IGNORECASE)
_SHORTEST = 6  # shorter values are words such as "true" and "none" more often than secrets
_LOGIN_WORDS = r"passw(?:or)?d|passphrase|pwd"
_WORDS = rf"{_LOGIN_WORDS}|token|secret|api_?key|access_?key|account_?key|private_?key|credentials?|signature"
# Every repetition that could be tried again from many places has an end, so that a long text takes no time on end.
_NAME = r"[\w.-]{0,60}"
_SHAPES = (
    # https://user:password@host, postgres://user:password@host
    (re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://)[^\s/?#\"'<>]{1,500}@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    # a password with a sign in it that belongs elsewhere in an address: https://user:pass/word@host
    (
        re.compile(
            r"\b([a-z][a-z0-9+.-]{0,30}://)[^\s/?#\"'<>:@]{0,100}:(?!\d{1,5}/)[^\s\"'<>]{1,500}@", re.IGNORECASE
        ),
        rf"\1{HIDDEN}@",
    ),
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
    (re.compile(r"\b(basic )(?=[A-Za-z+/]{0,200}[\d=])[A-Za-z0-9+/=]{12,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    # curl -u user:password, --password ..., --api-key=...
    (re.compile(r"(\s(?:-u|--user)[\s=])[^\s:]{1,100}:\S{1,500}"), rf"\1{HIDDEN}"),
    (
        re.compile(
            rf"(--[\w-]{{0,40}}(?:{_WORDS.replace('_', '[_-]')})(?:=|\s{{1,9}}))(?!-)\S{{6,500}}", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
    # api_key="...", HF_TOKEN=..., "password": "..."; bare words count only with a digit: the rest is source code
    (
        re.compile(
            rf"\b({_NAME}(?:{_WORDS})['\"]?\s{{0,9}}[:=]\s{{0,9}}b?)"
            r"(\"(?:[^\"\\\r\n]|\\.){4,500}\"|'(?:[^'\\\r\n]|\\.){4,500}')",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    # passwords have signs of all kinds, or are plain words
    (
        re.compile(
            rf"\b({_NAME}(?:{_LOGIN_WORDS})\s{{0,9}}[:=]\s{{0,9}})(?!{HIDDEN})[^\s,;()\[\]{{}}'\"]{{6,500}}",
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
    # Known by their look: Hugging Face, GitHub, GitLab, Slack, AWS, Google, npm, PyPI, Stripe, OpenAI and the like,
    # JSON web tokens
    (
        re.compile(
            r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,200}"
            r"|xox[abprs]-[\w-]{10,200}|hooks\.slack\.com/services/\S{8,200}|A(?:KIA|SIA)[0-9A-Z]{16}|AIza[\w-]{30,60}"
            r"|npm_[A-Za-z0-9]{20,}|pypi-[\w-]{16,400}|[rsp]k_(?:live|test)_\w{10,200}|sk-[\w-]{20,300}"
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


_OPEN_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?!.*-----END)", re.DOTALL)
_MOST_HELD = 2**16


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Leave out of a text where the user's home is, what the user is called, and secrets.

    Secrets are the values of environment variables whose name says so, and what looks like a password, key or token.

    Args:
        text: A log, a report, a traceback.
        environment: The environment variables.
    """
    values = [value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST]
    for written in sorted({form for value in values for form in _forms(value)}, key=len, reverse=True):
        text = text.replace(written, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    text = without_home(text)
    name = user_name()
    if len(name) <= 2:
        return text
    return re.sub(rf"(?<![^\W\d_]){re.escape(name)}(?![^\W\d_])", "<user>", text, flags=re.IGNORECASE)


def without_home(text: str) -> str:
    """Write ``~`` where a text says where the user's home is."""
    for home in _homes():
        text = re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
    return text


@functools.cache  # asked for at each line that is printed
def _forms(value: str) -> frozenset[str]:
    """A secret in every way in which it is written: as it is, in Python, in JSON, in an address."""
    quoted = {quote(value, safe=""), quote_plus(value)}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda sign: sign.group().lower(), form) for form in quoted}
    escaped = {repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return frozenset({value} | escaped | quoted | lower)


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

    A line waits for its end, also where it is flushed before, and a private key for its last line; neither for more
    than 64 KiB. What has no end when the program ends comes then.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._pieces: list[str] = []
        self._held = 0
        super().__init__(stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)
        atexit.register(self._finish)

    def write(self, text: str, /) -> int:
        """Write a piece of text; what is behind the last line end waits for its line."""
        self._pieces.append(text)
        self._held += len(text)
        if "\n" in text or "\r" in text or self._held > _MOST_HELD:
            held = "".join(self._pieces)
            end = len(held)
            if end <= _MOST_HELD:
                end = max(held.rfind("\n"), held.rfind("\r")) + 1
                if open_key := _OPEN_KEY.search(held, 0, end):
                    end = open_key.start()
            self._pieces, self._held = [held[end:]], len(held) - end
            self._pass_on(held[:end])
        return len(text)

    def close(self) -> None:
        """Write the line that has no end yet, too."""
        if not self.closed:
            self._finish()
            atexit.unregister(self._finish)
        super().close()

    def _finish(self) -> None:
        rest, self._pieces, self._held = "".join(self._pieces), [], 0
        if not self.closed:
            self._pass_on(rest)

    def _pass_on(self, text: str) -> None:
        if text:
            super().write(without_secrets(text))
            super().flush()
