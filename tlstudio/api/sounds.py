"""Opening sound files of every kind as one channel of numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tlstudio.api.errors import DataError
from tlstudio.api.files import check_plain_file, opening

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOUND_SUFFIXES = frozenset({".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
LONGEST_SOUND = 3600.0
"""Longest sound that is opened, in seconds, at up to 48 kHz: that takes 0.7 GB while it is decoded."""

LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000
"""Samples a second that a sound may have."""

_LOUDEST = 2.0**31  # of files that hold whole numbers as they were measured
_MOST_NUMBERS = 2**20  # of all channels that are decoded at once
_FINEST = 20_000  # denominator of the ratio of two rates; the pitch is off by a billionth at most


def open_sound(path: Path, rate: int | None = None, *, at_most: float | None = None) -> tuple[NDArray[np.float32], int]:
    """Open a sound as one channel (the mean of all) in -1..1.

    Args:
        path: The file.
        rate: Samples a second that are wanted; `None`: as in the file. A polyphase filter makes them of others.
        at_most: So many seconds from the beginning are enough, and no more are decoded; `None`: all of it.

    Returns:
        The samples, ``[T]``, and how many there are in a second.

    Raises:
        DataError: Missing, empty, of no length, damaged, not a sound, or longer than `LONGEST_SOUND`.
    """
    import numpy as np
    import soundfile

    try:
        with (
            opening(path, "sound", smaller="Cut it into shorter recordings."),
            path.open("rb") as raw,
            soundfile.SoundFile(raw) as file,
        ):
            own = int(file.samplerate)
            if not LOWEST_RATE <= own <= HIGHEST_RATE:
                raise DataError(
                    f"{path.name} has {own:,} samples a second; sounds with {LOWEST_RATE:,} to {HIGHEST_RATE:,} are "
                    "opened.",
                    "Export it again, with 16,000 samples a second, say.",
                    path=path,
                )
            longest = LONGEST_SOUND * min(1.0, 48_000 / own)
            if file.frames > longest * own:
                raise DataError(
                    f"{path.name} lasts {file.frames / own / 60:.0f} min; at most {longest / 60:.0f} min are opened"
                    f"{f' at {own:,} samples a second' if longest < LONGEST_SOUND else ''}.",
                    "Cut it into shorter recordings.",
                    path=path,
                )
            # The head of a file may claim any length, and many channels of silence take next to no place in it.
            frames = -1 if at_most is None else max(1, round(at_most * own))
            parts = file.blocks(max(1, _MOST_NUMBERS // file.channels), frames=frames, dtype="float32", always_2d=True)
            with np.errstate(over="ignore", invalid="ignore"):
                means = [part.mean(axis=1, dtype=np.float32) for part in parts]
            sound = np.concatenate(means) if means else np.zeros(0, np.float32)
            means.clear()
    except DataError:
        raise
    except (soundfile.SoundFileError, OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise DataError(
            f"{path.name} is not a sound that can be read: {reason}.",
            "Save it again as WAV or FLAC.",
            path=path,
        ) from error
    if not len(sound):
        raise DataError(
            f"{path.name} has no length: there is not one sample in it.", "Record or export it again.", path=path
        )
    peak = max(float(sound.max()), -float(sound.min()))  # what is no number makes both so
    if not math.isfinite(peak):
        raise DataError(f"{path.name} has samples that are no numbers.", "Export it again.", path=path)
    if peak > _LOUDEST:
        what = f"{path.name} has samples of {peak:.0e}; those of a sound are in -1..1."
        raise DataError(what, "Scale it.", path=path)
    return (sound, own) if rate is None or rate == own else (_resampled(sound, own, rate), rate)


def sound_seconds(path: Path) -> float:
    """Length of a sound by the head of its file, without decoding it; 0 where that cannot be told."""
    frames, rate = _head(path)
    return frames / rate if rate else 0.0


def sound_rate(path: Path) -> int:
    """Samples a second of a sound by the head of its file; 0 where that cannot be told."""
    return _head(path)[1]


def _head(path: Path) -> tuple[int, int]:
    """Samples of a sound in all and a second; zeros where it cannot be read: opening it will say what is wrong."""
    import soundfile

    try:
        check_plain_file(path)
        with path.open("rb") as raw, soundfile.SoundFile(raw) as file:
            return int(file.frames), int(file.samplerate)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError, RuntimeError):
        return 0, 0


def _resampled(sound: NDArray[np.float32], own: int, rate: int) -> NDArray[np.float32]:
    from fractions import Fraction

    import numpy as np
    from scipy.signal import resample_poly

    ratio = Fraction(rate, own).limit_denominator(_FINEST)  # the filter is twenty times as long as the denominator
    return np.asarray(resample_poly(sound, ratio.numerator, ratio.denominator), dtype=np.float32)
