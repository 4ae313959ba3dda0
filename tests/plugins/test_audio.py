"""Backbones for recordings, on real files and on models of every named family as transformers writes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from tests.plugins.audio_models import FAMILIES, write_audio_model
from tlstudio.api import DataError, Sample, WeightsError
from tlstudio.api.nn import BackboneModule
from tlstudio.testing import check_backbone
from tlstudio_audio.augment import mask_bands, vary
from tlstudio_audio.backbones import AudioModelBackbone
from tlstudio_audio.network import SoundNetwork
from tlstudio_audio.preprocessor import SoundPreprocessor

BACKBONE = AudioModelBackbone()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by being shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each family; the tests do not change them."""
    root = tmp_path_factory.mktemp("models")
    return {family: write_audio_model(root / family, family) for family in FAMILIES}


def tone(path: Path, seconds: float, rate: int = 16000, pitch: float = 440.0, **settings: Any) -> Sample:
    """Write a tone as the name says and return its sample."""
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time), rate, **settings)
    return Sample(path.stem, audio=path, label="a", source=path.name)


@pytest.fixture
def sounds(tmp_path: Path) -> list[Sample]:
    """Three sounds of different lengths and rates."""
    return [
        tone(tmp_path / "a.wav", 0.3, 8000),
        tone(tmp_path / "b.flac", 0.55, 16000),
        tone(tmp_path / "c.wav", 0.11, 44100),
    ]


def options(weights: Path | str, **values: Any) -> Any:
    return BACKBONE.Options.model_validate({"weights": str(weights), **values})


def loaded(folder: Path, **values: Any) -> tuple[BackboneModule, SoundPreprocessor]:
    chosen = options(folder, **values)
    return BACKBONE.load(chosen).eval(), BACKBONE.preprocessor(chosen)


def _numpy_state() -> str:
    return str(np.random.get_state())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_folder_keeps_the_contract(
    family: str, folders: dict[str, Path], sounds: list[Sample], tmp_path: Path
) -> None:
    check_backbone(BACKBONE, sounds, tmp_path, options=options(folders[family]))


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_no_token_and_the_mask_counts_them(
    family: str, folders: dict[str, Path], sounds: list[Sample]
) -> None:
    module, preprocess = loaded(folders[family])
    items = [preprocess(sample) for sample in sounds]
    with torch.no_grad():
        together = module(preprocess.collate(items))
        assert together.tokens is not None
        assert together.mask is not None
        for row, item in enumerate(items):
            alone = module(preprocess.collate([item]))
            real = together.mask[row]
            assert int(alone.mask.sum()) == int(real.sum()) > 0
            torch.testing.assert_close(alone.tokens[0][alone.mask[0]], together.tokens[row][real])
    counts = together.mask.sum(dim=1)
    assert counts[1] > counts[0] > counts[2], "longer sounds have more tokens"


@pytest.mark.parametrize(
    ("family", "name"), [("wav2vec2", "Wav2Vec2Model"), ("hubert", "HubertModel"), ("ast", "ASTModel")]
)
def test_tokens_are_those_that_transformers_computes(
    family: str, name: str, folders: dict[str, Path], sounds: list[Sample]
) -> None:
    import transformers

    library: Any = transformers  # without types
    reference = getattr(library, name).from_pretrained(folders[family]).eval()
    extractor = library.AutoFeatureExtractor.from_pretrained(folders[family])
    samples, rate = soundfile.read(str(sounds[1].audio), dtype="float32")
    module, preprocess = loaded(folders[family])
    with torch.no_grad():
        expected = reference(extractor(samples, sampling_rate=rate, return_tensors="pt")["input_values"])
        features = module(preprocess.collate([preprocess(sounds[1])]))
    if family == "ast":
        torch.testing.assert_close(features.pooled, expected.pooler_output)
    else:
        torch.testing.assert_close(features.tokens, expected.last_hidden_state)
        torch.testing.assert_close(features.pooled, expected.last_hidden_state.mean(dim=1))


def test_the_encoder_of_whisper_is_that_of_transformers(folders: dict[str, Path], sounds: list[Sample]) -> None:
    from transformers import WhisperFeatureExtractor, WhisperModel

    kind: Any = WhisperModel
    reference = kind.from_pretrained(folders["whisper"]).eval().get_encoder()
    extractor: Any = WhisperFeatureExtractor.from_pretrained(folders["whisper"])
    samples, rate = soundfile.read(str(sounds[1].audio), dtype="float32")
    module, preprocess = loaded(folders["whisper"])
    with torch.no_grad():
        expected = reference(extractor(samples, sampling_rate=rate, return_tensors="pt")["input_features"])
        features = module(preprocess.collate([preprocess(sounds[1])]))
    torch.testing.assert_close(features.tokens, expected.last_hidden_state)


