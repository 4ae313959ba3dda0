"""Putting visual prompts into a vision transformer. Imports torch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tlstudio.api import RunError

__all__ = ["add_visual_prompts"]

_NAME = "visual_prompts"
_LISTS = {
    "VisionTransformer": ("blocks", "encoder.layers"),  # of timm and of torchvision
    **dict.fromkeys(
        ("ViTModel", "DeiTModel", "Dinov2Model", "Dinov2WithRegistersModel", "CLIPVisionModel", "SiglipVisionModel"),
        ("encoder.layer", "encoder.layers", "vision_model.encoder.layers", "layers"),
    ),
}
"""Where plain vision transformers, by the name of their class, have their blocks: each sees the patches of the whole
image, and no positions are inside of its attention."""


class Prompts(nn.Module):
    """Prompts of one block.

    Args:
        count: How many.
        width: Width of a token.
        patch: Numbers in a patch of an image.
    """

    def __init__(self, count: int, width: int, patch: int) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (patch + width))  # Xavier, as the official code of the paper draws them
        self.tokens = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))


def add_visual_prompts(backbone: nn.Module, *, prompts: int, deep: bool) -> None:
    """Let the blocks of a plain vision transformer see learned tokens beside its own, in place.

    They are put behind the others, where attention sees them as well as anywhere else, and are taken away behind the
    block: what the network does with its tokens does not change. Deep prompts are then dropped, as those of the next
    block take their place; shallow ones go on into the next block as this one has left them.

    Args:
        backbone: The backbone, frozen.
        prompts: How many.
        deep: Whether each block has prompts of its own.

    Raises:
        RunError: It is no plain vision transformer.
    """
    network, blocks = _find_blocks(backbone)
    patching = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    width, patch = patching.out_channels, math.prod(patching.weight.shape[1:])
    carried: list[Tensor] = []  # shallow prompts on their way from one block to the next

    def before(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens: Tensor = inputs[0]
        if _NAME in block._modules:
            carried.clear()
            own: Tensor = block.get_submodule(_NAME).get_parameter("tokens")
            carried.append(own.to(tokens.dtype).expand(len(tokens), -1, -1))
        return (torch.cat([tokens, carried.pop()], dim=1), *inputs[1:])

    def behind(block: nn.Module, _inputs: Any, output: Any) -> Any:  # noqa: ANN401  as the block's
        tokens: Tensor = output[0] if isinstance(output, tuple) else output
        if not deep and block is not blocks[-1]:
            carried.append(tokens[:, -prompts:])
        tokens = tokens[:, :-prompts]
        return (tokens, *output[1:]) if isinstance(output, tuple) else tokens

    for number, block in enumerate(blocks):
        if deep or number == 0:
            block.add_module(_NAME, Prompts(prompts, width, patch))
        block.register_forward_pre_hook(before)
        block.register_forward_hook(behind)


def _find_blocks(backbone: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    for module in backbone.modules():
        known = [_LISTS[one.__name__] for one in type(module).__mro__ if one.__name__ in _LISTS]
        for name in known[0] if known else ():
            try:
                blocks = list(module.get_submodule(name).children())
            except AttributeError:
                continue
            return module, blocks
    raise RunError(
        "This backbone is no plain vision transformer, which visual prompts need.",
        "Choose a ViT, DeiT or DINOv2, or another strategy.",
        field="strategy",
    )
