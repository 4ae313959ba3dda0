"""Files with one word and its tag a line, as the shared tasks of CoNLL have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Span, Split, Task, option
from tlstudio_formats.encodings import check_encoding, detect_encoding
from tlstudio_formats.lines import LONGEST, lines
from tlstudio_formats.spans import marked_preview
from tlstudio_formats.values import SPLIT_WORDS

_OWN_SUFFIXES = frozenset({".conll", ".conll03", ".iob", ".iob2", ".bio"})
_SPLITS: dict[str, Split] = {**SPLIT_WORDS, "testa": "validation", "testb": "test"}  # eng.testa: that of CoNLL-2003
SUFFIXES = _OWN_SUFFIXES | {".txt", ".tsv", ".train", ".dev", ".valid", ".test", ".testa", ".testb"}
_TAG = re.compile(r"(?:[BIESLUM]-(?P<name>\S+)|[O_])$")
_BEGINS, _SINGLE = frozenset("BSU"), frozenset("SU")
_MOST_WORDS = 20_000
_COUNT_BYTES = 2**24
_TAGGED = 0.9  # of the first lines; what is wrong with the others is told one by one


class TaggedWordsOptions(api.Options):
    """How files of tagged words are read."""

    tag_column: int = option(
        0, title="Tag column", help="Which column holds the tag, counted from 1; 0 takes the last.", ge=0, le=100
    )
    encoding: str = option(
        "", title="Encoding", help="Such as utf-8, cp1252 or gb18030. Empty: it is detected.", advanced=True
    )
    labels: Literal["tags", "none"] = option(
        "tags",
        title="Labels",
        help="none: the words alone, the first of each line, with or without tags.",
        advanced=True,
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
            if not files:
                return 0.0
            # By its name it can be nothing else: what is wrong with it is told line by line.
            otherwise = 0.2 if files[0][0].suffix.lower() in _OWN_SUFFIXES else 0.0
            return 0.95 if _looks_tagged(files[0][0]) else otherwise
        except (OSError, DataError, LookupError):
            return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first sentences with what is marked in them."""
        chosen = TaggedWordsOptions.model_validate(dict(options or {}))
        preview = marked_preview(self.read(path, chosen, "token_classification"), chosen.model_dump())
        files = _files(path)
        told = ", ".join(f"{file.name} ({split})" if split else file.name for file, split in files[:10])
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        short = sum(file.stat().st_size for file, _ in files) <= _COUNT_BYTES
        count = sum(1 for _ in self.read(path, chosen, "token_classification")) if short else None
        return replace(preview, count=count, notes=(f"Read are {told}{more}.",) if path.is_dir() else ())

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a sentence, its words joined by spaces."""
        if not isinstance(options, TaggedWordsOptions):
            raise TypeError("options must be TaggedWordsOptions")
        files = _files(path)
        if not files:
            raise DataError(f"{path} has no files of tagged words.", "They end in .conll, .iob or .txt.", path=path)
        for file, split in files:
            yield from _sentences(file, split, options, several=len(files) > 1)

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the tags out, where there are any."""
        return {"labels": "none"}


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
    words = re.split(r"[\W_]+", path.name.casefold())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _encoding(path: Path, name: str) -> str:
    return check_encoding(name) if name.strip() else detect_encoding(path).name


def _looks_tagged(path: Path) -> bool:
    found = [line.split() for _, line in islice(lines(path, encoding=_encoding(path, "")), 200) if line]
    rows = [cells for cells in found if cells and cells[0] != "-DOCSTART-" and not _is_comment(cells)]
    tagged = [len(cells) > 1 and _TAG.match(cells[-1]) is not None for cells in rows]
    begins = any(cells[-1][:2] in {"B-", "I-", "S-", "U-"} for cells in rows if len(cells) > 1)
    return begins and sum(tagged) >= _TAGGED * len(rows)


def _is_comment(cells: Sequence[str]) -> bool:
    """Whether a line is a remark of CoNLL-U; a word such as ``#lab`` has a tag."""
    return cells[0].startswith("#") and _TAG.match(cells[-1]) is None


def _sentences(
    path: Path, split: Split | None, options: TaggedWordsOptions, *, several: bool
) -> Iterator[Sample | Rejected]:
    words: list[tuple[str, str]] = []
    first = 1
    wrong: Rejected | None = None
    for number, line in _with_end(lines(path, encoding=_encoding(path, options.encoding))):
        cells = [""] if line is None else line.split()
        if cells and (cells[0] == "-DOCSTART-" or (_is_comment(cells) and not words)):
            continue
        if not cells:
            if wrong:
                yield wrong
            elif words:
                name = f"{path.stem} {first}" if several else f"line {first}"
                yield _sample(words, name, f"{path.name}, line {first}", split, marked=options.labels == "tags")
            words, wrong = [], None
        elif not wrong:
            first = first if words else number
            tag, why = _tag(cells, options)
            if line is None:
                why = f"It is longer than {LONGEST:,} letters."
            elif len(words) >= _MOST_WORDS:
                why = f"Its sentence has more than {_MOST_WORDS:,} words."
            words.append((cells[0].replace("\0", ""), tag))
            if why:
                wrong = Rejected(f"{path.name}, line {number}", why, "Correct it, or leave its sentence out.")


def _tag(cells: Sequence[str], options: TaggedWordsOptions) -> tuple[str, str]:
    """The tag of a word, and why it has none."""
    if options.labels == "none":
        return "O", ""
    place = options.tag_column - 1 if options.tag_column else len(cells) - 1
    if len(cells) < 2 or place >= len(cells):
        return "O", f'It has no tag: "{" ".join(cells)[:80]}".'
    tag = cells[place]
    return tag, "" if _TAG.match(tag) else f'Its tag "{tag[:80]}" is neither O nor like B-PER.'


def _with_end(numbered: Iterator[tuple[int, str | None]]) -> Iterator[tuple[int, str | None]]:
    yield from numbered
    yield 0, ""  # the last sentence may lack its blank line


def _sample(words: list[tuple[str, str]], name: str, where: str, split: Split | None, *, marked: bool) -> Sample:
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
    text = " ".join(word for word, _ in words)
    return Sample(id=name, text=text, label=tuple(spans) if marked else None, split=split, source=where)
