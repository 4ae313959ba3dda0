"""What gives the samples of a run: prepared one by one, or their cached features.

What is random in a sample derives from (seed, epoch, index) alone, so loader processes hold no state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tlstudio.api import CONTEXT, DataError, Features, Label, Preprocessor, RunError, Sample
from tlstudio.api.nn import TargetEncoder, with_context
from tlstudio.data.revision import Revision
from tlstudio.plugins.sources import packed, unpacked
from tlstudio.store.files import reason

_OF_PLUGINS = ("_preprocessor", "_encoder")
Row = tuple[dict[str, Any], Sample, int, dict[str, dict[str, Any]]]  # prepared, as it was, position, other views
Key = tuple[int, int]  # epoch and position; an epoch of -1 means: no augmentation


@dataclass(slots=True)
class Batch:
    """Some samples, ready for the model.

    Attributes:
        inputs: What the backbone takes, each ``[B, ...]``.
        targets: The encoded labels, ``[B, ...]``.
        positions: Where the samples stand in the list that the loader was made for, ``[B]`` int64.
        views: The same samples prepared in other ways, by name.
        streams: Samples from elsewhere that come with them, by name.
        computed: Their features and outputs, where they came out together with those of other samples.
    """

    inputs: dict[str, Tensor]
    targets: Tensor
    positions: Tensor
    views: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    streams: dict[str, Batch] = field(default_factory=dict)
    computed: tuple[Features, Tensor] | None = None


class NoTargets(TargetEncoder):
    """Where labels do not matter."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return an empty row for each label."""
        return torch.empty(len(labels), 0)


def sample_seed(seed: int, epoch: int, index: int, view: str = "") -> int:
    """Derive the augmentation seed of one sample in one epoch, and in one view of it, in 0..2**63."""
    what = f"{seed}/{epoch}/{index}/{view}" if view else f"{seed}/{epoch}/{index}"
    return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True, slots=True)
class PreparedView:
    """Another way in which samples are prepared.

    Attributes:
        preprocessor: Prepares them.
        seed_name: Samples are varied as in other views of this name; ``""``: as in the first.
    """

    preprocessor: Preprocessor
    seed_name: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Take along where what is of the user's own plugins is, which a loader process has not imported."""
        return _unpacked_view, (packed(self.preprocessor), self.seed_name)


def _unpacked_view(preprocessor: tuple[Path | None, bytes], seed_name: str) -> PreparedView:
    return PreparedView(unpacked(preprocessor), seed_name)


NO_VIEWS: Mapping[str, PreparedView] = MappingProxyType({})


class SampleDataset(Dataset[Row]):
    """The samples of a revision at some indices, prepared by a preprocessor and with their labels encoded.

    Args:
        revision: The data.
        indices: Rows of the samples.
        preprocessor: Prepares them.
        encoder: Encodes their labels.
        seed: All that is random derives from it.
        views: Other ways in which each sample is prepared as well, by name.
    """

    def __init__(
        self,
        revision: Revision,
        indices: np.ndarray,
        preprocessor: Preprocessor,
        encoder: TargetEncoder,
        seed: int,
        views: Mapping[str, PreparedView] = NO_VIEWS,
    ) -> None:
        self._revision = revision
        self._indices = indices
        self._preprocessor = preprocessor
        self._encoder = encoder
        self._seed = seed
        self._views = dict(views)

    def __getstate__(self) -> dict[str, Any]:
        """Take along where what is of the user's own plugins is, which a loader process has not imported."""
        return {**vars(self), **{name: packed(getattr(self, name)) for name in _OF_PLUGINS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Import the plugins first."""
        vars(self).update({**state, **{name: unpacked(state[name]) for name in _OF_PLUGINS}})

    @property
    def needs(self) -> tuple[str, ...]:
        """Modules that a process needs to prepare a sample."""
        views = (view.preprocessor for view in self._views.values())
        return tuple(dict.fromkeys(type(one).__module__ for one in (self._preprocessor, self._encoder, *views)))

    def check_disk(self) -> None:
        """Look whether the data are still there at all; see `check_disk`."""
        check_disk(self._revision.folder)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, key: Key) -> Row:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Row]:
        """Prepare the samples of a batch: the table is read many times faster so than one by one."""
        samples = self._revision.samples(self._indices[[position for _, position in keys]])
        return [self._prepared(key, sample) for key, sample in zip(keys, samples, strict=True)]

    def _prepared(self, key: Key, sample: Sample) -> Row:
        epoch, position = key
        index = int(self._indices[position])

        def seed(view: str) -> int | None:
            return sample_seed(self._seed, epoch, index, view) if epoch >= 0 else None

        try:
            views = {name: view.preprocessor(sample, seed(view.seed_name)) for name, view in self._views.items()}
            return self._preprocessor(sample, seed("")), sample, position, views
        except DataError as error:
            remedy = error.remedy or "Mend the file, or import the data set again without it."
            raise DataError(f"Sample {sample.id} cannot be used: {error.what}", remedy, path=error.path) from error

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Join prepared samples."""
        items, samples, positions, others = zip(*rows, strict=True)
        inputs = with_context(self._preprocessor.collate(items), self._encoder, samples)
        targets = self._encoder([sample.label for sample in samples], items)
        views = {name: view.preprocessor.collate([one[name] for one in others]) for name, view in self._views.items()}
        return Batch(inputs, targets, torch.tensor(positions), views)


class FeatureDataset:
    """Cached features of some samples.

    Args:
        features: Features of the whole revision, one row a sample, ``[N, D]``; may be memory-mapped.
        indices: Rows of the samples; only those of a batch are read at a time.
        targets: Their encoded labels, ``[len(indices), ...]``.
        context: What the head must know of them besides, ``[len(indices), ...]``, or `None`.
    """

    def __init__(
        self, features: np.ndarray, indices: np.ndarray, targets: Tensor, context: Tensor | None = None
    ) -> None:
        self._context = context
        self._features = features
        self._indices = indices
        self._targets = targets

    def __len__(self) -> int:
        return len(self._indices)

    def batch(self, positions: np.ndarray) -> Batch:
        """Read rows ``[B, D]`` at once."""
        rows = torch.from_numpy(np.ascontiguousarray(self._features[self._indices[positions]], dtype=np.float32))
        where = torch.from_numpy(positions)
        inputs = {"pooled": rows} if self._context is None else {"pooled": rows, CONTEXT: self._context[where]}
        return Batch(inputs, self._targets[where], where)


def check_disk(folder: Path) -> None:
    """Look whether the data of a revision are still there at all.

    Raises:
        RunError: Their folder is gone, as with a disk that was pulled out.
    """
    try:
        folder.stat()
    except OSError as error:
        what = f"The data in {folder} cannot be read: {reason(error)}."
        raise RunError(what, "Bring the disk back.", path=folder) from error


def sample_lengths(revision: Revision, indices: np.ndarray, preprocessor: Preprocessor) -> np.ndarray:
    """Measure each sample's length as its preprocessor does, ``[N]`` int64; images all have the same."""
    if type(preprocessor).length is Preprocessor.length:
        return np.ones(len(indices), dtype=np.int64)
    lengths = (preprocessor.length(sample) for sample in revision.samples(indices))
    return np.fromiter(lengths, dtype=np.int64, count=len(indices))
