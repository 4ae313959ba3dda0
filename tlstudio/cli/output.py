"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import click

QUIET_SECONDS = 10.0
"""Where the progress cannot be overwritten in place, it is told this often at most."""
SHORT_SECONDS = 2.0
"""What takes less is not told there at all."""


_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Output:
    """Where a command's words go.

    Args:
        as_json: Whether the last line on standard output is one JSON object; all words then go to standard error.
        words_to_stderr: Whether all words go to standard error although there is no JSON result, because standard
            output carries something else.
    """

    def __init__(self, *, as_json: bool, words_to_stderr: bool = False) -> None:
        self.as_json = as_json
        self.words_to_stderr = words_to_stderr or as_json

    def say(self, text: str = "", *, bold: bool = False) -> None:
        """Print a line of the result for people."""
        text = visible(text)
        click.echo(click.style(text, bold=True) if bold else text, err=self.words_to_stderr)

    def hint(self, text: str) -> None:
        """Print a line that is no part of the result: a note, a warning, what to do next."""
        click.echo(visible(text), err=True)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
        """Print a table; its first `left` columns are words, the others figures.

        Args:
            headers: One for each column.
            rows: Cells; floats are shown with 3 decimals, `None` as nothing.
            left: Number of columns that are aligned to the left.
        """
        lines = [list(headers), *([_cell(value) for value in row] for row in rows)]
        widths = [max(map(display_width, column)) for column in zip(*lines, strict=True)]
        for number, line in enumerate(lines):
            cells = [
                pad(cell, width) if i < left else pad(cell, width, right=True)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            self.say("  ".join(cells).rstrip(), bold=number == 0)

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print names and values in two columns, long values wrapped."""
        shown = [(name, _cell(value)) for name, value in pairs if value not in (None, "")]
        width = max((display_width(name) for name, _ in shown), default=0)
        room = max(40, shutil.get_terminal_size((100, 24)).columns - width - 3)
        for name, value in shown:
            lines = textwrap.wrap(value, room, break_on_hyphens=False, break_long_words=False) or [""]
            self.say(f"{pad(name, width)}  {lines[0]}")
            for line in lines[1:]:
                self.say(f"{' ' * width}  {line}")

    def result(self, values: Mapping[str, Any]) -> None:
        """Print the result for programs, if that was asked for: one line, the last one."""
        if self.as_json:
            print_json(values)


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of standard output; what JSON has no number for becomes null."""
    text = json.dumps(plain(values), ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # another encoding, or a file name that is no Unicode
        text = json.dumps(plain(values), allow_nan=False)
    click.echo(text)
    sys.stdout.flush()


def plain(value: Any) -> Any:  # noqa: ANN401  any value in, any JSON value out
    """Turn a value into what strict JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())  # an array or a scalar of NumPy
    raise TypeError(f"no JSON for {type(value).__name__}")


class StatusLine:
    """The progress on standard error: one line that is overwritten in a terminal, a line now and then elsewhere.

    As a context manager it takes the progress away at the end.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._live = self._stream.isatty()
        self._shown = 0
        self._last = -math.inf
        self._what = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.clear()

    def update(self, what: str, text: str) -> None:
        """Show how far it is.

        Args:
            what: What is under way; when it changes, the line is shown at once.
            text: How far it is; may be empty.
        """
        now = time.monotonic()
        line = f"{what}  {text}".rstrip()
        if self._live:
            room = shutil.get_terminal_size((80, 24)).columns - 1
            line = cut(line, room)
            self._write("\r" + line + " " * max(0, self._shown - display_width(line)))
            self._shown = display_width(line)
        elif what != self._what and text:
            self._last = now - QUIET_SECONDS + SHORT_SECONDS  # what is over at once needs no line
        elif what != self._what or now - self._last >= QUIET_SECONDS:
            self._write(line + "\n")
            self._last = now
        self._what = what

    def due(self) -> bool:
        """Whether a line that stays may be added without flooding a log."""
        return time.monotonic() - self._last >= QUIET_SECONDS

    def line(self, text: str) -> None:
        """Add a line that stays, above the progress."""
        self.clear()
        self._write(text + "\n")
        self._last = time.monotonic()

    def clear(self) -> None:
        """Take the progress away."""
        if self._live and self._shown:
            self._write("\r" + " " * self._shown + "\r")
        self._shown = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def visible(text: str) -> str:
    """Replace what would steer the terminal or turn the writing around, as a file's name can hold it, by U+FFFD."""
    return _STEERING.sub("\ufffd", text)


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal: ideographs take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text up with spaces to a number of columns."""
    space = " " * max(0, width - display_width(text))
    return space + text if right else text + space


def cut(text: str, width: int) -> str:
    """Cut a text to a number of columns."""
    kept = taken = 0  # how much fits before the dots
    for place, char in enumerate(text):
        taken += display_width(char)
        if taken > width:
            return text[:kept] + "..."
        if taken <= width - 3:
            kept = place + 1
    return text


def counted(number: int, one: str, several: str = "") -> str:
    """Write how many there are: ``"1 epoch"``, ``"1,200 epochs"``."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def duration(seconds: float) -> str:
    """Write a duration: ``"0:48"``, ``"1:02:03"``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def size(number: int) -> str:
    """Write a number of bytes: ``"19 MB"``."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}"
    text = str(value)
    # A line end or control character in a file or class name would break the table.
    return "".join(char if char.isprintable() else " " for char in text)
