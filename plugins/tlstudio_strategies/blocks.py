"""Finding attention and feed-forward parts in the networks of any library. Imports torch."""

from __future__ import annotations

import inspect
import re

from torch import nn
from transformers.pytorch_utils import Conv1D

from tlstudio.api import RunError

__all__ = [
    "attention_names",
    "bypassed",
    "ends_of_attention",
    "ends_of_feed_forward",
    "keys_and_values",
    "no_blocks",
    "output_width",
]

_KEYS_AND_VALUES = re.compile(
    r"(k|v|kv|qkv|key|value)(_proj|_lin)?|to_(k|v|kv|qkv)|query_key_value|c_attn|Wqkv|in_proj", re.IGNORECASE
)


def attention_names(network: nn.Module) -> list[str]:
    """Names of attention modules, those inside others among them."""
    return [
        name
        for name, module in network.named_modules()
        if name and re.search(r"attention|attn", f"{name.rpartition('.')[2]} {type(module).__name__}".lower())
    ]


def keys_and_values(network: nn.Module) -> list[str]:
    """Linear layers that make keys or values, be it together with queries."""
    inside = attention_names(network)
    return [
        name
        for name in _linear_names(network)
        if _KEYS_AND_VALUES.fullmatch(name.rpartition(".")[2]) and _within(name, inside)
    ]


def ends_of_attention(network: nn.Module) -> list[str]:
    """What gives the output of each attention: its last linear layer, or torch's fused attention as a whole."""
    every = attention_names(network)
    outermost = [name for name in every if not _within(name, every)]
    ends = []
    for name in outermost:
        module = network.get_submodule(name)
        fused = [part for part, inner in module.named_modules(prefix=name) if isinstance(inner, nn.MultiheadAttention)]
        layers = [layer for layer in _linear_names(network) if _within(layer, [name])]
        if fused:
            ends.append(fused[0])
        elif layers:
            ends.append(layers[-1])
    return ends


def ends_of_feed_forward(network: nn.Module) -> list[str]:
    """The linear layers that end feed-forward parts: outside of attention but in a block with one, and narrowing."""
    inside = attention_names(network)
    blocks = {found[0] for name in inside if (found := re.match(r".*?\d+(?=\.|$)", name))}
    return [
        name
        for name in _linear_names(network)
        if _within(name, blocks) and not _within(name, inside) and _narrows(network.get_submodule(name))
    ]


def output_width(module: nn.Module) -> int:
    """Width of what a layer of `ends_of_attention` or `ends_of_feed_forward` gives."""
    if isinstance(module, nn.MultiheadAttention):
        return int(module.embed_dim)
    return _widths(module)[1]


def bypassed(network: nn.Module, name: str) -> bool:
    """Whether the network takes the weight of a layer instead of calling it (torchvision's Swin)."""
    parent, _, child = name.rpartition(".")
    try:
        source = inspect.getsource(type(network.get_submodule(parent)).forward)
    except (OSError, TypeError):  # compiled code
        return False
    return re.search(rf"\bself\.{re.escape(child)}\.weight\b", source) is not None


def no_blocks(who: str) -> RunError:
    """Make the error of a backbone without blocks of attention and feed-forward parts."""
    return RunError(
        f"This backbone has no blocks of attention and feed-forward layers, which {who} needs.",
        "Choose a transformer, or another strategy, such as LoRA.",
        field="strategy",
    )


def _linear_names(network: nn.Module) -> list[str]:
    return [
        name
        for name, module in network.named_modules()
        if type(module) in {nn.Linear, Conv1D} and not bypassed(network, name)
    ]


def _within(name: str, prefixes: list[str] | set[str]) -> bool:
    return any(name.startswith(f"{prefix}.") for prefix in prefixes)


def _narrows(module: nn.Module) -> bool:
    inputs, outputs = _widths(module)
    return inputs > outputs


def _widths(module: nn.Module) -> tuple[int, int]:
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    raise TypeError(f"{type(module).__name__} is no linear layer")
