"""Putting adapters into a network and folding them in, through PEFT. Imports torch and peft."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from peft import IA3Config, LoKrConfig, LoraConfig, OFTConfig, PeftConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from tlstudio.api import RunError
from tlstudio_strategies.added import within_two_hundredths
from tlstudio_strategies.blocks import attention_names, bypassed, ends_of_feed_forward, keys_and_values, no_blocks
from tlstudio_strategies.four_bits import in_four_bits, out_of_four_bits

__all__ = ["add_ia3", "add_lokr", "add_lora", "add_oft", "add_qlora", "layers_to_adapt", "merge_adapters", "rank_of"]

Target = Literal["auto", "attention", "all-linear"]


def add_lora(
    network: nn.Module, *, rank: int, alpha: int, dropout: float, target: Target, use_dora: bool, most: int = 8
) -> None:
    """Put adapters into a network, in place. They start so that outputs are unchanged.

    Everything but the adapters is frozen. torch's fused attention (`nn.MultiheadAttention`) holds its projections
    as a bare parameter, which PEFT can adapt only without dropout and DoRA: with one of these it is left out.

    Args:
        network: The network.
        rank: Width of the adapters; 0: as wide as fits into 2 % of the network's parameters.
        alpha: Their output is scaled by alpha / rank.
        dropout: Share of their inputs that is dropped while training.
        target: Which layers are adapted.
        use_dora: Whether to learn magnitudes as well.
        most: The largest rank that is taken where it is 0.

    Raises:
        RunError: There is no layer to adapt.
    """
    modules, parameters = layers_to_adapt(network, target)
    fused_left_out = bool(parameters) and (dropout > 0 or use_dora)
    if fused_left_out:
        parameters = []
        if target == "auto" and not modules:
            modules, _ = layers_to_adapt(network, "all-linear")
    if not modules and not parameters:
        raise _nothing_to_adapt("LoRA", target, fused_left_out)
    config = LoraConfig(
        r=rank or _rank(network, modules, parameters, most, use_dora=use_dora),
        lora_alpha=alpha,
        lora_dropout=dropout,
        use_dora=use_dora,
        bias="none",
        target_modules=exactly(modules),
        target_parameters=parameters or None,
    )
    inject(network, config)


def add_qlora(network: nn.Module, *, rank: int, alpha: int, dropout: float, most: int = 16) -> None:
    """Put the linear layers inside of a network's blocks into four bits and LoRA adapters beside them, in place.

    Embeddings, norms and the output layer of a language model stay as they are.

    Args:
        network: The network, frozen.
        rank: Width of the adapters; 0: as wide as fits into 2 % of the network's parameters.
        alpha: Their output is scaled by alpha / rank.
        dropout: Share of their inputs that is dropped while training.
        most: The largest rank that is taken where it is 0.

    Raises:
        RunError: It has no blocks with linear layers.
    """
    names = [name for name in layers_to_adapt(network, "all-linear")[0] if re.search(r"\d\.", name)]
    modules = [name for name in names if type(network.get_submodule(name)) is nn.Linear]
    if not modules:
        raise RunError(
            "This backbone has no blocks with linear layers that QLoRA could keep in four bits.",
            "Choose another strategy, such as LoRA.",
            field="strategy",
        )
    rank = rank or _rank(network, modules, (), most)
    in_four_bits(network, modules)
    inject(network, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=exactly(modules)))


def add_lokr(network: nn.Module, *, rank: int, alpha: int, factor: int, target: Target) -> None:
    """Put LoKr adapters into a network, in place; see `add_lora`.

    Args:
        network: The network.
        rank: Rank of the larger of the two factors.
        alpha: What is learned is scaled by alpha / rank.
        factor: Size of the smaller one; -1 makes both as alike as can be.
        target: Which layers are adapted.

    Raises:
        RunError: There is no layer to adapt.
    """
    modules = _plain_layers(network, target, "LoKr")
    inject(network, LoKrConfig(r=rank, alpha=alpha, decompose_factor=factor, target_modules=exactly(modules)))


def add_oft(network: nn.Module, *, block_size: int, target: Target) -> None:
    """Put orthogonal adapters into a network, in place; see `add_lora`.

    Args:
        network: The network.
        block_size: Inputs that are rotated together; where it is no divisor of their number, the nearest one is taken.
        target: Which layers are adapted.

    Raises:
        RunError: There is no layer to adapt.
    """
    # PEFT rotates what goes into wider convolutions patch by patch, which cannot be folded into their weights.
    modules = _plain_layers(network, target, "OFT", widest=1)
    inject(network, OFTConfig(oft_block_size=block_size, target_modules=exactly(modules)))


def add_ia3(network: nn.Module) -> None:
    """Put the scales of IA3 into a network, in place: on keys, values and what is inside feed-forward parts.

    Where one layer makes queries, keys and values, all three are scaled. torch's fused attention has no layer for them:
    there the feed-forward parts alone are scaled.

    Raises:
        RunError: There is no such layer.
    """
    keys, inner = keys_and_values(network), ends_of_feed_forward(network)
    if not keys and not inner:
        raise no_blocks("IA3")
    inject(network, IA3Config(target_modules=exactly([*keys, *inner]), feedforward_modules=exactly(inner)))


def inject(network: nn.Module, config: PeftConfig) -> None:
    """Let PEFT put adapters into a network, in place, and freeze everything else."""
    with warnings.catch_warnings():
        # PEFT sees by itself which layers hold their weights the other way round (GPT-2's), and says so of each.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", message="Invalid `oft_block_size`")
        inject_adapter_in_model(config, network)


def exactly(names: Sequence[str]) -> str | list[str]:
    """Make the pattern that matches these names alone: a list would also match names that merely end the same."""
    return "|".join(re.escape(name) for name in names) if names else []


def _plain_layers(network: nn.Module, target: Target, who: str, widest: int = 10**6) -> list[str]:
    """Layers that every adapter can stand beside: of which the weight lies the usual way, and no wider convolutions."""

    def plain(names: list[str]) -> list[str]:
        layers = {name: network.get_submodule(name) for name in names}
        return [
            name
            for name, layer in layers.items()
            if type(layer) is not Conv1D and not (isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > widest)
        ]

    modules = plain(layers_to_adapt(network, target)[0])
    if not modules and target == "auto":
        modules = plain(layers_to_adapt(network, "all-linear")[0])
    if not modules:
        raise _nothing_to_adapt(who, target, fused_left_out=False)
    return modules


def layers_to_adapt(network: nn.Module, target: Target) -> tuple[list[str], list[str]]:
    """Name the layers that get an adapter.

    Layers qualify that adapters can stand beside and be folded into exactly: plain linear layers and convolutions
    without groups. Subclasses that compute their weight or padding (timm's "same" padding, weight standardisation)
    do not, nor do layers of which the network takes the weight instead of calling them (torchvision's Swin), nor those
    that share it with another (the output layer of most language models).

    Args:
        network: The network.
        target: ``"attention"``: what lies in an attention module; ``"all-linear"``: every layer that qualifies;
            ``"auto"``: attention if there is any, else all.

    Returns:
        Names of modules, and names of parameters (the joint input projection of `nn.MultiheadAttention`).
    """
    modules, parameters = [], []
    uses = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    for name, module in network.named_modules():
        if type(module) is nn.MultiheadAttention and module.in_proj_weight is not None:
            parameters.append(f"{name}.in_proj_weight")
        elif any(uses[id(parameter)] > 1 for parameter in module.parameters(recurse=False)):
            continue  # folding in would change the layer that it shares its weight with: an embedding
        elif _can_be_adapted(module) and not bypassed(network, name):
            modules.append(name)
    if target == "all-linear":
        return modules, parameters
    inside = attention_names(network)
    attention = [name for name in modules if any(name.startswith(f"{prefix}.") for prefix in inside)]
    if target == "auto" and not attention and not parameters:
        return modules, parameters
    return attention, parameters


def rank_of(network: nn.Module) -> int:
    """The rank of the LoRA adapters that are in a network."""
    configs: Any = network.peft_config
    return int(configs["default"].r)


def _rank(
    network: nn.Module, modules: list[str], parameters: Sequence[str], most: int, *, use_dora: bool = False
) -> int:
    """The largest rank up to `most` with which LoRA beside these layers stays within 2 % of a network."""
    layers = [network.get_submodule(name) for name in modules]
    named = [f"{name}.weight" for name in modules]
    weights = [network.get_parameter(name) for name in (*named, *parameters)]
    outputs = [w.shape[int(type(layer) is Conv1D)] for layer, w in zip(layers, weights, strict=False)]
    each = sum(weight.shape[0] + weight[0].numel() for weight in weights)
    return within_two_hundredths(network, each, sum(outputs) if use_dora else 0, most=most)


def _can_be_adapted(module: nn.Module) -> bool:
    return type(module) in {nn.Linear, Conv1D} or (type(module) is nn.Conv2d and module.groups == 1)


def _nothing_to_adapt(who: str, target: Target, fused_left_out: bool) -> RunError:
    if fused_left_out:
        return RunError(
            "The attention layers of this backbone can be adapted only without dropout and without DoRA.",
            "Set strategy.dropout to 0 and strategy.use_dora to false, or set strategy.target to all-linear.",
            field="strategy.target",
        )
    if target == "attention":
        return RunError(
            f"This backbone has no attention layers that {who} could adapt.",
            "Set strategy.target to all-linear, which adapts convolutions and linear layers.",
            field="strategy.target",
        )
    return RunError(
        f"This backbone has no linear layers or convolutions that {who} could adapt.",
        "Choose another strategy, such as partial fine-tuning.",
        field="strategy",
    )


def merge_adapters(network: nn.Module) -> None:
    """Fold all adapters into the layers they stand beside and put those back in their places.

    Afterwards the network has the same modules and state dict names as before, and the same outputs up
    to rounding.
    """
    out_of_four_bits(network)
    # Outer layers first: one that wraps a fused attention holds others inside.
    for name, layer in [(n, m) for n, m in network.named_modules() if isinstance(m, BaseTunerLayer)]:
        unload = getattr(layer, "unload_and_optionally_merge_module", None)
        if unload is not None:
            plain = unload(merge=True, safe_merge=True, adapter_names=None)
        else:
            layer.merge(safe_merge=True)
            plain = layer.get_base_layer()
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, plain)
    if hasattr(network, "peft_config"):
        del network.peft_config
