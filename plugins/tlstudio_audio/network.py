"""Audio models of transformers as backbones. Imports torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio.api.pooling import Pooling, pool
from tlstudio_audio.folder import AST, WHISPER

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SoundNetwork(BackboneModule):
    """A model of sounds. It gives token features in the order of time with their mask, and pooled ones.

    Args:
        model: The model.
        pooling: How one vector is made of all tokens.
    """

    stacks: ClassVar[tuple[str, ...]] = ("layers",)

    def __init__(self, model: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.num_features = int(model.config.hidden_size)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``input_values`` with ``lengths``, ``[B]``."""
        tokens, mask = self.tokens(inputs["input_values"], inputs["lengths"])
        return Features(pooled=pool(tokens, mask, self.pooling), tokens=tokens, mask=mask)

    @abstractmethod
    def tokens(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute tokens ``[B, T, D]`` and tell which are real, ``[B, T]``."""

    def layer_groups(self) -> list[LayerGroup]:
        """Return what comes before the layers and each layer, from input to output."""
        return natural_groups(self.model, self.stacks)


class WaveformNetwork(SoundNetwork):
    """wav2vec 2.0, HuBERT and their kin: convolutions on the samples ``[B, T]``, then a transformer."""

    stacks: ClassVar[tuple[str, ...]] = ("feature_extractor.conv_layers", "encoder.layers")

    def tokens(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one token for about every 20 ms; padding changes nothing."""
        m: Any = self.model
        counts = self._frames(lengths)
        frames = self._convolved(values, lengths)
        projected = m.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT's gives one thing alone
        mask = first_places(counts, hidden.shape[1])
        tokens: Tensor = m.encoder(hidden, attention_mask=mask, return_dict=True).last_hidden_state
        return tokens, mask

    def _convolved(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Compute what the convolutions make of samples, ``[B, T', C]``.

        With "group" normalisation, which is taken over the whole time, zeros behind a recording would change all of
        it: there each recording goes through on its own.
        """
        m: Any = self.model
        if getattr(m.config, "feat_extract_norm", "layer") != "group":
            together: Tensor = m.feature_extractor(values).transpose(1, 2)
            return together
        alone = [
            m.feature_extractor(sound[:length].unsqueeze(0))[0].T
            for sound, length in zip(values, lengths.tolist(), strict=True)
        ]
        return nn.utils.rnn.pad_sequence(alone, batch_first=True)

    def _frames(self, lengths: Tensor) -> Tensor:
        config: Any = self.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths


class SpectrogramNetwork(SoundNetwork):
    """The Audio Spectrogram Transformer: patches of a spectrogram ``[B, frames, bands]``.

    Pooled features are those that it was pretrained with, the mean of its two marks; a token is the mean of the
    patches of one moment.
    """

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``input_values`` with ``lengths``, ``[B]``."""
        output = self.model(inputs["input_values"])
        tokens, mask = self._moments(output.last_hidden_state, inputs["lengths"])
        pooled = output.pooler_output if self.pooling == "mean" else pool(tokens, mask, self.pooling)
        return Features(pooled=pooled, tokens=tokens, mask=mask)

    def tokens(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one token for each moment."""
        return self._moments(self.model(values).last_hidden_state, lengths)

    def _moments(self, patches: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        config: Any = self.model.config
        moments = (config.max_length - config.patch_size) // config.time_stride + 1
        tokens = patches[:, 2:].unflatten(1, (-1, moments)).mean(dim=1)
        begun = torch.div(lengths - 1, config.time_stride, rounding_mode="floor") + 1
        return tokens, first_places(begun.clamp(max=moments), moments)


class WhisperNetwork(SoundNetwork):
    """The encoder of Whisper on a spectrogram ``[B, bands, frames]``: one token for two frames."""

    def tokens(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one token for every 20 ms."""
        tokens: Tensor = self.model(values).last_hidden_state
        return tokens, first_places((lengths + 1) // 2, tokens.shape[1])


def network_of(model: PreTrainedModel, pooling: Pooling) -> SoundNetwork:
    """Make the backbone of a model."""
    kinds: dict[str, type[SoundNetwork]] = {AST: SpectrogramNetwork, WHISPER: WhisperNetwork}
    return kinds.get(model.config.model_type, WaveformNetwork)(model, pooling)


def first_places(counts: Tensor, length: int) -> Tensor:
    """A mask ``[B, length]`` that is True for the first so many of each row."""
    return torch.arange(length, device=counts.device) < counts.unsqueeze(1)
