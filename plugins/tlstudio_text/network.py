"""A transformers encoder as a backbone. Imports torch."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from torch import Tensor

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups, stacks
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio.api.pooling import Pooling, pool

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
        return natural_groups(self.model, stacks(self.model))
