"""Folders of recordings with what is said in text files: LibriSpeech's layout, or one text beside each recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Split, Task
from tlstudio.api.sounds import SOUND_SUFFIXES
from tlstudio_formats.encodings import decode
from tlstudio_formats.sound_folder import why_unreadable
from tlstudio_formats.values import SPLIT_WORDS
from tlstudio_formats.walking import relative, walk

_LIST = ".trans.txt"
_MAX_BYTES = 2**24
_COUNT = 200_000
_DETECT = 2000


class TranscribedFolder(DatasetFormat):
    """Recordings at any depth, each with its transcript."""

    name = "transcribed_folder"
    title = "Folder of recordings with transcripts"
    description = (
        "A folder of recordings with what is said in them: 84-121550.trans.txt with a line for each recording beside "
        "it, as LibriSpeech has it, or hello.txt beside hello.wav."
    )
    modality = "audio"
    tasks: tuple[Task, ...] = ("speech_recognition",)

    def detect(self, path: Path) -> float:
        """Look for texts beside recordings."""
        if not path.is_dir():
            return 0.0
        files = [item for item in islice(walk(path, path), _DETECT) if isinstance(item, Path)]
        sounds = [file for file in files if file.suffix.lower() in SOUND_SUFFIXES]
        if not sounds:
            return 0.0
        names = set(files)
        if any(file.name.endswith(_LIST) for file in files):
            return 0.97
        beside = sum(sound.with_suffix(".txt") in names for sound in sounds)
        return 0.96 * beside / len(sounds)

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first recordings with their transcripts."""
        rows: list[dict[str, str]] = []
        count = 0
        notes: list[str] = []
        for item in self.read(path, self.Options(), "speech_recognition"):
            if isinstance(item, Rejected):
                if not notes:
                    notes.append(f"Some will be left out. First: {item.source}: {item.reason}")
                continue
            count += 1
            if len(rows) < 20:
                rows.append({"file": item.id, "text": str(item.label), "split": item.split or ""})
            if count >= _COUNT:
                break
        if not count:
            raise _empty(path)
        return Preview(
            columns=("file", "text", "split"),
            rows=tuple(rows),
            options={},
            task="speech_recognition",
            count=count if count < _COUNT else None,
            notes=tuple(notes),
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield every recording, sorted by path; its id is its path below the source.

        Where a transcript stands in a list, the recordings of one speaker (what comes before the first ``-`` of their
        names) are one group, and a folder such as ``train-clean-100`` says the split.
        """
        if not path.is_dir():
            raise DataError(f"{path} is not a folder.", "Choose the folder with the recordings.", path=path)
        found = False
        listed: dict[Path, dict[str, str]] = {}
        for item in walk(path, path):
            if isinstance(item, Rejected):
                yield item
                continue
            source = relative(item, path)
            if item.suffix.lower() not in SOUND_SUFFIXES:
                unreadable = why_unreadable(item, source)
                if unreadable is not None:
                    yield unreadable
                continue
            found = True
            if item.parent not in listed:
                listed = {item.parent: _listed_in(item.parent)}  # files come folder by folder
            text = listed[item.parent].get(item.stem)
            speaker = "" if text is None else item.stem.partition("-")[0]
            if text is None:
                text = _beside(item)
            if not text:
                yield Rejected(source, "It has no transcript.", f"Write what is said into {item.stem}.txt beside it.")
                continue
            yield Sample(
                id=source,
                audio=item,
                label=text,
                group=speaker,
                split=_split(item, path) if speaker else None,
                source=source,
            )
        if not found:
            raise _empty(path)


def _listed_in(folder: Path) -> dict[str, str]:
    """Transcripts by the name of the recording, of all lists in a folder."""
    texts: dict[str, str] = {}
    for file in sorted(folder.glob(f"*{_LIST}")):
        for line in (_text_of(file) or "").splitlines():
            name, _, text = line.strip().partition(" ")
            if text.strip():
                texts[name] = text.strip()
    return texts


def _beside(sound: Path) -> str:
    return " ".join((_text_of(sound.with_suffix(".txt")) or "").split())


def _text_of(file: Path) -> str | None:
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            return None
        return decode(file.read_bytes())[0].replace("\0", "")
    except OSError:
        return None


def _split(sound: Path, root: Path) -> Split | None:
    names = sound.relative_to(root).parts[:-1]
    words = (name.casefold().partition("-")[0] for name in names)
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _empty(path: Path) -> DataError:
    return DataError(
        f"There are no recordings with transcripts in {path}.",
        "Put hello.txt with what is said beside hello.wav, or a list such as 84-121550.trans.txt.",
        path=path,
    )
