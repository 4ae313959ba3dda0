"""Plain texts that a language model learns to go on with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Split, Task, option
from tlstudio.api.files import check_plain_file
from tlstudio_formats.encodings import decode
from tlstudio_formats.walking import relative, walk

_SUFFIXES = {".txt", ".text", ".md"}
_MAX_BYTES = 2**28
# A word with the white space before it; of scripts without spaces, a sign.
_WORD = re.compile(r"\s*(?:[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u0e00-\u0eff\u3040-\u9fff]+)")


class RunningTextOptions(api.Options):
    """How texts are cut into pieces."""

    words: int = option(
        150,
        title="Words in a piece",
        help="Texts are cut into pieces of so many words. A word has one to two tokens: a piece should fit what the "
        "model takes.",
        ge=8,
        le=100_000,
    )
    given: int = option(
        30,
        title="Words given",
        help="The first words of a piece are given, and how it goes on is learned.",
        ge=1,
        le=50_000,
    )
    validation_share: float = option(
        0.15,
        title="Validation",
        help="Share of a single text that is for validation: what comes before its end. Of several files, whole ones "
        "are.",
        gt=0,
        le=0.4,
    )
    test_share: float = option(
        0.15, title="Test", help="Share of a single text that is for test: its end.", gt=0, le=0.4
    )


class RunningText(DatasetFormat):
    """One text file or a folder of them, cut into pieces: how each begins, and how it goes on."""

    name = "running_text"
    title = "Running text"
    description = (
        "A .txt file or a folder of them, at any depth, for a language model that is to learn how such texts go on: "
        "reports, articles, a language."
    )
    modality = "text"
    tasks: tuple[Task, ...] = ("generation", "pretraining")
    Options = RunningTextOptions

    def detect(self, path: Path) -> float:
        """Say that any text might be meant; folders of classes and single texts go before."""
        if path.is_file():
            return 0.2 if path.suffix.lower() in _SUFFIXES else 0.0
        return 0.2 if path.is_dir() and next(iter(_files(path)), None) is not None else 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first pieces."""
        chosen = RunningTextOptions.model_validate(dict(options or {}))
        rows = [
            {"given": (item.text or "")[:300], "goes on": str(item.label)[:300]}
            for item in islice(self.read(path, chosen, "generation"), 20)
            if isinstance(item, Sample)
        ]
        return Preview(("given", "goes on"), tuple(rows), options=chosen.model_dump(), task="generation")

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield the pieces; those of one file stay in one split, and a single one is cut where it goes on."""
        if not isinstance(options, RunningTextOptions):
            raise TypeError("options must be RunningTextOptions")
        if options.given >= options.words:
            raise DataError(
                f"{options.given} words of each piece are given, and it has only {options.words}.",
                "Give fewer words, or make longer pieces.",
                field="given",
            )
        files = [path] if path.is_file() else list(_files(path))
        if not files:
            raise DataError(f"There are no text files in {path}.", "Choose a .txt file or a folder of them.", path=path)
        for file in files:
            name = relative(file, path) if file != path else path.name
            for item in _pieces(file, name, options, len(files) > 1):
                if task == "pretraining" and isinstance(item, Sample):
                    item = replace(item, text=f"{item.text} {item.label}".strip(), label=None)
                yield item


def _files(folder: Path) -> Iterator[Path]:
    return (item for item in walk(folder, folder) if isinstance(item, Path) and item.suffix.lower() in _SUFFIXES)


def _pieces(file: Path, name: str, options: RunningTextOptions, several: bool) -> Iterator[Sample | Rejected]:
    try:
        if check_plain_file(file) > _MAX_BYTES:
            yield Rejected(name, f"It is larger than {_MAX_BYTES // 2**20} MiB.", "Cut it into several files.")
            return
        text = decode(file.read_bytes())[0].replace("\0", "")
    except (OSError, DataError) as error:
        yield Rejected(name, f"The file cannot be read: {error}.", "Check its access rights.")
        return
    found = [match.group() for match in _WORD.finditer(text)]
    # What is left over at the end joins nothing: it would be shorter than what is given.
    starts = range(0, len(found) - options.given, options.words)
    for number, start in enumerate(starts, start=1):
        piece = found[start : start + options.words]
        given, rest = ("".join(part).strip() for part in (piece[: options.given], piece[options.given :]))
        where, split = f"{name}, piece {number}", None if several else _split(number, len(starts), options)
        yield Sample(where, text=given, label=rest, group=name if several else "", split=split, source=where)
    if not starts:
        yield Rejected(name, f"It has only {len(found)} words.", "Give fewer words of each piece, or leave it out.")


def _split(number: int, count: int, options: RunningTextOptions) -> Split | None:
    """Where a piece of a single text belongs: neighbours in different splits would tell on each other."""
    if count < 3:
        return None
    test, validation = (max(1, round(count * share)) for share in (options.test_share, options.validation_share))
    if number > count - test:
        return "test"
    return "validation" if number > count - test - validation else "train"
