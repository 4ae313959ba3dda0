"""An image model of transformers as a backbone. Imports torch."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups, stacks
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio_vision.maps import grid, pyramid
from tlstudio_vision.model_folder import PREFIX_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FolderNetwork(BackboneModule):
    """A vision transformer or a convolutional network.

    Pooled features are what the model itself pools (its class token, the mean over a map), tokens the patches or the
    cells of the last map. Where maps are wanted it gives those instead: of a transformer its patches as one map.

    Args:
        model: The network.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        self._plain = config.model_type in PREFIX_TOKENS
        if self._plain:
            self.num_features = int(config.hidden_size)
            self._prefix = PREFIX_TOKENS[config.model_type] + int(getattr(config, "num_register_tokens", 0) or 0)
            self._patch, self._side = int(config.patch_size), int(config.image_size)
            self.map_channels, self.map_strides = (self.num_features,), (self._patch,)
        else:
            self.num_features = int(config.hidden_sizes[-1])
            first = int(getattr(config, "patch_size", 4))
            if getattr(config, "downsample_in_first_stage", False):
                first *= 2
            self.map_channels = tuple(int(size) for size in config.hidden_sizes)
            self.map_strides = tuple(first * 2**number for number in range(len(self.map_channels)))
        self._interpolates = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``pixels``, ``[B, 3, H, W]``."""
        pixels = inputs["pixels"]
        dense = self.wanted == "maps"
        arguments: dict[str, Any] = {"return_dict": True}
        if not self._plain:
            arguments["output_hidden_states"] = dense
        elif self._interpolates and pixels.shape[-2:] != (self._side, self._side):
            arguments["interpolate_pos_encoding"] = True
        output = self.model(pixel_values=pixels, **arguments)
        last: Tensor = output.last_hidden_state
        if dense and self._plain:
            height, width = (side // self._patch for side in pixels.shape[-2:])
            return Features(maps=(grid(last, height, width),))
        if dense:
            return Features(maps=pyramid(output.hidden_states, pixels.shape[-2]))
        pooled: Any = getattr(output, "pooler_output", None)
        if self._plain:
            return Features(pooled=last[:, 0] if pooled is None else pooled, tokens=last[:, self._prefix :])
        return Features(pooled=pooled.flatten(1), tokens=last.flatten(2).transpose(1, 2))

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embedding and each layer or stage, from input to output."""
        return natural_groups(self.model, stacks(self.model))
