"""Whisper as a backbone that writes. Imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups
from tlstudio.api.nn import Generation, LayerGroup
from tlstudio.api.pooling import Pooling, pool
from tlstudio.api.writing import WritingModule
from tlstudio_audio.network import first_places

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tlstudio_audio.writing_folder import Marks


class SpeechNetwork(WritingModule):
    """Encoder and decoder: scores of the next token of what is said, and the tokens of the encoder.

    Where a head wants other features than logits, only the encoder is kept.

    Args:
        model: A WhisperForConditionalGeneration.
        marks: Tokens that mean something to it.
        pooling: How one vector is made of all tokens of the encoder.
    """

    def __init__(self, model: PreTrainedModel, marks: Marks, pooling: Pooling) -> None:
        import transformers

        super().__init__(model)
        self.pooling = pooling
        self.num_features = int(model.config.hidden_size)
        self.vocabulary = int(model.config.vocab_size)
        self._longest = int(model.config.max_target_positions)
        self._marks = marks
        # What a folder says of sampling and the like is not taken over: texts are written without chance.
        library: Any = transformers  # without types
        model.generation_config = library.GenerationConfig()

    def reader(self) -> nn.Module:
        """The encoder."""
        model: Any = self.model
        encoder: nn.Module = model.get_encoder()
        return encoder

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``input_values`` with ``lengths``; logits of what follows ``decoder_input_ids``."""
        sounds, lengths = inputs["input_values"], inputs["lengths"]
        if self.wanted != "logits":
            return self._heard(self.model(sounds).last_hidden_state, lengths)
        given = inputs.get("decoder_input_ids")
        if given is None:
            given = self._beginning(sounds)
        output = self.model(input_features=sounds, decoder_input_ids=given, use_cache=False, return_dict=True)
        features = self._heard(output.encoder_last_hidden_state, lengths)
        features.logits = output.logits
        return features

    def _heard(self, tokens: Tensor, lengths: Tensor) -> Features:
        mask = first_places((lengths + 1) // 2, tokens.shape[1])
        return Features(pooled=pool(tokens, mask, self.pooling), tokens=tokens, mask=mask)

    def _beginning(self, sounds: Tensor) -> Tensor:
        return torch.tensor([self._marks.first], device=sounds.device).expand(len(sounds), -1)

    def generate(self, inputs: dict[str, Tensor], how: Generation) -> Tensor:
        """Write down each recording; see `BackboneModule.generate`."""
        import transformers

        marks = self._marks
        sounds = inputs["input_values"]
        first = self._beginning(sounds)
        # Whisper's own generate makes windows and guesses languages; here what is said lies in one window.
        library: Any = transformers  # without types
        write = library.GenerationMixin.generate
        written: Tensor = write(
            self.model,
            inputs=sounds,
            attention_mask=torch.ones(len(sounds), sounds.shape[2], dtype=torch.int64, device=sounds.device),
            decoder_input_ids=first,
            generation_config=library.GenerationConfig(
                eos_token_id=marks.end,
                pad_token_id=marks.end,
                decoder_start_token_id=marks.first[0],
                suppress_tokens=list(marks.never) or None,
                begin_suppress_tokens=list(marks.not_first) or None,
                max_new_tokens=max(1, min(how.max_new_tokens, self._longest - first.shape[1])),
                num_beams=how.num_beams,
                do_sample=False,
            ),
        )
        return written[:, first.shape[1] :]

    def layer_groups(self) -> list[LayerGroup]:
        """Return what comes before the layers and each layer, of the encoder and then of the decoder."""
        if self.wanted != "logits":
            return natural_groups(self.model, ("layers",))
        model: Any = self.model
        groups = natural_groups(self.model, ("model.encoder.layers", "model.decoder.layers"))
        heard = {id(parameter) for parameter in model.get_encoder().parameters()}
        halves = ("encoder" if id(next(group.parameters())) in heard else "decoder" for group in groups)
        return [LayerGroup(f"{half} {group.name}", group.modules) for half, group in zip(halves, groups, strict=True)]
