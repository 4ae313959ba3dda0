"""Language models as backbones: folders in the real layout of many architectures, what they write, hostile ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor

from tests.plugins.test_text import check_groups
from tests.plugins.writing_helpers import END, KINDS, write_language_model
from tlstudio.api import TARGETS, Sample, WeightsError
from tlstudio.api.nn import Generation
from tlstudio.api.pooling import pool
from tlstudio.testing import check_backbone
from tlstudio_text.architectures import WRITERS
from tlstudio_text.backbones import AutoModelBackbone, CachedBackbone, HuggingFaceCache
from tlstudio_text.options import AutoModelOptions, LanguageModelOptions, WritingOptions
from tlstudio_text.writing_backbones import CachedLanguageModel, LanguageModel
from tlstudio_text.writing_network import LanguageNetwork, prompts
from tlstudio_text.writing_preprocessor import WritingPreprocessor

SAMPLES = [
    Sample("1", text="the film was great", label="I loved it"),
    Sample("2", text="dull", label="not"),
    Sample("3", text="a very very dull film and not great"),
]


def loaded(folder: Path, **options: object) -> tuple[LanguageNetwork, WritingPreprocessor]:
    backbone = LanguageModel()
    chosen = LanguageModelOptions.model_validate({"weights": str(folder), **options})
    network = backbone.load(chosen)
    preprocessor = backbone.preprocessor(chosen, wanted="logits")
    assert isinstance(network, LanguageNetwork)
    assert isinstance(preprocessor, WritingPreprocessor)
    return network.eval(), preprocessor


def written(network: LanguageNetwork, preprocessor: WritingPreprocessor, *samples: Sample, beams: int = 1) -> list[str]:
    with torch.inference_mode():
        inputs = preprocessor.collate([preprocessor(sample) for sample in samples])
        return preprocessor.texts(network.generate(inputs, Generation(8, beams)))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2."""
    return write_language_model(tmp_path_factory.mktemp("gpt2"), "gpt2", chat=True)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small T5."""
    return write_language_model(tmp_path_factory.mktemp("t5"), "t5")


def test_each_kind_of_language_model_has_a_small_one_here() -> None:
    assert KINDS.keys() == WRITERS


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_folder_of_each_kind_is_read_and_writes_the_same_alone_and_in_a_batch(kind: str, tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", kind)
    network, preprocessor = loaded(folder)
    check_groups(network, network.layer_groups())
    names = [group.name for group in network.layer_groups()]
    assert len(names) == len(set(names)) >= 3
    with torch.inference_mode():
        batch = preprocessor.collate([preprocessor(sample) for sample in SAMPLES])
        features = network(batch)
    assert features.logits is not None
    assert features.logits.shape == (*batch[TARGETS].shape, network.vocabulary)
    together = written(network, preprocessor, *SAMPLES)
    assert together == [written(network, preprocessor, sample)[0] for sample in SAMPLES]
    unlabelled = [Sample("x", text=sample.text) for sample in SAMPLES]
    assert together == written(network, preprocessor, *unlabelled)  # what is expected is not looked at
    assert len(written(network, preprocessor, *SAMPLES, beams=3)) == 3

    network.wanted = "pooled"
    pooled = LanguageModel().preprocessor(LanguageModelOptions(weights=str(folder)))
    with torch.inference_mode():
        inputs = pooled.collate([pooled(sample) for sample in SAMPLES])
        assert network(inputs).require("pooled").shape == (3, 32)
    check_groups(network, network.layer_groups())


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "t5", "bart"])
def test_the_scores_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder = write_language_model(tmp_path / "model", kind)
    network, preprocessor = loaded(folder, separator="none")
    item = preprocessor(SAMPLES[0])
    batch = preprocessor.collate([item])
    auto = AutoModelForSeq2SeqLM if network.paired else AutoModelForCausalLM
    theirs = auto.from_pretrained(folder).eval()
    answer = [token for token in item[TARGETS] if token >= 0]
    assert answer[-1] == END
    if network.paired:
        given = {"input_ids": batch["input_ids"], "labels": torch.tensor([answer])}
    else:
        ids = torch.cat([batch["input_ids"], torch.tensor([[END]])], dim=1)
        given = {
            "input_ids": ids,
            "labels": torch.where(torch.arange(ids.shape[1]) < batch["prompt_length"], -100, ids),
        }
    with torch.inference_mode():
        logits = network(batch).logits
        assert logits is not None
        loss = torch.nn.functional.cross_entropy(logits[0], batch[TARGETS][0])
        assert loss.item() == pytest.approx(theirs(**given).loss.item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5", "bart"])
def test_a_language_model_keeps_the_contract_of_backbones(kind: str, tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", kind)
    (tmp_path / "check").mkdir()
    options = LanguageModelOptions(weights=str(folder))
    check_backbone(LanguageModel(), SAMPLES[:2], tmp_path / "check", options=options)


def test_an_encoder_decoder_tells_its_halves_apart(t5: Path) -> None:
    names = [group.name for group in loaded(t5)[0].layer_groups()]
    assert names == [
        "shared",
        "encoder block 1",
        "encoder block 2",
        "encoder final layer norm",
        "decoder block 1",
        "decoder block 2",
    ]


def test_the_last_layer_scales_its_output_itself(gpt2: Path) -> None:
    network, _ = loaded(gpt2)
    groups = network.layer_groups()
    assert [group.name for group in groups] == ["wte", "wpe", "h 1", "h 2"]
    last = {id(parameter) for parameter in groups[-1].parameters()}
    assert id(network.get_parameter("model.transformer.ln_f.weight")) in last


def test_a_decoder_that_classifies_leaves_its_output_layer_behind(tmp_path: Path) -> None:
    network, _ = loaded(write_language_model(tmp_path / "model", "llama"))
    before = sum(parameter.numel() for parameter in network.parameters())
    network.wanted = "pooled"
    assert before - sum(parameter.numel() for parameter in network.parameters()) == network.vocabulary * 32
    with pytest.raises(WeightsError, match="lost the part that writes"):
        network.wanted = "logits"


@pytest.mark.parametrize("kind", ["gpt2", "t5", "bart"])
def test_a_run_goes_on_from_one_that_wrote_or_only_read(kind: str, tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", kind)
    whole, reader, fresh, other = (loaded(folder)[0] for _ in range(4))
    reader.wanted = "pooled"
    for network in (whole, reader):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    assert fresh.take_over(whole.state_dict(), tmp_path) == []
    fresh.wanted = whole.wanted = "tokens"
    assert all(torch.equal(one, two) for one, two in zip(fresh.parameters(), whole.parameters(), strict=True))
    assert other.take_over(reader.state_dict(), tmp_path) == []
    with pytest.raises(WeightsError, match="lost the part that writes"):
        other.wanted = "logits"
    other.wanted = "pooled"
    assert all(torch.equal(one, two) for one, two in zip(other.parameters(), reader.parameters(), strict=True))


def test_the_last_token_is_the_last_real_one() -> None:
    tokens = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert pool(tokens, mask, "last").tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_prompts_are_pushed_to_the_right() -> None:
    ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])
    pushed, mask = prompts(ids, torch.tensor([3, 1]), pad=0)
    assert pushed.tolist() == [[5, 6, 7], [0, 0, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_what_a_folder_says_of_sampling_is_not_taken_over(gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "warm"
    shutil.copytree(gpt2, folder)
    settings = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "max_length": 3}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert written(*loaded(folder), *SAMPLES) == written(*loaded(gpt2), *SAMPLES)
    torch.manual_seed(1)
    network, preprocessor = loaded(folder)
    state = torch.get_rng_state()
    written(network, preprocessor, *SAMPLES, beams=2)
    assert torch.equal(state, torch.get_rng_state())  # writing draws no random numbers


def test_a_text_ends_where_the_model_has_no_more_room(gpt2: Path) -> None:
    network, preprocessor = loaded(gpt2, max_length=None, max_answer=4)
    sample = Sample("long", text="the film was " * 30)
    with torch.inference_mode():
        inputs = preprocessor.collate([preprocessor(sample)])
        tokens = network.generate(inputs, Generation(100))
    assert inputs["prompt_length"].tolist() == [28]
    assert tokens.shape[1] <= 4


# How prompts and answers are put together


def ids_of(preprocessor: WritingPreprocessor, tensor: Tensor) -> str:
    return str(preprocessor.tokenizer.decode([int(token) for token in tensor if token >= 0]))


def test_a_decoder_learns_the_answer_and_its_end(gpt2: Path) -> None:
    _, preprocessor = loaded(gpt2, prompt="sum : {text}", separator="none")
    batch = preprocessor.collate([preprocessor(sample) for sample in SAMPLES])
    assert ids_of(preprocessor, batch["input_ids"][0]).startswith("sum : the film was great I loved it")
    assert ids_of(preprocessor, batch[TARGETS][0]) == "I loved it </s>"
    first = int((batch[TARGETS][0] >= 0).nonzero()[0])
    assert first == batch["prompt_length"][0] - 1  # the last token of the prompt foretells the first of the answer
    assert int(batch[TARGETS][2].max()) == -100


def test_an_encoder_decoder_is_given_the_answer_one_token_late(t5: Path) -> None:
    _, preprocessor = loaded(t5)
    item = preprocessor(SAMPLES[0])
    assert item["decoder_input_ids"] == [0, *item[TARGETS][:-1]]
    assert item[TARGETS][-1] == END
    assert "decoder_input_ids" in preprocessor(SAMPLES[2])


def test_a_long_text_is_cut_and_what_stands_around_it_is_not(gpt2: Path) -> None:
    _, preprocessor = loaded(gpt2, prompt="sum : {text} : I", max_length=12, max_answer=2)
    item = preprocessor(Sample("1", text="film " * 100, label="I loved it"))
    assert item["prompt_length"] == 12
    assert ids_of(preprocessor, torch.tensor(item["input_ids"][:12])) == f"sum : {'film ' * 8}: I"
    assert ids_of(preprocessor, torch.tensor(item[TARGETS])) == "I loved"  # cut: it does not end there
    alone = preprocessor(Sample("1", text="film " * 100))
    assert alone["input_ids"] == item["input_ids"][:12]


def test_a_second_text_has_its_place_in_the_prompt(gpt2: Path) -> None:
    _, preprocessor = loaded(gpt2, prompt="{pair} : {text}")
    item = preprocessor(Sample("1", text="dull", pair="the film"))
    assert ids_of(preprocessor, torch.tensor(item["input_ids"])) == "the film : dull"


def test_a_conversation_is_put_as_the_model_knows_it(gpt2: Path, t5: Path) -> None:
    _, preprocessor = loaded(gpt2, style="chat")
    item = preprocessor(Sample("1", text="loved"))
    assert ids_of(preprocessor, torch.tensor(item["input_ids"])) == "I loved not it"
    with pytest.raises(WeightsError, match="no form for conversations"):
        loaded(t5, style="chat")
    with pytest.raises(WeightsError, match="where the text goes"):
        loaded(gpt2, prompt="summarize")


def test_a_prompt_of_nothing_still_begins(gpt2: Path) -> None:
    network, preprocessor = loaded(gpt2)
    assert preprocessor(Sample("1", text=""))["input_ids"] == [END]
    assert len(written(network, preprocessor, Sample("1", text=""))) == 1


# What is refused


def test_an_encoder_is_no_language_model_and_an_encoder_decoder_no_encoder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    BertModel(BertConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path / "bert")
    with pytest.raises(WeightsError, match=r"\(bert\) does not write texts"):
        LanguageModel().load(LanguageModelOptions(weights=str(tmp_path / "bert")))
    bart = write_language_model(tmp_path / "bart", "bart")
    with pytest.raises(WeightsError, match=r"\(bart\) is not an encoder"):
        AutoModelBackbone().load(AutoModelOptions(weights=str(bart)))


def test_a_model_without_its_output_layer_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_language_model(tmp_path / "model", "llama")
    path = folder / "model.safetensors"
    state = load_file(path)
    del state["lm_head.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 of \d+ keys are missing \(lm_head.weight\)"):
        LanguageModel().load(LanguageModelOptions(weights=str(folder)))


@pytest.mark.parametrize("name", ["decoder_start_token_id", "pad_token_id", "eos_token_id"])
def test_a_token_beyond_the_vocabulary_is_told(name: str, tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", "t5")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: 30_000}))
    with pytest.raises(WeightsError, match=rf"names token 30000 as {name}, and the model has the tokens 0 to \d+"):
        LanguageModel().load(LanguageModelOptions(weights=str(folder)))


def test_code_in_a_folder_is_not_run(gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own code"
    shutil.copytree(gpt2, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    (folder / "evil.py").write_text("raise SystemExit")
    with pytest.raises(WeightsError, match="it was not run and not loaded"):
        LanguageModel().load(LanguageModelOptions(weights=str(folder)))


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", "gpt2", eos_token_id=None)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match="no mark for the end of a text"):
        loaded(folder)


# The cache


def test_language_models_in_the_cache_write(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for repository, written_by in (("openai--gpt2", "GPT2LMHeadModel"), ("some--base", "GPT2Model")):
        snapshot = tmp_path / f"models--{repository}" / "snapshots" / "abc"
        shutil.copytree(gpt2, snapshot)
        config = json.loads((snapshot / "config.json").read_text())
        (snapshot / "config.json").write_text(json.dumps({**config, "architectures": [written_by]}))
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("abc")
    cache = HuggingFaceCache()
    found = cache.get("openai/gpt2")
    assert isinstance(found, CachedLanguageModel)
    info = found.info()
    assert (info.vocabulary, info.num_features) == (20, 32)
    assert {"logits", "pooled"} <= info.provides
    network = found.load(WritingOptions())
    assert isinstance(network, LanguageNetwork)
    base = cache.get("some/base")
    assert type(base) is CachedBackbone
    network.wanted = "pooled"  # then it has the names of one that never wrote, so that older runs fit
    assert network.state_dict().keys() == base.load(base.Options()).state_dict().keys()
