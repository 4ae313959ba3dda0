"""A tiny backbone for sounds, and tones to feed it. Light to import."""

from __future__ import annotations

import math
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import Augmentation, DataError, FeatureKind, Modality, Preprocessor, Sample
from tlstudio.testing.components import TinyBackbone

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

__all__ = ["TinySoundEncoder", "write_tone"]


class TinySoundEncoder(TinyBackbone):
    """Two convolutions and a transformer layer on sounds of 8000 samples a second."""

    name = "tiny_sound_encoder"
    title = "Tiny sound encoder"
    description = "Two convolutions and a transformer layer with random weights, for tests of plugins."
    modality: Modality = "audio"
    _provides = frozenset({"pooled", "tokens"})
    _input = "sound"

    def preprocessor(
        self,
        options: api.Options,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor."""
        return TinySoundPreprocessor()

    def restore(self, options: api.Options, assets: Path) -> BackboneModule:
        """Build the network."""
        from tlstudio.testing.networks import SoundEncoder

        return SoundEncoder()


class TinySoundPreprocessor(Preprocessor):
    """Opens sounds with 8000 samples a second, a whole number of steps of 64 samples."""

    rate = 8000
    step = 64

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``sound``, ``[T]`` float32."""
        import numpy as np
        import torch

        from tlstudio.api.sounds import open_sound

        if sample.audio is None:
            raise DataError(f"{sample.source or sample.id} has no recording.", "Choose a data set of recordings.")
        sound, _ = open_sound(sample.audio, self.rate)
        return {"sound": torch.from_numpy(np.pad(sound, (0, -len(sound) % self.step)))}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ``sound``, ``[B, T]``, and ``steps``, ``[B]``: how many of its steps are no padding."""
        import torch

        sounds = [item["sound"] for item in items]
        steps = torch.tensor([len(sound) // self.step for sound in sounds])
        return {"sound": torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True), "steps": steps}


def write_tone(path: Path, pitch: float, seconds: float) -> None:
    """Write a tone as WAV, 8000 samples a second of 16 bits.

    Args:
        path: The file; its folder must exist.
        pitch: Hertz.
        seconds: How long it lasts.
    """
    tone = array("h", (int(9000 * math.sin(2 * math.pi * pitch * t / 8000)) for t in range(round(seconds * 8000))))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone.tobytes())
