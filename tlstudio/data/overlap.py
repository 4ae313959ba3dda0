"""Which items two revisions have in common, be they of one data set or of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlstudio.data.splits import Codes

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision


def in_common(revision: Revision, rows: Codes, other: Revision, among: Codes) -> np.ndarray:
    """Say which rows of a revision are of items that lie in some rows of another one, by their content, ``[N]`` bool.

    Args:
        revision: The revision.
        rows: N of its rows.
        other: The other revision.
        among: Rows of that.
    """
    known = set(other.table.column("hash").take(among).to_pylist())
    contents = revision.table.column("hash").take(rows).to_pylist()
    return np.fromiter((content in known for content in contents), dtype=bool, count=len(rows))
