"""A transformers encoder as a backbone. Imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from tlstudio.api import FeatureKind, Features, WeightsError
from tlstudio.api.layers import natural_groups, stacks
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio.api.pooling import Pooling, pool
from tlstudio_text.masking import PLACES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Given(nn.Module):
    """Stands where an encoder would, and gives what it is given."""

    def forward(self, *_args: object, inputs_embeds: Tensor, **_options: object) -> BaseModelOutput:
        """Return token features ``[B, T, D]`` as they are."""
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class TextNetwork(BackboneModule):
    """An encoder of texts. It gives token features with their mask, and pooled ones, or scores of hidden tokens.

    Args:
        model: The encoder.
        pooling: How one vector is made of all tokens.
        make_scores: Builds what scores hidden tokens; called only where a head wants that.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling, make_scores: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.scores: nn.Module | None = None
        self._make_scores: Callable[[], nn.Module] | None = make_scores
        self._learned_scores: dict[str, Tensor] = {}
        self._wanted: FeatureKind = "pooled"
        self.model = model
        self.pooling = pooling
        config = model.config
        self.num_features = int(config.hidden_size)
        self._takes = tuple(inspect.signature(model.forward).parameters)

    @property
    def wanted(self) -> FeatureKind:
        """The kind of features that the head takes."""
        return self._wanted

    @wanted.setter
    def wanted(self, kind: FeatureKind) -> None:
        self._wanted = kind
        if kind != "masked":
            self.scores, self.vocabulary = None, 0
        elif self.scores is None:
            if self._make_scores is None:
                raise WeightsError("The part of the model that finds hidden words was given up.", "Load it anew.")
            self.scores, self.vocabulary = self._make_scores(), int(self.model.config.vocab_size)
            if self._learned_scores:
                self.scores.load_state_dict(self._learned_scores)
        self._make_scores, self._learned_scores = None, {}  # with the weights that they hold

    def take_over(self, state: Mapping[str, Tensor], assets: Path) -> list[str]:
        """Take over what an earlier run has learned; what scored hidden tokens there is of use where this does, too."""
        prefix = "scores."
        self._learned_scores = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
        return super().take_over({name: state[name] for name in state if not name.startswith(prefix)}, assets)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``input_ids`` and ``attention_mask``, both ``[B, T]``.

        Scores are of the tokens at the hidden places alone: of all, they would cost as much as the encoder.
        """
        given = {name: value for name, value in inputs.items() if name in self._takes}
        tokens: Tensor = self.model(**given, return_dict=True).last_hidden_state
        mask = inputs["attention_mask"].bool()
        if self.scores is None:
            return Features(pooled=pool(tokens, mask, self.pooling), tokens=tokens, mask=mask)
        places = inputs[PLACES].unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        return Features(tokens=tokens, mask=mask, logits=self.scores(inputs_embeds=tokens.gather(1, places)).logits)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings and each layer, from input to output."""
        if self.scores is None:
            return natural_groups(self.model, stacks(self.model))
        return natural_groups(self, [f"model.{name}" for name in stacks(self.model)])
