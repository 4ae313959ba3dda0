"""A GGUF file becomes a model folder: written by the format's own library, as llama.cpp writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tlstudio.api import Sample, WeightsError
from tlstudio_text.gguf import convert, main
from tlstudio_text.options import LanguageModelOptions
from tlstudio_text.writing_backbones import LanguageModel

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
TOKENS = ["<unk>", "<s>", "</s>", *"abcdefgh", "Ġ", "ab", "Ċ", "<|endoftext|>"]
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def turned(weight: Tensor, heads: int) -> Tensor:
    """Put the rows of a rotary projection into the order in which llama.cpp has them."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


@pytest.fixture(scope="module")
def llama() -> Any:
    """A small Llama of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=len(TOKENS), max_position_embeddings=64, tie_word_embeddings=False, **SIZES)
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(config)
    return model.eval()


def write_gguf(path: Path, model: Any, architecture: str = "llama") -> Path:
    """Write a model as a GGUF file of 16-bit numbers."""
    from gguf import GGUFWriter

    make: Any = GGUFWriter
    writer = make(path, architecture)
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_context_length(64)
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in model.state_dict().items():
        if "q_proj" in name or "k_proj" in name:
            tensor = turned(tensor, SIZES["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        short = name.removeprefix("model.").removesuffix(".weight")
        short = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}.get(short, short)
        if short.startswith("layers."):
            _, number, part = short.split(".", 2)
            short = f"blk.{number}.{NAMES[part]}"
        array = tensor.numpy()
        writer.add_tensor(f"{short}.weight", array.astype(np.float16) if array.ndim > 1 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_becomes_a_folder_that_gives_the_same_scores(llama: Any, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "small.gguf", llama)
    assert main([str(path), str(tmp_path / "model")]) == 0
    options = LanguageModelOptions(weights=str(tmp_path / "model"))
    network = LanguageModel().load(options).eval()
    preprocessor = LanguageModel().preprocessor(options, wanted="logits")
    batch = preprocessor.collate([preprocessor(Sample("1", text="abc abd", label="h"))])
    with torch.inference_mode():
        logits = network(batch).require("logits")
        expected = llama(input_ids=batch["input_ids"]).logits
    assert float((logits - expected).abs().max()) < 2e-3  # its weights have 16 bits
    assert preprocessor.texts(torch.tensor([[12, 11, 3, 2]])) == ["ab a"]


def test_what_is_no_language_model_is_told(llama: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(WeightsError, match=r"broken\.gguf cannot be read as a language model"):
        convert(broken, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(WeightsError, match="is not empty"):
        convert(broken, tmp_path)
    assert main([str(tmp_path / "none.gguf"), str(tmp_path / "model")]) == 1
    assert "none.gguf cannot be read" in capsys.readouterr().err
    assert main([]) == 2


def test_what_lies_beside_a_gguf_file_is_neither_run_nor_loaded(llama: Any, tmp_path: Path) -> None:
    place = tmp_path / "given"
    place.mkdir()
    path = write_gguf(place / "small.gguf", llama)
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}, "tokenizer_class": "Tokenizer"}
    (place / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (place / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "evil.Config"}}))
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(place), "peft_type": "LORA"}))
    (place / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    convert(path, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "canary").exists()
    assert {file.name for file in tmp_path.iterdir()} == {"given", "model"}
    assert len(list(place.iterdir())) == 5
