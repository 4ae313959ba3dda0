"""Several views of each sample, for heads that compare them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import Preprocessor, Sample
from tlstudio.plugins.sources import packed, unpacked

if TYPE_CHECKING:
    from torch import Tensor


class PreparedInViews(Preprocessor):
    """Prepares each sample several times, each time varied anew.

    Without a seed, as in validation, the variation derives from the id of the sample alone: each epoch is then measured
    by the same views, whatever their order.

    Args:
        preprocessor: Prepares and varies them.
        views: How many times, above 1.
    """

    def __init__(self, preprocessor: Preprocessor, views: int) -> None:
        self.preprocessor = preprocessor
        self.views = views

    def __reduce__(self) -> tuple[Any, ...]:
        """Take along where what is of the user's own plugins is, which a loader process has not imported."""
        return _unpacked, (packed(self.preprocessor), self.views)

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``{"views": [...]}``, what the preprocessor makes of the sample each time."""
        first = f"id {sample.id}" if seed is None else f"seed {seed}"
        return {"views": [self.preprocessor(sample, _seed(f"{first}/{view}")) for view in range(self.views)]}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join views of B samples; every tensor is ``[B, views, ...]``."""
        batch = self.preprocessor.collate([view for item in items for view in item["views"]])
        return {name: tensor.unflatten(0, (len(items), self.views)) for name, tensor in batch.items()}

    def length(self, sample: Sample) -> int:
        """Length of one view."""
        return self.preprocessor.length(sample)

    def is_cut(self, sample: Sample) -> bool:
        """Whether the end of each view is left out."""
        return self.preprocessor.is_cut(sample)

    @property
    def limit(self) -> str:
        """How much of a sample is taken."""
        return self.preprocessor.limit

    def texts(self, tokens: Tensor) -> list[str]:
        """Turn tokens into texts."""
        return self.preprocessor.texts(tokens)

    def remark(self, sample: Sample) -> str:
        """Say what of a sample is left aside."""
        return self.preprocessor.remark(sample)

    def describe(self) -> dict[str, Any]:
        """Give what is done with each view."""
        return self.preprocessor.describe()


def _unpacked(preprocessor: tuple[Path | None, bytes], views: int) -> PreparedInViews:
    return PreparedInViews(unpacked(preprocessor), views)


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
