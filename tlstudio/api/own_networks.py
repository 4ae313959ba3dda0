"""The torch side of `tlstudio.api.own_models`. Imports torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tlstudio.api.errors import PluginError
from tlstudio.api.features import Features
from tlstudio.api.layers import natural_groups
from tlstudio.api.nn import BackboneModule, LayerGroup

__all__ = ["OwnNetwork"]

_LISTS = (nn.Sequential, nn.ModuleList)


class OwnNetwork(BackboneModule):
    """A module of a plugin as a backbone.

    Args:
        module: The module.
        name: Name of the backbone, for messages.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise PluginError(f"The function of the backbone '{name}' made a {type(module).__name__}, no nn.Module.")
        self.module = module
        self._name = name

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``inputs``, ``[B, ...]``."""
        given: Any = self.module(inputs["inputs"])
        if isinstance(given, Features):
            return given
        if isinstance(given, Tensor) and given.ndim == 2:
            return Features(pooled=given)
        if isinstance(given, Tensor) and given.ndim == 3:
            return Features(pooled=given.mean(1), tokens=given)
        maps = (given,) if isinstance(given, Tensor) else given
        if isinstance(maps, tuple | list) and maps and all(isinstance(m, Tensor) and m.ndim == 4 for m in maps):
            return Features(pooled=maps[-1].mean((2, 3)), maps=tuple(maps))
        told = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise PluginError(
            f"The module of the backbone '{self._name}' returned {told}.",
            "It must return [B, D], [B, T, D], maps [B, C, H, W] from fine to coarse, or Features.",
        )

    def layer_groups(self) -> list[LayerGroup]:
        """Return the layers in the order in which they are defined."""
        children = self.module.named_children()
        return natural_groups(self.module, [name for name, child in children if isinstance(child, _LISTS)])
