"""Finding images that look nearly the same, by their difference hashes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tlstudio.data.fingerprint import DHASH_BITS
from tlstudio.data.units import components

MAX_DISTANCE = 3
"""Bits of 128 in which two images may differ: copies saved again as JPEG differ by 3 at the median (clip art)."""

_BANDS = MAX_DISTANCE + 1  # two hashes that differ in 3 bits are the same in one of 4 bands at least
_FLAT_BITS = 16  # an image with fewer edges than this (or nearly all) is flat: its hash tells too little
_MAX_BUCKET = 400


def near_groups(hashes: list[bytes | None]) -> list[list[int]]:
    """Group images that look nearly the same.

    Args:
        hashes: Difference hash of each image; `None`: not known.

    Returns:
        Groups of two rows or more, each ascending. Linear but for sorting, as long as few images are alike.
    """
    rows = np.array([row for row, value in enumerate(hashes) if value is not None], dtype=np.int64)
    if not len(rows):
        return []
    packed = np.frombuffer(b"".join(value for value in hashes if value is not None), dtype=np.uint8)
    unique, which = np.unique(packed.reshape(len(rows), -1), axis=0, return_inverse=True)
    which = which.reshape(-1)
    bits = np.bitwise_count(unique).sum(axis=1)
    telling = (bits >= _FLAT_BITS) & (bits <= DHASH_BITS - _FLAT_BITS)
    ones, others = _pairs(unique, np.flatnonzero(telling))
    root = components(ones, others, len(unique))[which]
    usable = telling[which]
    order = np.argsort(root[usable], kind="stable")
    found, members = root[usable][order], rows[usable][order]
    borders = np.flatnonzero(found[1:] != found[:-1]) + 1
    return [group.tolist() for group in np.split(members, borders) if len(group) > 1]


def _pairs(
    hashes: npt.NDArray[np.uint8], candidates: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of hashes that are near, as two arrays of their indices."""
    ones: list[npt.NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    others: list[npt.NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    words = np.ascontiguousarray(hashes).view(np.uint64)
    bands = np.ascontiguousarray(hashes).view(np.uint32)
    for band in range(_BANDS):
        order = candidates[np.argsort(bands[candidates, band], kind="stable")]
        keys = bands[order, band]
        # The d-th neighbour in the sorted order has the same key: compare all pairs at that distance at once.
        for step in range(1, min(_MAX_BUCKET, len(order))):
            first = np.flatnonzero(keys[step:] == keys[:-step])
            if not len(first):
                break
            left, right = order[first], order[first + step]
            near = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= MAX_DISTANCE
            ones.append(left[near])
            others.append(right[near])
    return np.concatenate(ones), np.concatenate(others)
