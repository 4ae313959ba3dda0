"""Whisper with its decoder: what is learned, what is written, and what cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plugins.audio_models import write_audio_model, write_speech_model
from tlstudio.api import TARGETS, Sample, WeightsError
from tlstudio.api.nn import BackboneModule, Generation
from tlstudio.plugins import Registry
from tlstudio.testing import check_backbone
from tlstudio.testing.sounds import write_tone
from tlstudio_audio.preprocessor import SoundPreprocessor
from tlstudio_audio.writing_backbones import SpeechModelBackbone
from tlstudio_audio.writing_preprocessor import SpeechPreprocessor

BACKBONE = SpeechModelBackbone()
IGNORED = -100


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by being shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for English alone; the tests do not change it."""
    return write_speech_model(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def sounds(tmp_path: Path) -> list[Sample]:
    """Two tones of different lengths with transcripts."""
    samples = []
    for name, seconds, text in (("a", 0.3, "go on"), ("b", 0.6, "Ja, ja!")):
        write_tone(tmp_path / f"{name}.wav", 400, seconds)
        samples.append(Sample(name, audio=tmp_path / f"{name}.wav", label=text, source=f"{name}.wav"))
    return samples


def options(weights: Path, **values: Any) -> Any:
    return BACKBONE.Options.model_validate({"weights": str(weights), **values})


def loaded(weights: Path, **values: Any) -> tuple[BackboneModule, SpeechPreprocessor]:
    chosen = options(weights, **values)
    module, preprocess = BACKBONE.load(chosen).eval(), BACKBONE.preprocessor(chosen, wanted="logits")
    module.wanted = "logits"
    assert isinstance(preprocess, SpeechPreprocessor)
    return module, preprocess


def test_it_keeps_the_contract(folder: Path, sounds: list[Sample], tmp_path: Path) -> None:
    check_backbone(BACKBONE, sounds, tmp_path, options=options(folder))


def test_targets_are_one_place_ahead_and_begin_after_the_marks(folder: Path, sounds: list[Sample]) -> None:
    _, preprocess = loaded(folder)
    item = preprocess(sounds[0])
    given, targets = item["decoder_input_ids"], item[TARGETS]
    assert len(given) == len(targets)
    assert preprocess.texts(torch.tensor([given])) == ["go on"]
    real = [token for token in targets if token != IGNORED]
    assert preprocess.texts(torch.tensor([real])) == ["go on"]
    assert targets.index(real[0]) == 1, "what follows the last mark"
    assert given[2:] == real[:-1]
    unlabelled = preprocess(Sample("1", audio=sounds[0].audio))
    assert set(unlabelled[TARGETS]) == {IGNORED}
    assert unlabelled["decoder_input_ids"] == given[:2]


def test_the_likelihood_is_that_of_transformers(folder: Path, sounds: list[Sample]) -> None:
    from transformers import WhisperForConditionalGeneration

    kind: Any = WhisperForConditionalGeneration
    reference = kind.from_pretrained(folder).eval()
    module, preprocess = loaded(folder)
    items = [preprocess(sample) for sample in sounds]
    batch = preprocess.collate(items)
    with torch.no_grad():
        logits = module(batch).require("logits")
        for row, item in enumerate(items):
            tokens = torch.tensor([item["decoder_input_ids"]])
            expected = reference(input_features=item["input_values"][None], decoder_input_ids=tokens).logits
            torch.testing.assert_close(logits[row, : tokens.shape[1]], expected[0], atol=1e-5, rtol=1e-4)
    assert module.vocabulary == logits.shape[2]


def test_what_is_written_is_the_likeliest_and_does_not_look_at_labels(folder: Path, sounds: list[Sample]) -> None:
    module, preprocess = loaded(folder)
    batch = preprocess.collate([preprocess(sample) for sample in sounds])
    bare = preprocess.collate([preprocess(Sample(s.id, audio=s.audio)) for s in sounds])
    with torch.inference_mode():
        written = module.generate(batch, Generation(max_new_tokens=6))
        assert torch.equal(written, module.generate(bare, Generation(max_new_tokens=6)))
        marks = json.loads((folder / "generation_config.json").read_text())
        tokens = bare["decoder_input_ids"][:1]
        for place in range(6):
            one = {name: tensor[:1] for name, tensor in bare.items()} | {"decoder_input_ids": tokens}
            scores = module(one).require("logits")[0, -1]
            scores[marks["suppress_tokens"]] = -torch.inf
            if place == 0:
                scores[marks["begin_suppress_tokens"]] = -torch.inf
            tokens = torch.cat([tokens, scores.argmax().view(1, 1)], dim=1)
            assert int(tokens[0, -1]) == int(written[0, place])
            if int(tokens[0, -1]) == marks["begin_suppress_tokens"][0]:
                break
        assert module.generate(batch, Generation(max_new_tokens=4, num_beams=3)).shape[1] <= 4
        assert module.generate(batch, Generation(max_new_tokens=10_000)).shape[1] <= 38, "the model has 40 places"


def test_a_transcript_that_is_too_long_is_cut(folder: Path, sounds: list[Sample]) -> None:
    module, preprocess = loaded(folder)
    item = preprocess(Sample("1", audio=sounds[0].audio, label="long " * 100))
    assert len(item["decoder_input_ids"]) <= 40
    with torch.no_grad():
        assert module(preprocess.collate([item])).require("logits").shape[1] == len(item[TARGETS])


def test_models_of_several_languages_are_told_which(tmp_path: Path, sounds: list[Sample]) -> None:
    folder = write_speech_model(tmp_path / "model", languages=True)
    firsts = {language: loaded(folder, language=language)[1].describe()["decoder_start"] for language in ("en", "de")}
    assert len(firsts["en"]) == 4
    assert [a == b for a, b in zip(firsts["en"], firsts["de"], strict=True)] == [True, False, True, True]
    with pytest.raises(WeightsError, match="knows no language 'xx'"):
        loaded(folder, language="xx")
    assets = tmp_path / "assets"
    assets.mkdir()
    BACKBONE.save_assets(options(folder, language="de"), assets)
    restored = BACKBONE.preprocessor(options(folder, language="de"), assets=assets, wanted="logits")
    assert restored.describe()["decoder_start"] == firsts["de"]
    # So a run that starts from another may speak another language.
    assert "language" in BACKBONE.free_options
    other = BACKBONE.preprocessor(options(folder, language="en"), assets=assets, wanted="logits")
    assert other.describe()["decoder_start"] == firsts["en"]


def test_a_head_on_other_features_leaves_the_decoder_out(folder: Path, sounds: list[Sample]) -> None:
    module = BACKBONE.load(options(folder)).eval()
    names = [group.name for group in module.layer_groups()]
    assert [name for name in names if "layer " in name] == [
        *("encoder layer 1", "encoder layer 2"),
        *("encoder layer norm", "decoder layer 1", "decoder layer 2", "decoder layer norm"),
    ]
    whole = sum(parameter.numel() for parameter in module.parameters())
    preprocess = BACKBONE.preprocessor(options(folder))
    assert type(preprocess) is SoundPreprocessor
    batch = preprocess.collate([preprocess(sample) for sample in sounds])
    with torch.no_grad():
        before = module(batch).require("pooled")
        module.wanted = "pooled"
        torch.testing.assert_close(module(batch).require("pooled"), before)
    assert sum(parameter.numel() for parameter in module.parameters()) < whole / 2
    with pytest.raises(WeightsError, match="lost the part that writes"):
        module.wanted = "logits"


def test_a_run_goes_on_from_one_that_only_heard(folder: Path, tmp_path: Path) -> None:
    earlier, later = (BACKBONE.load(options(folder)) for _ in range(2))
    earlier.wanted = "pooled"
    for parameter in earlier.parameters():
        torch.nn.init.normal_(parameter)
    assert later.take_over(earlier.state_dict(), tmp_path) == []
    with pytest.raises(WeightsError, match="lost the part that writes"):
        later.wanted = "logits"
    later.wanted = "pooled"
    assert all(torch.equal(one, two) for one, two in zip(later.parameters(), earlier.parameters(), strict=True))


def test_what_cannot_be_used_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="hears but does not write"):
        BACKBONE.load(options(write_audio_model(tmp_path / "hubert", "hubert")))
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"The tokenizer in .* cannot be used"):
        BACKBONE.load(options(broken))
    (broken / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"has no tokenizer\.json"):
        BACKBONE.preprocessor(options(broken), wanted="logits")
    other = write_speech_model(tmp_path / "small", vocab_size=100, pad_token_id=0, bos_token_id=0, eos_token_id=0)
    with pytest.raises(WeightsError, match=r"has .* tokens, the model 100"):
        loaded(other)


def test_each_folder_is_recognised_by_what_does_most_with_it(folder: Path, registry: Registry, tmp_path: Path) -> None:
    hubert = write_audio_model(tmp_path / "hubert", "hubert")
    encoder = write_audio_model(tmp_path / "encoder", "whisper")
    wanted = {folder: "speech_model", hubert: "auto_audio", encoder: "auto_audio"}
    for path, name in wanted.items():
        found = [backbone for backbone in registry.backbones.values() if backbone.recognise(path) is not None]
        assert found[0].name == name
        assert found[0].recognise(path) == {"weights": str(path)}
    assert BACKBONE.recognise(tmp_path / "nothing") is None
