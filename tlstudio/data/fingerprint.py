"""Fingerprints of files and images: exact (SHA-256) and perceptual (difference hash)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

DHASH_BITS = 128
"""8 x 8 comparisons of horizontal and as many of vertical neighbours."""


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8 as hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def dhash(image: Image.Image) -> bytes:
    """Return the difference hash of an image: 16 bytes, alike for images that look alike.

    Each bit says whether a pixel of the image, shrunk to 9 x 9 greys, is darker than its right neighbour (the
    first 64 bits) or its lower one. After Neal Krawetz, "Kind of Like That" (2013).
    """
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    right = grey[:8, 1:] > grey[:8, :-1]
    below = grey[1:, :8] > grey[:-1, :8]
    return np.packbits(np.concatenate([right.ravel(), below.ravel()])).tobytes()
