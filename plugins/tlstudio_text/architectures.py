"""The architectures of texts that are read from a folder; see `tlstudio.api.model_folders`."""

from __future__ import annotations


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

WRITERS = (DECODERS - _names("ctrl modernbert-decoder openai-gpt xlnet")) | _names(
    "bart blenderbot-small longt5 mt5 pegasus t5 umt5"
)
"""Language models that write texts from left to right, and pairs of encoder and decoder, by ``model_type``."""
