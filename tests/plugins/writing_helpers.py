"""Small language models of random weights, written as transformers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tlstudio_text.architectures import WRITERS

WORDS = ["the", "a", "film", "was", "great", "dull", "and", "very", "not", "I", "loved", "it", ":", "sum", "电影", "好"]
MARKS = ["<pad>", "<unk>", "</s>", "<|endoftext|>"]
END = MARKS.index("</s>")

_DECODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "decoder_start_token_id": END,
    "forced_eos_token_id": None,
}
_T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "decoder_start_token_id": 0}
KINDS: dict[str, dict[str, Any]] = dict.fromkeys(sorted(WRITERS), _DECODER)
KINDS |= dict.fromkeys(("gpt2", "gpt_bigcode", "gptj"), _GPT) | dict.fromkeys(("gemma", "gemma2"), _DECODER)
KINDS |= dict.fromkeys(("bart", "blenderbot-small", "pegasus"), _BART) | dict.fromkeys(("t5", "mt5", "umt5"), _T5)
KINDS |= {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gemma": _DECODER | {"head_dim": 8},
    "gemma2": _DECODER | {"head_dim": 8},
    "gemma3_text": _DECODER | {"head_dim": 8},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "gptj": _GPT | {"rotary_dim": 8},
    "longt5": _T5,
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
    },
}


def write_tokenizer(folder: Path, *, marks: bool = False, chat: bool = False) -> None:
    """Write a tokenizer that knows a few words.

    Args:
        folder: Where to.
        marks: Whether each text gets a mark at its end, as those of encoder-decoders do.
        chat: Whether it has a form for conversations.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate([*MARKS, *WORDS])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    wrap: Any = PreTrainedTokenizerFast
    written: Any = wrap(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    if chat:
        written.chat_template = (
            "{% for message in messages %}I {{ message['content'] }} not {% endfor %}"
            "{% if add_generation_prompt %}it {% endif %}"
        )
    written.save_pretrained(folder)


def write_language_model(folder: Path, kind: str, *, chat: bool = False, **changes: Any) -> Path:
    """Write a model and its tokenizer; returns the folder."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    common = {
        "vocab_size": len(MARKS) + len(WORDS),
        "max_position_embeddings": 32,
        "pad_token_id": 0,
        "bos_token_id": END,
        "eos_token_id": END,
    }
    config = AutoConfig.for_model(kind, **(common | KINDS[kind] | changes))
    torch.manual_seed(0)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model: Any = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # so that what it writes depends on what it is given
    model.save_pretrained(folder)
    write_tokenizer(folder, marks=bool(config.is_encoder_decoder), chat=chat)
    return folder
