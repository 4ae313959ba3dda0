"""Importing recordings, what is odd about them, and reading those that are to be predicted."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tlstudio.api import DataError, Rejected
from tlstudio.api.sounds import open_sound, sound_seconds
from tlstudio.data import Revision, import_dataset, plan_import
from tlstudio.data.audit import find_problems
from tlstudio.data.statistics import sound_lengths, sound_peaks
from tlstudio.data.unlabelled import samples_in
from tlstudio.plugins import Registry


def write(path: Path, seconds: float, *, loud: float = 0.5, pitch: float = 440.0, rate: int = 8000) -> Path:
    """Write a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, loud * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate), rate)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes; a copy, a silent one, a very short one, a long one and some that cannot be used."""
    source = tmp_path / "sounds"
    for number in range(10):
        write(source / "high" / f"{number}.wav", 0.3, pitch=800 + number)
        write(source / "low" / f"{number}.flac", 0.2, pitch=200 + number)
    (source / "low" / "copy.wav").write_bytes((source / "high" / "0.wav").read_bytes())
    write(source / "low" / "silent.wav", 0.3, loud=0.0)
    write(source / "low" / "click.wav", 0.02)
    write(source / "high" / "long.flac", 31.0)
    write(source / "high" / "none.wav", 0.0)
    (source / "high" / "text.wav").write_text("this is no sound")
    return source


def bring(registry: Registry, source: Path, tmp_path: Path, *, copy: bool = True) -> tuple[Revision, dict[str, str]]:
    request, _ = plan_import(registry.formats.values(), source, copy_files=copy)
    report = import_dataset(request, tmp_path / "datasets")
    return report.revision, {item.source: item.reason for item in report.rejected}


def test_lengths_and_loudness_are_kept_and_what_is_odd_is_told(
    source: Path, registry: Registry, tmp_path: Path
) -> None:
    revision, rejected = bring(registry, source, tmp_path)
    assert (revision.modality, revision.classes) == ("audio", ("high", "low"))
    assert set(rejected) == {"high/none.wav", "high/text.wav"}
    assert "not one sample" in rejected["high/none.wav"]
    rows = {str(name): row for row, name in enumerate(revision.table.column("id").to_pylist())}
    assert sound_lengths(revision)[rows["high/1.wav"]] == pytest.approx(0.3)
    assert sound_peaks(revision)[rows["high/1.wav"]] == pytest.approx(0.5, abs=0.01)
    found = {finding.kind: set(finding.ids) for finding in find_problems(revision)}
    assert found["silent_sounds"] == {"low/silent.wav"}
    assert found["short_sounds"] == {"low/click.wav"}
    assert found["long_sounds"] == {"high/long.flac"}
    assert found["conflict"] == {"high/0.wav", "low/copy.wav"}
    stored = revision.sample(rows["low/3.flac"]).audio
    assert stored is not None
    assert stored.is_relative_to(revision.folder)
    assert stored.suffix == ".flac"


def test_recordings_may_stay_where_they_are(source: Path, registry: Registry, tmp_path: Path) -> None:
    revision, _ = bring(registry, source, tmp_path, copy=False)
    sample = revision.sample(revision.index_of("low/3.flac"))
    assert sample.audio == source / "low" / "3.flac"


def test_one_recording_a_folder_or_a_table_can_be_predicted(source: Path, registry: Registry, tmp_path: Path) -> None:
    formats = list(registry.formats.values())
    (one,) = samples_in(source / "low" / "3.flac", formats, "audio")
    assert not isinstance(one, Rejected)
    assert one.audio == source / "low" / "3.flac"
    assert len(samples_in(source, formats, "audio")) == 26
    table = tmp_path / "new.csv"
    table.write_text("what\nlow/3.flac\nlow/gone.wav\n")
    first, second = samples_in(table, formats, "audio", {"audio_column": "what", "audio_folder": str(source)})
    assert not isinstance(first, Rejected)
    assert isinstance(second, Rejected)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="There are no recordings to predict"):
        samples_in(tmp_path / "pictures", formats, "audio")


def test_the_head_of_a_file_tells_how_long_it_lasts(source: Path, tmp_path: Path) -> None:
    for path in (source / "high" / "1.wav", source / "low" / "1.flac"):
        sound, rate = open_sound(path)
        assert sound_seconds(path) == pytest.approx(len(sound) / rate)
    assert sound_seconds(source / "high" / "text.wav") == 0.0
    assert sound_seconds(tmp_path / "gone.wav") == 0.0


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes of this kind")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(DataError):
        open_sound(tmp_path / "pipe.wav")
    assert sound_seconds(tmp_path / "pipe.wav") == 0.0


@pytest.mark.parametrize(("rate", "told"), [(1, "1 samples a second"), (10_000_019, "10,000,019 samples a second")])
def test_a_rate_that_no_sound_has_is_told_instead_of_being_resampled(tmp_path: Path, rate: int, told: str) -> None:
    path = write(tmp_path / "a.wav", 100 / 8000)
    head = bytearray(path.read_bytes())
    head[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(head)
    with pytest.raises(DataError, match=told):
        open_sound(path, 16000)


def test_a_rate_that_shares_no_divisor_with_the_one_wanted_takes_no_filter_of_its_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 0.1, rate=999_983)
    open_sound(path, 8000)  # libraries are loaded by now
    tracemalloc.start()
    try:
        sound, _ = open_sound(path, 16000)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert len(sound) == pytest.approx(1600, abs=1)


def test_many_channels_of_silence_are_never_in_memory_at_once(tmp_path: Path) -> None:
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros((48_000 * 30, 8), dtype="int16"), 48_000)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert len(open_sound(path)[0]) == 48_000 * 30
        assert tracemalloc.get_traced_memory()[1] < 25_000_000  # all of them take 46 MB
    finally:
        tracemalloc.stop()


def test_no_more_is_decoded_than_is_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", 2.0)
    whole, rate = open_sound(path)
    first, _ = open_sound(path, at_most=0.5)
    np.testing.assert_array_equal(first, whole[: rate // 2])
    np.testing.assert_array_equal(open_sound(path, at_most=60.0)[0], whole)
    assert len(open_sound(path, 2 * rate, at_most=0.5)[0]) == rate
    file = path.read_bytes()
    path.write_bytes(file[: len(file) * 3 // 4])  # what is missing is not looked at
    np.testing.assert_array_equal(open_sound(path, at_most=0.5)[0], first)


@pytest.mark.parametrize("value", [3e38, 1e20])
def test_samples_far_beyond_those_of_a_sound_are_told(tmp_path: Path, value: float) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full((100, 2), value, dtype="float32"), 8000, subtype="FLOAT")
    with pytest.raises(DataError, match="samples"):
        open_sound(path)
