"""From a recording to what an audio backbone takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlstudio.api import Augmentation, DataError, Preprocessor, Sample
from tlstudio.api.sounds import open_sound, sound_rate, sound_seconds
from tlstudio_audio.augment import mask_bands, vary
from tlstudio_audio.folder import AST, WHISPER

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedConfig
    from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

AST_WINDOW = 400
"""Samples of one frame of the Audio Spectrogram Transformer."""
AST_STEP = 160
"""Samples from one of its frames to the next."""


class SoundPreprocessor(Preprocessor):
    """Opens recordings at the model's sampling rate and lets the model's own feature extractor prepare them.

    Args:
        extractor: The feature extractor of the model.
        config: The configuration of the model.
        max_seconds: Recordings are cut after this many seconds, or after what the model takes.
        augmentation: How strongly training samples are varied.
    """

    def __init__(
        self,
        extractor: SequenceFeatureExtractor,
        config: PreTrainedConfig,
        *,
        max_seconds: float,
        augmentation: Augmentation,
    ) -> None:
        self._extract: Any = extractor  # each kind takes its own arguments
        self._kind = config.model_type
        self.rate = int(extractor.sampling_rate)
        self._shortest, most = _span(extractor, config)
        wanted = max(self._shortest, round(max_seconds * self.rate))
        self.longest = wanted if most is None else min(wanted, most)
        self.augmentation = augmentation

    @property
    def fixed(self) -> bool:
        """Whether every recording becomes an input of the same size."""
        return self._kind in (AST, WHISPER)

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``input_values`` and ``length``, what of it is no padding.

        ``input_values`` are the normalised samples ``[T]``, or a mel spectrogram: ``[frames, bands]`` of the Audio
        Spectrogram Transformer, ``[bands, frames]`` of Whisper. ``length`` counts samples or frames.
        """
        import torch

        if sample.audio is None:
            raise DataError(
                f"{sample.source or sample.id} has no recording.",
                "Audio backbones need recordings: choose a backbone for what the data set holds.",
            )
        sound, _ = open_sound(sample.audio, self.rate)
        sound = sound[: self.longest]
        varied = seed is not None and self.augmentation != "none"
        dice = np.random.default_rng(seed) if varied else None
        if dice is not None:
            sound = vary(sound, self.rate, self.augmentation, dice)
        if len(sound) < self._shortest:
            sound = np.pad(sound, (0, self._shortest - len(sound)))
        values, length = self._values(sound)
        if dice is not None and self.augmentation in ("strong", "contrastive") and self.fixed:
            mask_bands(values.T if self._kind == WHISPER else values, length, dice)
        return {"input_values": torch.from_numpy(values), "length": length}

    def _values(self, sound: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        extracted = self._extract(sound, sampling_rate=self.rate, return_tensors="np")
        values = extracted["input_features" if self._kind == WHISPER else "input_values"][0]
        length = len(sound)
        if self._kind == WHISPER:
            length = -(-length // self._extract.hop_length)
        elif self._kind == AST:
            length = 1 + (length - AST_WINDOW) // AST_STEP
        return np.array(values, dtype=np.float32), length

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``input_values``, padded with zeros on the right, and ``lengths``, ``[B]`` int64."""
        import torch

        values = [item["input_values"] for item in items]
        padded = torch.stack(values) if self.fixed else torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        return {"input_values": padded, "lengths": torch.tensor([item["length"] for item in items])}

    def length(self, sample: Sample) -> int:
        """Return tenths of a second, from the head of the file."""
        if self.fixed or sample.audio is None:
            return 1
        return 1 + int(10 * min(sound_seconds(sample.audio), self.longest / self.rate))

    def is_cut(self, sample: Sample) -> bool:
        """Whether the end of a recording is left out."""
        return sample.audio is not None and sound_seconds(sample.audio) * self.rate > self.longest + self.rate / 100

    def remark(self, sample: Sample) -> str:
        """Say that a recording has another sampling rate than the model takes."""
        own = self.rate if sample.audio is None else sound_rate(sample.audio)
        if own in (0, self.rate):
            return ""
        lacking = f", and nothing in it is above {own / 2:,.0f} Hz" if own < self.rate else ""
        return (
            f"The recording has {own:,} samples a second; it is brought to the {self.rate:,} that the model takes"
            f"{lacking}."
        )

    @property
    def limit(self) -> str:
        """How much of a recording is taken."""
        return f"{self.longest / self.rate:g} s"

    def describe(self) -> dict[str, Any]:
        """Give rate, cut and normalisation; the feature extractor's file lies beside the model."""
        return {
            "input": "input_values, lengths",
            "feature_extractor": type(self._extract).__name__,
            "sampling_rate": self.rate,
            "channels": "1, the mean of all",
            "max_seconds": self.longest / self.rate,
            "padding": "to the size that the model takes" if self.fixed else "right, to the longest of the batch",
        }


def _span(extractor: Any, config: Any) -> tuple[int, int | None]:  # noqa: ANN401  each kind has its own attributes
    """Fewest samples that give a frame, and the most that a model takes; `None`: any number."""
    if config.model_type == WHISPER:
        return extractor.hop_length, extractor.n_samples
    if config.model_type == AST:
        return AST_WINDOW, AST_WINDOW + (extractor.max_length - 1) * AST_STEP
    least = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        least = (least - 1) * stride + kernel
    return least, None
