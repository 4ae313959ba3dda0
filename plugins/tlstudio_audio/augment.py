"""Random variation of training recordings, drawn from a seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlstudio.api import Augmentation

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAIN = {"light": 3.0, "strong": 6.0, "contrastive": 12.0}
"""Decibels by which a recording may become louder or softer."""
SHIFT = {"light": 0.05, "strong": 0.1, "contrastive": 0.3}
"""Seconds of silence that may come before it, or that may be cut off its beginning."""
NOISE = {"light": (30.0, 60.0), "strong": (15.0, 45.0), "contrastive": (5.0, 45.0)}
"""How many decibels white noise is softer than the recording; half of the recordings get some."""
SPANS = 2
"""Spans of a recording that are silenced with "strong"; bands of a spectrogram likewise."""
SPAN_SHARE = 0.05
"""Longest of these, as a share of the recording."""
BAND_SHARE = 0.15
"""Widest band that is masked, as a share of all bands."""


def vary(
    sound: NDArray[np.float32], rate: int, augmentation: Augmentation, dice: np.random.Generator
) -> NDArray[np.float32]:
    """Change loudness and beginning, add noise, and but for ``"light"`` silence short spans.

    Args:
        sound: Samples, ``[T]``; left as they are.
        rate: Samples a second.
        augmentation: ``"light"``, ``"strong"`` or ``"contrastive"``.
        dice: All that is random comes from it.

    Returns:
        As many samples.
    """
    result = _shifted(sound, round(rate * dice.uniform(-SHIFT[augmentation], SHIFT[augmentation])))
    result = result * np.float32(10 ** (dice.uniform(-GAIN[augmentation], GAIN[augmentation]) / 20))
    if dice.random() < 0.5:
        loudness = float(np.sqrt(np.mean(np.square(result, dtype=np.float64))))
        softer = 10 ** (-dice.uniform(*NOISE[augmentation]) / 20)
        result = result + np.float32(loudness * softer) * dice.standard_normal(len(result), dtype=np.float32)
    if augmentation != "light":
        for _ in range(SPANS):
            begin, end = _span(len(result), SPAN_SHARE, dice)
            result[begin:end] = 0.0
    return result


def _shifted(sound: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """Silence before, or less of the beginning; as long as before. What would vanish as a whole stays."""
    if abs(by) >= len(sound) // 2:
        return sound.copy()
    if by >= 0:
        return np.concatenate([np.zeros(by, np.float32), sound[: len(sound) - by]])
    return np.concatenate([sound[-by:], np.zeros(-by, np.float32)])


def mask_bands(spectrogram: NDArray[np.float32], length: int, dice: np.random.Generator) -> None:
    """Hide bands of frequencies of a spectrogram by its mean, in place (SpecAugment, Park et al., arXiv:1904.08779).

    Args:
        spectrogram: ``[frames, bands]``.
        length: Frames that are no padding.
        dice: All that is random comes from it.
    """
    real = spectrogram[:length]
    mean = real.mean()
    for _ in range(SPANS):
        begin, end = _span(spectrogram.shape[1], BAND_SHARE, dice)
        real[:, begin:end] = mean


def _span(length: int, share: float, dice: np.random.Generator) -> tuple[int, int]:
    width = int(dice.integers(0, max(1, round(share * length)) + 1))
    begin = int(dice.integers(0, length - width + 1))
    return begin, begin + width
