"""A language model of transformers as a backbone. Imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups, stacks
from tlstudio.api.model_folders import quiet
from tlstudio.api.nn import Generation, LayerGroup
from tlstudio.api.pooling import Pooling, pool
from tlstudio.api.writing import WritingModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LanguageNetwork"]


class LanguageNetwork(WritingModule):
    """A decoder, or an encoder with a decoder, which gives scores of the next token and writes texts.

    Where a head wants other features, only the part that makes them is kept: the decoder without its output layer,
    or the encoder.

    Args:
        model: The language model.
        pooling: How one vector is made of all tokens.
        ends: The tokens that end a text.
        longest: Tokens that it takes at most; `None`: any number.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling, ends: Sequence[int], longest: int | None) -> None:
        from transformers import GenerationConfig

        super().__init__(model)
        self.pooling = pooling
        self.longest = longest
        config: Any = model.config
        settings: Any = GenerationConfig  # it has no types
        self.num_features = int(config.hidden_size)
        self.vocabulary = int(config.vocab_size)
        self.paired = bool(config.is_encoder_decoder)
        pad = config.pad_token_id
        self._pad = int(pad if isinstance(pad, int) else ends[0])
        first = getattr(config, "decoder_start_token_id", None)
        self._first = int(first if isinstance(first, int) else self._pad)
        # What a folder says of sampling and the like is not taken over: texts are written without chance.
        model.generation_config = settings(
            eos_token_id=list(ends),
            pad_token_id=self._pad,
            decoder_start_token_id=self._first if self.paired else None,
            do_sample=False,
        )

    def reader(self) -> nn.Module:
        """The part that reads: the decoder without its output layer, or the encoder."""
        model: Any = self.model
        reader: nn.Module = model.get_encoder() if self.paired else model.base_model
        return reader

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``input_ids`` and ``attention_mask``, both ``[B, T]``."""
        mask = inputs["attention_mask"].bool()
        if self.wanted != "logits":
            tokens: Tensor = self.model(**self._taken(inputs), return_dict=True).last_hidden_state
            return Features(pooled=pool(tokens, mask, self.pooling), tokens=tokens, mask=mask)
        every = self._wanted is None
        given = self._taken(inputs)
        if self.paired and "decoder_input_ids" not in given:
            given["decoder_input_ids"] = torch.full_like(inputs["input_ids"][:, :1], self._first)
        output = self.model(**given, use_cache=False, output_hidden_states=every, return_dict=True)
        features = Features(mask=mask, logits=output.logits)
        if every:
            tokens = output.encoder_last_hidden_state if self.paired else output.hidden_states[-1]
            features.tokens, features.pooled = tokens, pool(tokens, mask, self.pooling)
        return features

    def _taken(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        takes = inspect.signature(self.model.forward).parameters
        return {name: value for name, value in inputs.items() if name in takes}

    def generate(self, inputs: dict[str, Tensor], how: Generation) -> Tensor:
        """Write on from each prompt; see `BackboneModule.generate`."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        room = how.max_new_tokens
        if not self.paired:
            ids, mask = prompts(ids, inputs["prompt_length"], self._pad)
        if self.longest is not None:
            room = max(1, min(room, self.longest - (1 if self.paired else ids.shape[1])))
        model: Any = self.model
        with quiet():
            written: Tensor = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=room, num_beams=how.num_beams, do_sample=False
            )
        return written[:, 1 if self.paired else ids.shape[1] :]

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings and each layer, from input to output; what scales the last goes with it."""
        groups = natural_groups(self.model, stacks(self.model))
        groups = [LayerGroup(f"{self._half(group)}{group.name}", group.modules) for group in groups]
        while len(groups) > 1 and all(parameter.ndim < 2 for parameter in groups[-1].parameters()):
            last = groups.pop()
            groups[-1] = LayerGroup(groups[-1].name, (*groups[-1].modules, *last.modules))
        return groups

    def _half(self, group: LayerGroup) -> str:
        """Tell the layers of an encoder from those of the decoder beside it, which have the same names."""
        if not self.paired or self.wanted != "logits":
            return ""
        model: Any = self.model
        encoder, decoder = (
            {id(parameter) for parameter in half.parameters()} for half in (model.get_encoder(), model.get_decoder())
        )
        own = {id(parameter) for parameter in group.parameters()}
        return "" if own <= encoder & decoder else "encoder " if own <= encoder else "decoder "


def prompts(ids: Tensor, lengths: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Cut each row after its prompt, and push the prompts to the right, so that all end at the same place.

    Args:
        ids: ``[B, T]``, each row beginning with its prompt.
        lengths: Tokens of each prompt, ``[B]``.
        pad: The token of the places before them.

    Returns:
        Tokens and mask, ``[B, P]`` with the longest prompt P.
    """
    longest = int(lengths.max())
    places = torch.arange(longest, device=ids.device) - (longest - lengths.unsqueeze(1))
    mask = places >= 0
    return ids.gather(1, places.clamp(min=0)).masked_fill(~mask, pad), mask.long()
