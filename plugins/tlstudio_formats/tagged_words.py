"""Files with one word and its tag a line, as the shared tasks of CoNLL have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Span, Split, Task, option
from tlstudio_formats.encodings import check_encoding, detect_encoding
from tlstudio_formats.lines import lines
from tlstudio_formats.spans import marked_preview
from tlstudio_formats.values import SPLIT_WORDS

SUFFIXES = frozenset({".conll", ".conll03", ".iob", ".iob2", ".bio", ".txt", ".tsv"})
_TAG = re.compile(r"(?:[BIESLUM]-(?P<name>\S+)|[O_])$")
_BEGINS, _SINGLE = frozenset("BSU"), frozenset("SU")
_MOST_WORDS = 20_000


class TaggedWordsOptions(api.Options):
    """How files of tagged words are read."""

    tag_column: int = option(
        0, title="Tag column", help="Which column holds the tag, counted from 1; 0 takes the last.", ge=0, le=100
    )
    encoding: str = option(
        "", title="Encoding", help="Such as utf-8, cp1252 or gb18030. Empty: it is detected.", advanced=True
    )


class TaggedWords(DatasetFormat):
    """CoNLL-2003 and its kin: a word and its tag a line, a blank line behind each sentence."""

    name = "tagged_words"
    title = "Tagged words (CoNLL)"
    description = (
        "One word a line with its tag last (B-PER, I-PER, O), and a blank line behind each sentence; a file, or a "
        "folder with train, valid and test files."
    )
    modality = "text"
    tasks: tuple[Task, ...] = ("token_classification",)
    Options = TaggedWordsOptions

    def detect(self, path: Path) -> float:
        """Look for tags at the end of the first lines."""
        try:
            files = _files(path)
            return 0.95 if files and _looks_tagged(files[0][0]) else 0.0
        except (OSError, DataError, LookupError):
            return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first sentences with what is marked in them."""
        chosen = TaggedWordsOptions.model_validate(dict(options or {}))
        return marked_preview(self.read(path, chosen, "token_classification"), chosen.model_dump())

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a sentence, its words joined by spaces."""
        if not isinstance(options, TaggedWordsOptions):
            raise TypeError("options must be TaggedWordsOptions")
        files = _files(path)
        if not files:
            raise DataError(f"{path} has no files of tagged words.", "They end in .conll, .iob or .txt.", path=path)
        for file, split in files:
            yield from _sentences(file, split, options, several=len(files) > 1)

    def without_labels(self) -> Mapping[str, Any] | None:
        """Say that texts without tags are not of this format."""
        return None


def _files(path: Path) -> list[tuple[Path, Split | None]]:
    if path.is_file():
        return [(path, None)] if path.suffix.lower() in SUFFIXES else []
    if not path.is_dir():
        return []
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    named = [(file, _split_of(file)) for file in files]
    # Where some files say what they are for, the others (a README, say) are none of the data.
    return [pair for pair in named if pair[1]] or named


def _split_of(path: Path) -> Split | None:
    words = re.split(r"[\W_]+", path.stem.casefold())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _encoding(path: Path, name: str) -> str:
    return check_encoding(name) if name.strip() else detect_encoding(path).name


def _looks_tagged(path: Path) -> bool:
    found = [line.split() for _, line in islice(lines(path, encoding=_encoding(path, "")), 200) if line]
    rows = [cells for cells in found if cells and cells[0] != "-DOCSTART-" and not _is_comment(cells)]
    tagged = [len(cells) > 1 and _TAG.match(cells[-1]) is not None for cells in rows]
    begins = any(cells[-1][:2] in {"B-", "I-", "S-", "U-"} for cells in rows if len(cells) > 1)
    return bool(rows) and all(tagged[:-1] or tagged) and begins


def _is_comment(cells: Sequence[str]) -> bool:
    """Whether a line is a remark of CoNLL-U; a word such as ``#lab`` has a tag."""
    return cells[0].startswith("#") and _TAG.match(cells[-1]) is None


def _sentences(
    path: Path, split: Split | None, options: TaggedWordsOptions, *, several: bool
) -> Iterator[Sample | Rejected]:
    words: list[tuple[str, str]] = []
    first, wrong = 1, ""
    for number, line in _with_end(lines(path, encoding=_encoding(path, options.encoding))):
        cells = ["too long"] if line is None else line.split()
        if cells and (cells[0] == "-DOCSTART-" or (_is_comment(cells) and not words)):
            continue
        if not cells:
            where = f"{path.name}, line {first}"
            if wrong:
                yield Rejected(where, wrong, "Correct it, or leave the sentence out.")
            elif words:
                yield _sample(words, f"{path.stem} {first}" if several else f"line {first}", where, split)
            words, wrong = [], ""
            continue
        if not words and not wrong:
            first = number
        place = options.tag_column - 1 if options.tag_column else len(cells) - 1
        if wrong:
            continue
        if len(cells) < 2 or place >= len(cells):
            wrong = f'Line {number} has no tag: "{" ".join(cells)[:80]}".'
        elif not _TAG.match(cells[place]):
            wrong = f'The tag "{cells[place][:80]}" in line {number} is neither O nor like B-PER.'
        elif len(words) >= _MOST_WORDS:
            wrong = f"It has more than {_MOST_WORDS:,} words."
        else:
            words.append((cells[0].replace("\0", ""), cells[place]))


def _with_end(numbered: Iterator[tuple[int, str | None]]) -> Iterator[tuple[int, str | None]]:
    yield from numbered
    yield 0, ""  # the last sentence may lack its blank line


def _sample(words: list[tuple[str, str]], name: str, where: str, split: Split | None) -> Sample:
    """Join words to a text; a tag that goes on with what has not begun begins it, as conlleval takes it."""
    spans: list[Span] = []
    start, inside = 0, ""
    for word, tag in words:
        kind, _, label = tag.partition("-")
        end = start + len(word)
        if not label:
            inside = ""
        elif kind in _BEGINS or inside != label:
            spans.append(Span(label, start, end))
            inside = "" if kind in _SINGLE else label
        else:
            spans[-1] = Span(label, spans[-1].start, end)
            inside = "" if kind in "EL" else label
        start = end + 1
    return Sample(id=name, text=" ".join(word for word, _ in words), label=tuple(spans), split=split, source=where)
