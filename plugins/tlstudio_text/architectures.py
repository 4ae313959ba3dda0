"""The architectures that are read from a folder, and how large they may claim to be.

A ``config.json`` names the class that transformers builds and every size of it. Both come with the folder, from
whoever made it: what is not known here is refused before transformers looks at the folder at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


ENCODERS = _names(
    "albert bert big_bird camembert canine clip_text_model convbert data2vec-text deberta deberta-v2 distilbert",
    "electra ernie esm eurobert flaubert fnet funnel gte ibert jina_embeddings_v3 longformer luke megatron-bert",
    "mobilebert modernbert mpnet mra mt5 nomic_bert nystromformer reformer rembert roberta",
    "roberta-prelayernorm roc_bert roformer splinter squeezebert t5 t5gemma umt5 xlm xlm-roberta",
    "xlm-roberta-xl xmod yoso",
)
"""Encoders of texts, and models of which the encoder half is taken, by ``model_type``."""

DECODERS = _names(
    "biogpt bloom ctrl falcon gemma gemma2 gemma3_text gpt2 gpt_bigcode gpt_neo gpt_neox gptj llama mistral",
    "modernbert-decoder olmo olmo2 openai-gpt opt phi phi3 qwen2 qwen3 smollm3 stablelm starcoder2 xlnet",
)
"""Language models, whose token features serve as those of an encoder."""

SUPPORTED = ENCODERS | DECODERS

_MOST_LAYERS = 1000
_MOST_LABELS = 20_000  # transformers makes a name for each
_WIDEST = 2**18
_MOST_ROWS = 2**24  # of a table of embeddings
_ROWS = ("vocab_size", "n_positions", "n_ctx", "max_position_embeddings", "hash_buckets")
_WIDTHS = ("hidden_size", "intermediate_size", "embedding_size", "d_model", "d_ff", "d_kv", "n_embd", "n_inner", "dim")


def too_large(config: Mapping[str, Any]) -> str:
    """Say which size of a configuration no model has, such as a hidden size of a billion; ``""`` if there is none.

    Building such a network would fill the memory, or take for ever, before anything could be compared.
    """
    for key, value in config.items():
        if isinstance(value, dict) and (inner := too_large(value)):  # of the half of a model, such as its encoder
            return inner
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if any(part in key for part in ("layers", "n_layer", "num_heads", "n_head", "attention_heads", "num_blocks")):
            most = _MOST_LAYERS
        elif key == "num_labels":
            most = _MOST_LABELS
        elif any(part in key for part in _ROWS):
            most = _MOST_ROWS
        elif key.endswith((*_WIDTHS, "_dim", "_size", "_groups")):
            most = _WIDEST
        else:
            continue
        if value > most:
            return f"{key} is {value:.3g}" if value < 10**300 else f"{key} has hundreds of digits"
    return ""
