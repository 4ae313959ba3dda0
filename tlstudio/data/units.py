"""Finding the samples that must stay together: same group or same content, also through others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes = npt.NDArray[np.int64]


def join_units(groups: Sequence[str], contents: Sequence[object] | npt.NDArray[np.uint64] | None, count: int) -> Codes:
    """Number the units: samples linked by a shared group or shared content, directly or through others.

    Args:
        groups: Group of each sample; ``""``: none.
        contents: Something equal for samples of identical content, or `None`.
        count: Number of samples.

    Returns:
        The unit of each sample ``[count]``, numbered from 0 in the order of first appearance.
    """
    by_group = _group_codes(groups, count)
    by_content = None if contents is None else _content_codes(contents)
    if by_group is None:
        return np.arange(count, dtype=np.int64) if by_content is None else by_content
    if by_content is None:
        return by_group
    return _renumber(_connect(by_group, by_content)[by_group])


def _group_codes(groups: Sequence[str], count: int) -> Codes | None:
    coded = pa.array(groups, pa.large_string()).dictionary_encode()
    codes = np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    names = coded.dictionary.to_pylist()
    if names in ([""], []):
        return None
    if "" in names:  # each sample without a group is alone
        alone = np.flatnonzero(codes == names.index(""))
        codes = codes.copy()
        codes[alone] = len(names) + np.arange(len(alone))
    return _renumber(codes)


def _content_codes(contents: Sequence[object] | npt.NDArray[np.uint64]) -> Codes:
    array = pa.array(contents)
    return np.asarray(array.dictionary_encode().indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _renumber(codes: Codes) -> Codes:
    coded = pa.array(codes).dictionary_encode()
    return np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _connect(left: Codes, right: Codes) -> Codes:
    """Return the connected component of each code of `left` in the graph whose edges are ``(left, right)``."""
    num_left, num_right = int(left.max()) + 1, int(right.max()) + 1
    # An edge matters only if its right end has another one: most contents occur once.
    edges = np.unique(left * num_right + right)
    degree = np.bincount(edges % num_right, minlength=num_right)
    edges = edges[degree[edges % num_right] > 1]
    order = np.argsort(edges % num_right, kind="stable")
    ends_left, ends_right = (edges // num_right)[order], (edges % num_right)[order]
    same = ends_right[1:] == ends_right[:-1]
    return components(ends_left[:-1][same], ends_left[1:][same], num_left)


def components(ones: Codes, others: Codes, count: int) -> Codes:
    """Return the connected component of each node of a graph: the lowest node in it.

    Args:
        ones: One end of each edge.
        others: The other end of each edge.
        count: Number of nodes.
    """
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(node) for node in range(count)], dtype=np.int64)
