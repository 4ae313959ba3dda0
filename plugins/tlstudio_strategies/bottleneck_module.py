"""Putting bottleneck adapters into a network. Imports torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio_strategies.added import within_two_hundredths
from tlstudio_strategies.blocks import ends_of_attention, ends_of_feed_forward, no_blocks, output_width

__all__ = ["Bottleneck", "add_bottlenecks"]

_NAME = "adapter"


class Bottleneck(nn.Module):
    """``h + W2 gelu(W1 h + b1) + b2`` with W2 and b2 zero at the start.

    Args:
        features: Width of h.
        width: Width in the middle.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(features, width)
        self.up = nn.Linear(width, features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Compute ``[..., features]`` from the same."""
        output: Tensor = h + self.up(F.gelu(self.down(h)))
        return output


def add_bottlenecks(network: nn.Module, *, width: int, both: bool, most: int = 64) -> None:
    """Put an adapter behind the last layer of each feed-forward part, before its residual is added, in place.

    It is a child of that layer, with a hook that passes its output through, so that no other name changes.

    Args:
        network: The network, frozen.
        width: Width of the adapters; 0: as wide as fits into 2 % of the network's parameters.
        both: Also behind attention, and let normalisation layers learn.
        most: The largest width that is taken where it is 0.

    Raises:
        RunError: It has no such parts.
    """
    names = ends_of_feed_forward(network)
    if both:
        names = [*ends_of_attention(network), *names]
    if not names:
        raise no_blocks("this strategy")
    layers = [network.get_submodule(name) for name in names]
    norms = [module for module in network.modules() if "norm" in type(module).__name__.lower()] if both else []
    learning = [parameter for module in norms for parameter in module.parameters(recurse=False)]
    if not width:
        features = [output_width(layer) for layer in layers]
        besides = sum(features) + sum(parameter.numel() for parameter in learning)
        width = within_two_hundredths(network, sum(2 * each + 1 for each in features), besides, most=most)
    for layer in layers:
        layer.add_module(_NAME, Bottleneck(output_width(layer), width))
        layer.register_forward_hook(_pass_through)
    for parameter in learning:
        parameter.requires_grad_(True)


def _pass_through(layer: nn.Module, _inputs: Any, output: Any) -> Any:  # noqa: ANN401  as the layer's
    adapter = layer.get_submodule(_NAME)
    if isinstance(output, tuple):  # torch's fused attention gives its weights as well
        return (adapter(output[0]), *output[1:])
    return adapter(output)
