"""Recordings, from a folder, a table or transcripts to predictions and an export."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import Tlstudio
from tests.cli.serving import serving
from tests.plugins.audio_models import write_audio_model, write_speech_model

RATE = 8000
PITCHES = {"a": 400.0, "b": 900.0, "c": 1700.0, "d": 2900.0, " ": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small wav2vec 2.0 of random weights, as transformers writes it."""
    sizes = {"hidden_size": 32, "conv_dim": (32, 32, 32), "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8)}
    dropouts = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")
    return write_audio_model(tmp_path_factory.mktemp("model"), "wav2vec2", **sizes, **dict.fromkeys(dropouts, 0.0))


@pytest.fixture
def project(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    assert tlstudio("new", folder).code == 0
    return folder


def say(path: Path, letters: str, each: float = 0.06, *, seed: int = 0, rate: int = RATE, channels: int = 1) -> Path:
    """Write a tone for each letter, and a little noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(each * rate)) / rate
    sound = np.concatenate([0.4 * np.sin(2 * np.pi * PITCHES[letter] * time) for letter in letters])
    sound = sound + 0.005 * np.random.default_rng(seed).standard_normal(len(sound))
    soundfile.write(path, sound if channels == 1 else np.stack([sound] * channels, axis=1), rate)
    return path


def trained(
    tlstudio: Tlstudio, project: Path, model: Path, options: dict[str, Any], backbone: str = "auto_audio"
) -> Any:
    """Train and export; returns what the training told."""
    values = {
        "backbone.weights": model,
        "training.learning_rate": 0.003,
        "training.batch_size": 8,
        "training.threads": 1,
        **options,
    }
    words = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
    result = tlstudio("train", project, "--backbone", backbone, "--strategy", "full", *words, "--json")
    assert result.code == 0, result.err
    exported = tlstudio("export", project, "latest", project.parent / "model")
    assert exported.code == 0, exported.err
    return {**result.json, "err": result.err}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_recordings_are_told_apart_from_a_folder_to_a_served_model(
    tlstudio: Tlstudio, project: Path, model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "sounds"
    for number in range(20):
        say(source / "low" / f"{number}.wav", "aa", seed=number, channels=1 + number % 2)
        say(source / "high" / f"{number}.flac", "cc", seed=100 + number, rate=(8000, 16000, 44100)[number % 3])
    (source / "low" / "broken.wav").write_bytes(b"RIFF and no more")
    soundfile.write(source / "low" / "empty.wav", np.zeros(0), RATE)
    imported = tlstudio("import", project, source, "--json")
    assert imported.code == 0, imported.err
    reasons = {item["source"]: item["reason"] for item in imported.json["rejected"]}
    assert "is not a sound that can be read" in reasons["low/broken.wav"]
    assert "has no length" in reasons["low/empty.wav"]
    told = trained(tlstudio, project, model, {"training.epochs": 4})
    assert told["metrics"]["test"]["accuracy"] == 1.0
    assert [row["name"] for row in tlstudio("evaluate", project, "latest", "--json").json["per_class"]] == [
        "high",
        "low",
    ]
    new = tmp_path / "new"
    say(new / "1.wav", "ccc", seed=500, rate=48000)
    say(new / "deep" / "2.ogg", "a", seed=501, rate=22050)
    by_run = tlstudio("predict", project, new, "--output", tmp_path / "run.csv")
    by_export = tlstudio("predict", tmp_path / "model", new, "--output", tmp_path / "export.csv")
    assert (by_run.code, by_export.code) == (0, 0), by_run.err + by_export.err
    found = rows_of(tmp_path / "run.csv")
    assert found == rows_of(tmp_path / "export.csv")
    assert {Path(row["source"]).name: row["prediction"] for row in found} == {"1.wav": "high", "2.ogg": "low"}
    one = tlstudio("predict", tmp_path / "model", new / "1.wav", "--json").json["predictions"][0]
    assert one["prediction"] == "high"
    refused = tlstudio("predict", tmp_path / "model", "--text", "hello")
    assert refused.code != 0
    assert "takes recordings, not texts" in refused.err
    assert 'audio=Path("recording.wav")' in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    with serving(tmp_path / "model", home=tmp_path / "home") as served:
        status, said = served.json("POST", "/predict", (new / "1.wav").read_bytes(), Content_Type="audio/wav")
        assert status == 200
        assert said["predictions"][0]["prediction"] == "high"
        status, said = served.json("POST", "/predict", b"no sound", Content_Type="audio/wav")
        assert status == 422
        assert said["error"].startswith("The upload is not a sound that can be read")
        status, said = served.json("POST", "/predict", b"{}", Content_Type="application/json")
        assert status == 415
        assert "This model takes recordings" in said["error"]


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_table_of_recordings_is_learned_for_other_tasks(
    task: str, tlstudio: Tlstudio, project: Path, model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "sounds.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        for number, (first, second) in enumerate([*itertools.product("abc", repeat=2)] * 3):
            say(tmp_path / "clips" / f"{number}.wav", first + second, seed=number, rate=8000)
            label = "|".join(sorted({first, second})) if task == "multi_label" else PITCHES[first]
            writer.writerow([f"{number}.wav", label])
    imported = tlstudio("import", project, source, "--task", task, "--json")
    assert imported.code == 0, imported.err
    told = trained(tlstudio, project, model, {"training.epochs": 2, "backbone.max_seconds": 0.1})
    assert set(told["metrics"]["test"]) >= ({"f1_macro"} if task == "multi_label" else {"mae", "rmse"})
    (events,) = (project / "runs").rglob("events.jsonl")
    cuts = [
        line
        for line in events.read_text(encoding="utf-8").splitlines()
        if "longer than the 0.1 s that the model takes" in line
    ]
    assert len(cuts) == 1, "said once"
    assert "8,000 samples a second; it is brought to the 16,000 that the model takes, and nothing in it is above" in (
        events.read_text(encoding="utf-8")
    )
    done = tlstudio("predict", tmp_path / "model", source, "--audio-column", "file", "--output", tmp_path / "out.csv")
    assert done.code == 0, done.err
    assert len(rows_of(tmp_path / "out.csv")) == 27


def test_what_is_said_is_written_down_from_transcripts_to_a_table(
    tlstudio: Tlstudio, project: Path, model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "speech"
    phrases = ["".join(letters) for letters in itertools.permutations("abcd", 3)]
    lines: dict[str, list[str]] = {}
    for number, phrase in enumerate(phrases * 3):
        speaker = f"{number % 18}"
        name = f"{speaker}-1-{number:04}"
        say(source / speaker / "1" / f"{name}.flac", f"{phrase[:2]} {phrase[2]}", seed=number, rate=16000)
        lines.setdefault(speaker, []).append(f"{name} {phrase[:2].upper()} {phrase[2].upper()}")
    for speaker, listed in lines.items():
        (source / speaker / "1" / f"{speaker}-1.trans.txt").write_text("\n".join(listed), encoding="utf-8")
    imported = tlstudio("import", project, source, "--json")
    assert imported.code == 0, imported.err
    told = trained(tlstudio, project, model, {"training.epochs": 16})
    assert told["metrics"]["test"]["cer"] < 0.1
    assert set(told["metrics"]["test"]) == {"loss", "wer", "cer"}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["head"]["name"] == "ctc"
    assert tlstudio("evaluate", project, "latest", "--json").code == 0
    new = say(tmp_path / "new.wav", "ab c", seed=900)
    one = tlstudio("predict", tmp_path / "model", new, "--json").json["predictions"][0]
    assert one["prediction"] == "ab c"
    assert 0 < one["confidence"] <= 1
    by_run = tlstudio("predict", project, new, "--json").json["predictions"][0]
    assert by_run["prediction"] == "ab c"
    done = tlstudio("predict", tmp_path / "model", source, "--output", tmp_path / "out.csv")
    assert done.code == 0, done.err
    assert len(rows_of(tmp_path / "out.csv")) == 72


def test_whisper_learns_to_write_from_a_table_of_transcripts(
    tlstudio: Tlstudio, project: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    whisper = write_speech_model(
        tmp_path_factory.mktemp("whisper"), d_model=32, dropout=0.0, encoder_layers=1, decoder_layers=1
    )
    source = tmp_path / "speech.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "transcript"])
        for number, (tone, word) in enumerate([("a", "Sea."), ("b", "Sky."), ("c", "Ice.")] * 24):
            say(tmp_path / "clips" / f"{number}.wav", tone, 0.2, seed=number)
            writer.writerow([f"{number}.wav", word])
    imported = tlstudio("import", project, source, "--name", "speech", "--task", "speech_recognition", "--json")
    assert imported.code == 0, imported.err
    options = {"training.epochs": 16, "training.learning_rate": 0.005, "head.max_new_tokens": 8}
    told = trained(tlstudio, project, whisper, options, "speech_model")
    assert set(told["metrics"]["test"]) == {"loss", "perplexity", "token_accuracy", "wer", "cer"}
    assert told["metrics"]["test"]["wer"] == 0.0
    assert json.loads((tmp_path / "model" / "config.json").read_text())["head"]["name"] == "speech_writing"
    new = say(tmp_path / "new.wav", "b", 0.2, seed=900)
    by_run = tlstudio("predict", project, new, "--json").json["predictions"][0]
    by_export = tlstudio("predict", tmp_path / "model", new, "--json").json["predictions"][0]
    assert by_run["prediction"] == by_export["prediction"] == "Sky."
