"""Linear layers with frozen weights in four bits: the NF4 of QLoRA. Imports torch.

Dettmers et al. 2023, arXiv:2305.14314, section 3 and appendix E: the weights of a block of 64 are divided by the
largest of them, and each is put to the nearest of 16 values, the quantiles of a normal distribution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api.nn import stand_for

__all__ = ["NF4", "FourBitLinear", "in_four_bits", "out_of_four_bits"]

BLOCK = 64
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


class FourBitLinear(nn.Linear):
    """A frozen linear layer that keeps its weight in four bits, and one scale of 32 bits for each 64 of them.

    Args:
        layer: The layer that it takes the place of.
    """

    packed: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self._dtype = layer.weight.dtype
        packed, scales = _packed(layer.weight.detach())
        self.register_buffer("packed", packed)
        # A parameter, though it does not learn: without any, the layer would count as part of what learns around it.
        self.scales = nn.Parameter(scales, requires_grad=False)
        stand_for(self.scales, layer.weight.numel())
        self.bias = layer.bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # of nn.Linear it is held, here computed
        """The weight that the layer computes with, ``[out, in]``."""
        shape = (self.out_features, self.in_features)
        return _unpacked(self.packed, self.scales, shape).to(self._dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[..., out]`` from ``[..., in]``; the whole weight is there only for that moment."""
        output: Tensor = _Product.apply(x, self)
        return output if self.bias is None else output + self.bias.to(output.dtype)


class _Product(torch.autograd.Function):
    """``x W^T``, for which W is computed again in the backward pass instead of being kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FourBitLinear) -> Tensor:  # noqa: ANN401  torch's
        """Compute the product."""
        ctx.layer = layer
        return F.linear(x, layer.weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401  torch's
        """Give the gradient of x."""
        return gradient @ ctx.layer.weight.to(gradient.dtype), None


def in_four_bits(network: nn.Module, names: list[str]) -> None:
    """Put layers of a network into four bits, in place."""
    for name in names:
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Linear):
            _replace(network, name, FourBitLinear(layer))


def out_of_four_bits(network: nn.Module) -> None:
    """Make them plain layers again, with the weights that they have computed with."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, FourBitLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
            plain.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
            plain.bias = layer.bias
            _replace(network, name, plain)


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    layer.train(network.get_submodule(name).training)
    setattr(network.get_submodule(parent), child, layer)


def _packed(weight: Tensor) -> tuple[Tensor, Tensor]:
    flat = F.pad(weight.float().flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    scales = flat.abs().amax(dim=1)
    table = torch.tensor(NF4, device=weight.device)
    middles = (table[1:] + table[:-1]) / 2
    nearest = torch.bucketize(flat / scales.clamp(min=1e-30).unsqueeze(1), middles).to(torch.uint8).flatten()
    return nearest[::2] << 4 | nearest[1::2], scales


def _unpacked(packed: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
    nearest = torch.stack([packed >> 4, packed & 15], dim=1).flatten().int()
    flat = torch.tensor(NF4, device=packed.device)[nearest].view(-1, BLOCK) * scales.unsqueeze(1)
    return flat.flatten()[: shape[0] * shape[1]].view(shape)