def test_any_rate_any_channels_and_any_depth_are_heard_alike(folders: dict[str, Path], tmp_path: Path) -> None:
    preprocess = loaded(folders["wav2vec2"])[1]
    plain = preprocess(tone(tmp_path / "plain.wav", 0.5))["input_values"]
    for name, rate, subtype in (
        ("cd.wav", 44100, "PCM_16"),
        ("old.wav", 8000, "PCM_U8"),
        ("big.flac", 48000, "PCM_24"),
    ):
        other = preprocess(tone(tmp_path / name, 0.5, rate, subtype=subtype))["input_values"]
        assert len(other) == len(plain)
        inner = slice(800, -800)
        assert float((other[inner] - plain[inner]).abs().max()) < 0.1, name
    time = np.arange(8000) / 16000
    left = 0.6 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, 0 * left], axis=1), 16000)
    stereo = preprocess(Sample("s", audio=tmp_path / "stereo.wav"))["input_values"]
    torch.testing.assert_close(stereo, plain, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ["wav2vec2", "ast", "whisper"])
def test_silence_and_a_single_sample_give_finite_features(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    module, preprocess = loaded(folders[family])
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 16000)
    soundfile.write(tmp_path / "click.wav", np.array([0.5]), 16000)
    samples = [Sample(name, audio=tmp_path / f"{name}.wav") for name in ("silent", "click")]
    with torch.no_grad():
        features = module(preprocess.collate([preprocess(sample) for sample in samples]))
    assert features.pooled is not None
    assert torch.isfinite(features.pooled).all()
    assert features.mask is not None
    assert features.mask.any(dim=1).all()


def test_what_is_no_recording_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    preprocess = loaded(folders["wav2vec2"])[1]
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    (tmp_path / "text.wav").write_text("this is no sound")
    for name, sentence in (
        ("none", "has no length"),
        ("text", "is not a sound that can be read"),
        ("gone", "no longer"),
    ):
        with pytest.raises(DataError, match=sentence):
            preprocess(Sample(name, audio=tmp_path / f"{name}.wav"))
    with pytest.raises(DataError, match="has no recording"):
        preprocess(Sample("1", text="a text"))


@pytest.mark.parametrize(("family", "seconds"), [("wav2vec2", 0.4), ("ast", 0.4), ("ast", 20), ("whisper", 20)])
def test_long_recordings_are_cut_and_known(
    family: str, seconds: float, folders: dict[str, Path], tmp_path: Path
) -> None:
    preprocess = loaded(folders[family], max_seconds=seconds)[1]
    longest = min(seconds, {"ast": (400 + 63 * 160) / 16000, "whisper": 1.0}.get(family, seconds))
    assert preprocess.limit == f"{longest:g} s"
    long, short = tone(tmp_path / "long.wav", longest + 0.3, 8000), tone(tmp_path / "short.wav", longest, 8000)
    assert preprocess.is_cut(long)
    assert not preprocess.is_cut(short)
    assert preprocess(long)["length"] == preprocess(short)["length"]
    if family == "wav2vec2":
        assert preprocess.length(long) == preprocess.length(short) > preprocess.length(tone(tmp_path / "s.wav", 0.1))


@pytest.mark.parametrize("augmentation", ["light", "strong"])
@pytest.mark.parametrize("family", ["wav2vec2", "ast", "whisper"])
def test_variations_derive_from_the_seed(
    family: str, augmentation: Any, folders: dict[str, Path], sounds: list[Sample]
) -> None:
    preprocess = BACKBONE.preprocessor(options(folders[family]), augmentation=augmentation)
    state = _numpy_state(), torch.get_rng_state()
    one, again, other, plain = (preprocess(sounds[1], seed)["input_values"] for seed in (3, 3, 4, None))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, plain)
    assert one.shape == plain.shape
    assert state[0] == _numpy_state()
    assert torch.equal(state[1], torch.get_rng_state())


def test_variation_keeps_length_and_leaves_the_sound_itself_alone() -> None:
    sound = np.sin(np.arange(2000) / 5).astype(np.float32)
    before = sound.copy()
    for seed in range(20):
        varied = vary(sound, 8000, "strong", np.random.default_rng(seed))
        assert varied.shape == sound.shape
        assert varied.dtype == np.float32
        assert np.isfinite(varied).all()
        assert np.abs(varied).max() > 0.1
    assert np.array_equal(sound, before)
    bands = np.random.default_rng(0).random((40, 16)).astype(np.float32)
    masked = bands.copy()
    mask_bands(masked, 30, np.random.default_rng(1))
    assert np.array_equal(masked[30:], bands[30:]), "padding is not touched"
    changed = (masked != bands)[:30]
    assert changed.any()
    assert np.array_equal(changed.all(axis=0), changed.any(axis=0)), "whole bands are hidden"


