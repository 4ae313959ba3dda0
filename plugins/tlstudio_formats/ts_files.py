"""Files of labelled series as the archives of time series classification have them (``.ts`` of aeon and sktime)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Split, Task
from tlstudio_formats.encodings import detect_encoding
from tlstudio_formats.lines import LONGEST, lines
from tlstudio_formats.values import parse_number

_SPLITS: dict[str, Split] = {"_TRAIN": "train", "_TEST": "test"}


@dataclass(slots=True)
class _Header:
    labelled: bool = False
    target: bool = False
    timestamps: bool = False
    classes: list[str] = field(default_factory=list)


class TsFiles(DatasetFormat):
    """One series a line, its channels between colons and its label at the end."""

    name = "ts_files"
    title = "Labelled series (.ts)"
    description = (
        "Files of the archives of time series classification and regression: a .ts file, or a folder with those that "
        "end in _TRAIN.ts and _TEST.ts."
    )
    modality = "table"
    tasks: tuple[Task, ...] = ("classification", "regression", "anomaly_detection")

    def detect(self, path: Path) -> float:
        """Look for a header."""
        try:
            files = _files(path)
            return 0.97 if files and any("@data" in (line or "").lower() for line in _head(files[0])) else 0.0
        except (OSError, DataError, LookupError):
            return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first series."""
        chosen = api.Options.model_validate(dict(options or {}))
        files = _files(path)
        if not files:
            raise DataError(f"{path} has no .ts files.", "Choose a .ts file or a folder with some.", path=path)
        task: Task = "regression" if _header(files[0])[0].target else "classification"
        rows = []
        for item in islice(self.read(path, chosen, task), 20):
            if isinstance(item, Sample) and item.values is not None:
                first = next(iter(item.values.values()))
                shown = ", ".join(f"{number:.4g}" for number in first[:8]) if isinstance(first, tuple) else ""
                length = len(first) if isinstance(first, tuple) else 0
                rows.append({"label": str(item.label), "values": str(length), "channel 1": f"{shown}, ..."})
        return Preview(("label", "values", "channel 1"), tuple(rows), {}, task)

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a line; channels are called ``channel 1`` and so on."""
        files = _files(path)
        if not files:
            raise DataError(f"{path} has no .ts files.", "Choose a .ts file or a folder with some.", path=path)
        for file in files:
            split = next((each for ending, each in _SPLITS.items() if file.stem.endswith(ending)), None)
            yield from _samples(file, split, task, several=len(files) > 1)

    def without_labels(self) -> Mapping[str, Any]:
        """Labels that are there do no harm."""
        return {}


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() == ".ts" and file.is_file())
    return [path] if path.is_file() and path.suffix.lower() == ".ts" else []


def _head(path: Path) -> list[str]:
    return [line or "" for _, line in islice(lines(path, encoding=detect_encoding(path, 2**16).name), 500)]


def _header(path: Path) -> tuple[_Header, int]:
    """Read the header, and return with it the number of its last line.

    Raises:
        DataError: It has no end.
    """
    header = _Header()
    for number, line in enumerate(_head(path), start=1):
        words = line.strip().split()
        if not words or words[0].startswith("#"):
            continue
        key, said = words[0].lower(), [word.lower() for word in words[1:2]] == ["true"]
        if key == "@classlabel":
            header.labelled, header.classes = said, words[2:]
        elif key == "@targetlabel":
            header.labelled = header.target = said
        elif key == "@timestamps":
            header.timestamps = said
        elif key == "@data":
            return header, number
    raise DataError(f"{path.name} has no line @data behind which its series begin.", "Export it again.", path=path)


def _samples(path: Path, split: Split | None, task: Task, *, several: bool) -> Iterator[Sample | Rejected]:
    header, last = _header(path)
    if header.timestamps:
        raise DataError(
            f"{path.name} has a time stamp for each value, which is not read.",
            "Export it with values at even steps.",
            path=path,
        )
    for number, line in lines(path, encoding=detect_encoding(path).name):
        where = f"{path.name}, line {number}"
        if number <= last or (line is not None and (not line.strip() or line.startswith("#"))):
            continue
        if line is None:
            yield Rejected(where, f"It is longer than {LONGEST:,} letters.", "Cut the series.")
            continue
        parts = line.strip().split(":")
        label = parts.pop().strip() if header.labelled and len(parts) > 1 else ""
        try:
            values = {f"channel {place}": _numbers(part) for place, part in enumerate(parts, start=1)}
            told = float(label) if task == "regression" and label else label or None
        except ValueError as error:
            yield Rejected(where, f"It holds something that is no number: {error}.", "Correct it, or leave it out.")
            continue
        name = f"{path.stem} {number}" if several else f"line {number}"
        yield Sample(id=name, values=values, label=told, split=split, source=where)


def _numbers(part: str) -> tuple[float, ...]:
    numbers = []
    for word in part.split(","):
        text = word.strip()
        number = math.nan if text in ("?", "NaN", "nan", "") else parse_number(text, decimal_comma=False)
        if number is None:
            raise ValueError(f'"{text[:40]}"')
        numbers.append(number)
    return tuple(numbers)
