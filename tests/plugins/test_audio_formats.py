"""Formats of recordings: folders by class, tables, transcripts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Task
from tlstudio.data.planning import detect_all, suggest_options
from tlstudio.testing import check_format
from tlstudio_formats.sound_folder import SoundFolder
from tlstudio_formats.sound_table import SoundTable
from tlstudio_formats.text_table import TextTable
from tlstudio_formats.transcribed_folder import TranscribedFolder

FORMATS: list[DatasetFormat] = [SoundFolder(), SoundTable(), TranscribedFolder(), TextTable()]


def sound(path: Path, pitch: float = 440.0, *, seconds: float = 0.2, rate: int = 8000) -> Path:
    """Write a tone in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * time), rate)
    return path


def best(path: Path) -> DatasetFormat:
    return detect_all(FORMATS, path)[0][0][1]


def read(path: Path, task: Task, **options: Any) -> tuple[Preview, list[Sample], dict[str, Rejected]]:
    """Read a source as an import does."""
    chosen = best(path)
    filled, preview = suggest_options(chosen, path, options)
    items = list(chosen.read(path, filled, task))
    rejected = {item.source: item for item in items if isinstance(item, Rejected)}
    return preview, [item for item in items if isinstance(item, Sample)], rejected


def test_a_folder_by_class_is_read_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    sound(tmp_path / "high" / "a.wav", 900)
    sound(tmp_path / "high" / "b.flac", 900)
    sound(tmp_path / "low" / "c.ogg", 200)
    (tmp_path / "low" / "d.m4a").write_bytes(b"something")
    (tmp_path / "low" / "notes.pdf").write_bytes(b"something")
    preview, samples, rejected = read(tmp_path, "classification")
    assert preview.task == "classification"
    assert [(item.id, item.label) for item in samples] == [
        ("high/a.wav", "high"),
        ("high/b.flac", "high"),
        ("low/c.ogg", "low"),
    ]
    assert all(item.audio is not None and item.image is None for item in samples)
    assert rejected["low/d.m4a"].reason == "M4A files cannot be read."
    assert len(check_format(SoundFolder(), tmp_path, "classification")) == 3


def test_a_table_with_labels_finds_the_folder_of_its_recordings(tmp_path: Path) -> None:
    for number in range(6):
        sound(tmp_path / "clips" / f"{number}.wav")
    rows = [[f"{number}.wav", "cat" if number % 2 else "dog", f"p{number // 2}"] for number in range(6)]
    with (tmp_path / "sounds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "species", "patient"], *rows, ["gone.wav", "cat", "p9"], ["", "dog", ""]])
    preview, samples, rejected = read(tmp_path / "sounds.csv", "classification")
    assert (preview.options["audio_column"], preview.options["audio_folder"]) == ("file", "clips")
    assert (preview.options["label_column"], preview.task) == ("species", "classification")
    assert [item.label for item in samples] == ["dog", "cat"] * 3
    assert [item.group for item in samples] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert "There is no recording gone.wav" in rejected["sounds.csv, row 8"].reason
    assert rejected["sounds.csv, row 9"].reason == "It names no recording."


def test_a_tsv_as_common_voice_writes_it_is_for_speech_recognition(tmp_path: Path) -> None:
    names = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]
    sentences = ["The sea is wide.", "Go forward ten meters.", "And so, my fellow Americans", "One two three"]
    for number in range(4):
        sound(tmp_path / "clips" / f"common_voice_en_{number}.mp3", rate=16000)
    with (tmp_path / "validated.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(names)
        for number, sentence in enumerate(sentences):
            path = f"common_voice_en_{number}.mp3"
            writer.writerow([f"speaker{number // 2}", path, sentence, 2, number % 2, "", "female", "us"])
    preview, samples, rejected = read(tmp_path / "validated.tsv", "speech_recognition")
    assert isinstance(best(tmp_path / "validated.tsv"), SoundTable)
    assert preview.task == "speech_recognition"
    assert preview.options["label_column"] == "sentence"
    assert [item.label for item in samples] == sentences
    assert [item.group for item in samples] == ["speaker0", "speaker0", "speaker1", "speaker1"]
    assert not rejected


def test_json_lines_with_transcripts_are_for_speech_recognition(tmp_path: Path) -> None:
    for number in range(3):
        sound(tmp_path / f"{number}.flac")
    records = [{"audio_filepath": f"{n}.flac", "duration": 0.2, "text": f"word {n}"} for n in range(3)]
    source = tmp_path / "manifest.jsonl"
    source.write_text("\n".join(map(json.dumps, [*records, {"audio_filepath": "1.flac", "text": ""}])))
    preview, samples, rejected = read(source, "speech_recognition")
    assert preview.task == "speech_recognition"
    assert [item.label for item in samples] == ["word 0", "word 1", "word 2"]
    assert [item.reason for item in rejected.values()] == ["It has no label."]


def test_a_folder_as_librispeech_has_it_gives_speakers_and_splits(tmp_path: Path) -> None:
    for split, speaker in (("train-clean-100", "84"), ("dev-clean", "91")):
        folder = tmp_path / split / speaker / "121"
        for number in range(2):
            sound(folder / f"{speaker}-121-000{number}.flac", rate=16000)
        lines = [f"{speaker}-121-000{number} GO FORWARD {speaker}" for number in range(1 if speaker == "91" else 2)]
        (folder / f"{speaker}-121.trans.txt").write_text("\n".join(lines))
    preview, samples, rejected = read(tmp_path, "speech_recognition")
    assert isinstance(best(tmp_path), TranscribedFolder)
    assert (preview.task, preview.count) == ("speech_recognition", 3)
    assert [(item.group, item.split, item.label) for item in samples] == [
        ("91", "validation", "GO FORWARD 91"),
        ("84", "train", "GO FORWARD 84"),
        ("84", "train", "GO FORWARD 84"),
    ]
    assert rejected["dev-clean/91/121/91-121-0001.flac"].reason == "It has no transcript."
    assert len(check_format(TranscribedFolder(), tmp_path, "speech_recognition")) == 3


def test_texts_beside_recordings_are_their_transcripts(tmp_path: Path) -> None:
    for name in ("hello", "bye"):
        sound(tmp_path / f"{name}.wav")
        (tmp_path / f"{name}.txt").write_text(f"\n{name}\nworld ", encoding="utf-8")
    sound(tmp_path / "mute.wav")
    _, samples, rejected = read(tmp_path, "speech_recognition")
    assert {item.id: item.label for item in samples} == {"hello.wav": "hello world", "bye.wav": "bye world"}
    assert rejected["mute.wav"].remedy == "Write what is said into mute.txt beside it."


@pytest.mark.parametrize("format_", [SoundFolder(), SoundTable(), TranscribedFolder()], ids=lambda item: item.name)
def test_an_empty_folder_and_a_damaged_table_are_told_in_a_sentence(format_: DatasetFormat, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    table = tmp_path / "t.csv"
    table.write_bytes(b"\x00\xff\xfe,\n")
    for source in (folder, table, tmp_path / "none"):
        assert 0 <= format_.detect(source) <= 1
        with pytest.raises(DataError):
            list(format_.read(source, format_.Options(), "classification"))
