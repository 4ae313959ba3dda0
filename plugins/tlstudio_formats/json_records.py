"""JSON files of annotation tools: their records, one by one, and where each stands."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tlstudio.api import DataError, DatasetFormat, Rejected, Source
from tlstudio.api.files import check_plain_file, read_text
from tlstudio_formats.lines import LONGEST, lines

MOST_BYTES = 2**26
"""Largest JSON file; as Python objects it takes some ten times of it."""

Record = tuple[str, dict[str, Any]]
"""Where it stands, for people, and what it says."""


def read_json(path: Path) -> Any:  # noqa: ANN401  whatever JSON can hold
    """Read a JSON file as a whole.

    Raises:
        DataError: It is no JSON, or too large or too deep.
        OSError: It may not be read.
    """
    if (size := check_plain_file(path)) > MOST_BYTES:
        what = f"{path.name} has {size / 2**20:.0f} MiB, too much for a JSON file that is read as a whole."
        raise DataError(what, "Cut it into several files, or save it as JSONL.", path=path)
    try:
        return json.loads(read_text(path, encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        why = str(error) or "it is nested too deeply"
        raise DataError(f"{path.name} is no valid JSON: {why}.", "Export it again.", path=path) from error


def records(path: Path) -> Iterator[Record | Rejected]:
    """Yield the objects of a JSONL file, or of a list in a JSON file.

    Raises:
        DataError: It is neither.
        OSError: It may not be read.
    """
    if path.suffix.lower() == ".json":
        listed = read_json(path)
        if not isinstance(listed, list):
            raise DataError(f"{path.name} holds no list of texts.", "Export it as JSONL.", path=path)
        for number, value in enumerate(listed, start=1):
            yield _record(f"{path.name}, item {number}", value)
        return
    for number, line in lines(path, encoding="utf-8-sig"):
        where = f"{path.name}, line {number}"
        if line is None:
            yield Rejected(where, f"It is longer than {LONGEST:,} letters.", "Cut the text into pieces.")
        elif line.strip():
            try:
                yield _record(where, json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Rejected(where, f"It is no valid JSON: {error}.", "Correct the line, or leave it out.")


class RecordFormat(DatasetFormat):
    """Base of formats for such records: they look at the first ones, which are read once for all of them."""

    def detect(self, path: Path) -> float:
        """Look at the first records."""
        return self.look(Source(path))

    def look(self, source: Source) -> float:
        """Look at the first records, which all such formats share."""
        if source.path.suffix.lower() not in {".jsonl", ".ndjson", ".json"} or not source.path.is_file():
            return 0.0
        try:
            return self.fit(source.once(_first_records))
        except (OSError, DataError):
            return 0.0

    @abstractmethod
    def fit(self, first: Sequence[Mapping[str, Any]]) -> float:
        """Say how well it fits the first records: 0 (not at all) to 1 (certainly)."""


def _first_records(path: Path) -> list[dict[str, Any]]:
    return [item[1] for item in islice(records(path), 20) if not isinstance(item, Rejected)]


def _record(where: str, value: object) -> Record | Rejected:
    if not isinstance(value, dict):
        return Rejected(where, "It is no object with fields.", "Write it as {...}, or leave it out.")
    return where, value