def test_groups_go_from_the_convolutions_to_the_last_layer(folders: dict[str, Path]) -> None:
    names = {family: [group.name for group in loaded(folders[family])[0].layer_groups()] for family in FAMILIES}
    assert names["wav2vec2"][:3] == ["conv layer 1", "conv layer 2", "conv layer 3"]
    assert names["wav2vec2"][-2:] == ["layer 1", "layer 2"]
    assert names["ast"] == ["embeddings", "layer 1", "layer 2", "layernorm"]
    assert names["whisper"] == ["conv 1", "conv 2", "embed positions", "layer 1", "layer 2", "layer norm"]


def test_nothing_random_of_its_own_is_left_in_a_model(folders: dict[str, Path], sounds: list[Sample]) -> None:
    module, preprocess = loaded(folders["wav2vec2"])
    assert isinstance(module, SoundNetwork)
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    module.model.config.attention_dropout = 0.0
    batch = preprocess.collate([preprocess(sample) for sample in sounds])
    module.train()
    before = _numpy_state()
    with torch.no_grad():
        first, second = module(batch), module(batch)
    assert before == _numpy_state()
    assert first.tokens is not None
    assert second.tokens is not None


def _broken(folder: Path, target: Path, **changes: Any) -> Path:
    """A copy of a model folder with some entries of its JSON files changed; `None` removes one."""
    shutil.copytree(folder, target)
    for name in ("config.json", "preprocessor_config.json"):
        values = json.loads((target / name).read_text())
        values.update({key: value for key, value in changes.items() if key in values or name == "config.json"})
        (target / name).write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return target


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("wav2vec2", {"model_type": "bert"}, "is not a model of sounds"),
        ("wav2vec2", {"model_type": "wavlm"}, "is not a model of sounds"),
        ("wav2vec2", {"conv_stride": [5, 0, 4]}, "convolutions have no whole sizes"),
        ("wav2vec2", {"conv_kernel": [10, 3]}, "transformers cannot make sense|convolutions have no whole sizes"),
        ("wav2vec2", {"hidden_size": 10**9}, "describes a model that cannot be"),
        ("wav2vec2", {"conv_dim": [10**9, 8, 8]}, "describes a model that cannot be"),
        ("wav2vec2", {"conv_stride": [2**24, 4, 4]}, "conv_stride is 1.68e"),
        ("wav2vec2", {"hidden_dropout": -1}, "hidden_dropout is -1, and not from 0 to 1"),
        ("ast", {"std": "x"}, "How sounds are prepared cannot be read"),
        ("whisper", {"dither": [1]}, "How sounds are prepared cannot be read"),
        ("wav2vec2", {"auto_map": {"AutoModel": "evil.Model"}}, "brings Python code of its own"),
        ("wav2vec2", {"sampling_rate": 0}, "sampling_rate is 0"),
        ("whisper", {"chunk_length": 10**9}, "chunk_length is 1000000000"),
        ("whisper", {"max_source_positions": 60}, "it gives 100 frames, the model takes 120"),
        ("ast", {"num_mel_bins": 16.5}, "transformers cannot make sense|num_mel_bins is 16.5"),
        ("whisper", {"max_source_positions": 10**12}, "describes a model that cannot be"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told(
    family: str, changes: dict[str, Any], sentence: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    chosen = options(_broken(folders[family], tmp_path / "broken", **changes))
    with pytest.raises(WeightsError, match=sentence):
        BACKBONE.preprocessor(chosen)


def test_a_folder_whose_architecture_is_no_word_is_not_recognised(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = _broken(folders["wav2vec2"], tmp_path / "broken", model_type=["wav2vec2"])
    assert BACKBONE.recognise(broken) is None
    with pytest.raises(WeightsError, match="does not say which architecture"):
        BACKBONE.preprocessor(options(broken))


def test_what_is_missing_or_does_not_fit_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not know which model"):
        BACKBONE.find_weights(options(""))
    folder = Path(shutil.copytree(folders["hubert"], tmp_path / "hubert"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="does not say how sounds are prepared"):
        BACKBONE.preprocessor(options(folder))
    state = load_file(folder / "model.safetensors")
    del state["encoder.layers.1.attention.k_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="keys are missing"):
        BACKBONE.load(options(folder))
    with pytest.raises(WeightsError, match="do not fit this backbone"):
        BACKBONE.load(options(folders["ast"] / "model.safetensors", folder=str(folders["wav2vec2"])))


def test_random_weights_need_an_architecture_only(folders: dict[str, Path]) -> None:
    chosen = options("random", folder=str(folders["hubert"]))
    assert BACKBONE.find_weights(chosen).path is None
    assert BACKBONE.load(chosen).num_features == 16
