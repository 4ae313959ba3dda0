"""Seeing by the names and shapes of weights what kind of transformer they are of, and how large. Light to import."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Signs", "read_signs"]

_KINDS = {
    "ALBERT": "albert_layer_groups.",
    "DistilBERT": r"layer\.0\.attention\.q_lin",
    "DeBERTa": r"layer\.0\.attention\.self\.query_proj",
    "GPT-2": r"h\.0\.attn\.c_attn",
    "T5": r"block\.0\.layer\.0\.SelfAttention\.q",
    "Whisper": r"encoder\.conv1\.",
    "wav2vec 2.0 or HuBERT": r"feature_extractor\.conv_layers\.0",
    "CLIP": r"vision_model\.encoder\.layers\.0",
    "BART": r"encoder\.layers\.0\.self_attn\.k_proj",
    "Llama or Qwen": r"layers\.0\.mlp\.gate_proj",
    "ViT, DINOv2 or AST": r"layer\.0\.attention\.attention\.query",
    "RoBERTa": r"^roberta\.",
    "BERT or RoBERTa": r"layer\.0\.attention\.self\.query\.",
}
"""The first whose sign is in some key."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What weights say of the model that they are of.

    Attributes:
        kind: What it is called; ``""``: not known.
        layers: Number of layers, of the encoder and the decoder together.
        width: Width of its features; 0: not known.
    """

    kind: str
    layers: int
    width: int

    def __str__(self) -> str:
        """Write it as a part of a sentence."""
        facts = [f"{self.layers} layers"] * bool(self.layers) + [f"width {self.width:,}"] * bool(self.width)
        return f"{self.kind or 'a model'} with {' and '.join(facts)}" if facts else self.kind or "another model"


def read_signs(state: Mapping[str, Tensor]) -> Signs:
    """Look at the names and shapes of a state dict."""
    kind = next((kind for kind, sign in _KINDS.items() if any(re.search(sign, key) for key in state)), "")
    stacks = {found.group() for key in state for found in _numbered(key)}
    norms = Counter(int(value.shape[0]) for key, value in state.items() if value.ndim == 1 and _is_norm(key))
    return Signs(kind, len(stacks), norms.most_common(1)[0][0] if norms else 0)


def _numbered(key: str) -> Iterable[re.Match[str]]:
    found = re.match(r".*?\b(?:layers?|h|blocks?)\.\d+(?=\.)", key)
    return (found,) if found is not None else ()


def _is_norm(key: str) -> bool:
    return re.search(r"norm|ln_|\bln\d", key, re.IGNORECASE) is not None and key.endswith("weight")
