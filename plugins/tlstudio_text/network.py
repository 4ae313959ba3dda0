"""A transformers encoder as a backbone. Imports torch."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio_text.options import Pooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextNetwork(BackboneModule):
    """An encoder of texts. It gives token features with their mask, and pooled ones.

    Args:
        model: The encoder.
        pooling: How one vector is made of all tokens.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        config = model.config
        self.num_features = int(config.hidden_size)
        self._takes = tuple(inspect.signature(model.forward).parameters)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``input_ids`` and ``attention_mask``, both ``[B, T]``."""
        given = {name: value for name, value in inputs.items() if name in self._takes}
        tokens: Tensor = self.model(**given, return_dict=True).last_hidden_state
        mask = inputs["attention_mask"].bool()
        return Features(pooled=pool(tokens, mask, self.pooling), tokens=tokens, mask=mask)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings and each layer, from input to output."""
        return natural_groups(self.model, _stacks(self.model))


def pool(tokens: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of all tokens that are not padding.

    Args:
        tokens: ``[B, T, D]``.
        mask: ``[B, T]``, True where a token is real.
        pooling: How.

    Returns:
        ``[B, D]``.
    """
    if pooling == "cls":
        return tokens[:, 0]
    real = mask.unsqueeze(-1)
    if pooling == "max":
        return tokens.masked_fill(~real, float("-inf")).amax(dim=1)
    weights = real.to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def _stacks(model: nn.Module) -> list[str]:
    """Names of the lists of layers that are not part of another list."""
    names: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in names):
            names.append(name)
    return names
