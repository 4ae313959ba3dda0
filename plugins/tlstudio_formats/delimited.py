"""Reading delimited text (CSV, TSV and their kin) as it is found in the wild."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from tlstudio.api import DataError, Rejected
from tlstudio_formats.encodings import check_encoding, detect_encoding

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_ONE_COLUMN = "\x1f"  # a delimiter that no file has: the whole line is one field
_HINT = re.compile(r'\ufeff?"?sep=(.)"?\r?\n', re.IGNORECASE)
_MAX_FIELD = 2**31 - 1  # a C long on Windows
_SNIFF_CHARACTERS = 2**20
_SNIFF_BYTES = 2**24
_MAX_SPAN = 10_000
_MAX_RETRIES = 1000
# The csv module has one field size limit for the whole process. It is raised only while a record is being
# parsed; the lock keeps two readers from putting each other's limit back too early.
_LIMIT_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a delimited file is written.

    Attributes:
        encoding: As Python calls it.
        delimiter: The character between fields.
        quoted: Whether ``"`` encloses fields; otherwise it is a character like any other.
        hinted: Whether the first line is a hint for spreadsheets, such as ``sep=;``, and no record.
    """

    encoding: str
    delimiter: str
    quoted: bool = True
    hinted: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        first: Number of its first line in the file, from 1.
        last: Number of its last line.
        fields: Its fields.
    """

    first: int
    last: int
    fields: list[str]


def sniff(path: Path, *, encoding: str = "", delimiter: str = "") -> tuple[Dialect, list[str]]:
    """Find out how a file is written.

    Args:
        path: The file.
        encoding: What the user says; ``""``: detect.
        delimiter: What the user says; ``""``: detect.

    Returns:
        The dialect, and sentences about what is unusual.

    Raises:
        DataError: An encoding or delimiter that cannot be.
        OSError: The file cannot be read.
    """
    notes = []
    if encoding.strip():
        name = check_encoding(encoding)
    else:
        found = detect_encoding(path, _SNIFF_BYTES)
        name = found.name
        if found.note:
            notes.append(found.note)
    given = _given_delimiter(delimiter)
    with path.open(encoding=name, errors="replace", newline="") as file:
        sample = file.read(_SNIFF_CHARACTERS)
        complete = not file.read(1)
    hint = _HINT.match(sample)
    given = given or (hint[1] if hint else "")
    best, best_score = Dialect(name, given or _ONE_COLUMN, hinted=bool(hint)), (-1.0, 0)
    for candidate in [given] if given else _order(path):
        for quoted in (True, False):
            dialect = Dialect(name, candidate, quoted, bool(hint))
            score = _fit(sample, complete, dialect)
            if score > best_score and (score[1] >= 2 or given):
                best, best_score = dialect, score
    if best.delimiter not in {",", _ONE_COLUMN} and not (best.delimiter == "\t" and path.suffix.lower() == ".tsv"):
        title = DELIMITERS.get(best.delimiter, repr(best.delimiter))
        notes.append(f"The delimiter is the {title}." if not given else f"Fields are separated by the {title}.")
    if not best.quoted:
        notes.append('Quotation marks (") are part of the text here: they do not enclose fields.')
    return best, notes


def _order(path: Path) -> list[str]:
    return ["\t", ",", ";", "|"] if path.suffix.lower() in {".tsv", ".tab"} else list(DELIMITERS)


def _given_delimiter(text: str) -> str:
    named = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
    clean = text if text in {" ", "\t"} else text.strip()
    clean = named.get(clean.lower(), clean)
    if len(clean) > 1 or clean in {'"', "\n", "\r"}:
        raise DataError(f"{text!r} cannot be a delimiter.", "Give one character: , ; | or tab.", field="delimiter")
    return clean


def _fit(sample: str, complete: bool, dialect: Dialect) -> tuple[float, int]:
    """Share of the first records that have as many fields as the header, and that number."""
    lines = _Lines(io.StringIO(sample, newline=""), -1 if complete else len(sample))
    records = list(islice(_recover(lines, dialect, ""), 201))
    widths = [len(item.fields) for item in records if isinstance(item, Record)]
    if not widths:
        return (0.0, 0)
    return (widths.count(widths[0]) / len(records), widths[0])


def read_records(path: Path, dialect: Dialect, start: int = 0, letters: int = -1) -> Iterator[Record | Rejected]:
    """Read records; blank lines are skipped and NUL characters are dropped.

    A record over several lines whose number of fields is wrong, or that runs to the end of the file, comes from a
    quotation mark that is not closed: only its first line is rejected, and reading goes on with the next.

    Args:
        path: The file.
        dialect: How it is written.
        start: Records to skip, such as a header.
        letters: Those within so many letters are enough, and of the last one its beginning; -1: all.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open(encoding=dialect.encoding, errors="replace", newline="") as file:
        skipped = 0
        for item in _recover(_Lines(file, letters), dialect, path.name):
            if isinstance(item, Record) and skipped < start:
                skipped += 1
            else:
                yield item


def _recover(lines: _Lines, dialect: Dialect, name: str) -> Iterator[Record | Rejected]:
    """Parse records, giving up the first line of one that swallows others by a quotation mark that is not closed."""
    width = 0
    retries = 0
    if dialect.hinted:
        next(lines, None)
        lines.taken.clear()
    while True:
        for record in _parse(lines, dialect):
            span = record.last - record.first + 1
            width = width or len(record.fields)
            unclosed = lines.ended and sum(line.count('"') for line in lines.taken) % 2 == 1
            if lines.cut and span == 1 and (unclosed or len(record.fields) != width):
                return  # where it is cut, nothing can be said of it
            swallows = unclosed or (1 < span <= _MAX_SPAN and len(record.fields) != width)
            if dialect.quoted and swallows and retries < _MAX_RETRIES:
                retries += 1
                yield Rejected(
                    f"{name}, row {record.first}",
                    'A quotation mark (") is opened in it and not closed.',
                    'Close it, or double the marks that belong to the text ("").',
                )
                lines.put_back(record)
                break
            lines.taken.clear()
            yield record
        else:
            return


class _Lines:
    """The lines of a file, or those within its first letters, numbered; the last ones can be put back."""

    def __init__(self, file: TextIO, letters: int = -1) -> None:
        self._file = file
        self._left = letters
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = self._file.readline(self._left)
            if not line:
                self.ended = True
                raise StopIteration
            if self._left > 0:
                self._left -= len(line)
        self.number += 1
        self.taken.append(line)
        return line

    @property
    def cut(self) -> bool:
        """Whether as many letters were read as may be; the last line may be a part of one."""
        return self._left == 0

    def put_back(self, record: Record) -> None:
        """Go back to the line after the first one of a record that was taken just now."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.number = record.first
        self.ended = False
        self.taken.clear()


def _parse(numbered: _Lines, dialect: Dialect) -> Iterator[Record]:
    reader = csv.reader(
        numbered,
        delimiter=dialect.delimiter,
        quotechar='"',
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        skipinitialspace=False,
    )
    while True:
        first = numbered.number + 1
        with _LIMIT_LOCK:
            before = csv.field_size_limit(_MAX_FIELD)
            try:
                fields = next(reader, None)
            finally:
                csv.field_size_limit(before)
        if fields is None:
            return
        if fields:  # a blank line gives none
            yield Record(first, numbered.number, [field.replace("\0", "") for field in fields])
        else:
            numbered.taken.clear()
