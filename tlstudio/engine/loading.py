"""Batches: in which order samples come, and how they are read.

Order and augmentation derive from (seed, epoch, index) alone, so loader processes hold no state and the same recipe
gives the same batches whatever their number.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tlstudio.api import CONTEXT, DataError, Label, Preprocessor, RunError, Sample
from tlstudio.api.nn import TargetEncoder, with_context
from tlstudio.data.revision import Revision
from tlstudio.engine.processes import quick_processes
from tlstudio.plugins.sources import packed, unpacked
from tlstudio.store.files import reason

_WATCH_EVERY = 1.0  # seconds
T = TypeVar("T")
Row = tuple[dict[str, Any], Sample, int]  # prepared, as it was, and its position
Key = tuple[int, int]  # epoch and position; an epoch of -1 means: no augmentation


class Patience(Protocol):
    """Reads something, and may try again; see `tlstudio.engine.patience.until_written`."""

    def __call__(self, read: Callable[[], T], /) -> T:
        """Give what `read` gives."""


def at_once(read: Callable[[], T], /) -> T:
    """No patience: what cannot be read is told at once."""
    return read()


@dataclass(slots=True)
class Batch:
    """Some samples, ready for the model.

    Attributes:
        inputs: What the backbone takes, each ``[B, ...]``.
        targets: The encoded labels, ``[B, ...]``.
        positions: Where the samples stand in the list that the loader was made for, ``[B]`` int64.
    """

    inputs: dict[str, Tensor]
    targets: Tensor
    positions: Tensor


class NoTargets(TargetEncoder):
    """Where labels do not matter."""

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return an empty row for each label."""
        return torch.empty(len(labels), 0)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Derive the augmentation seed of one sample in one epoch, in 0..2**63."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class SampleDataset(Dataset[Row]):
    """The samples of a revision at some indices, prepared by a preprocessor and with their labels encoded.

    Args:
        revision: The data.
        indices: Rows of the samples.
        preprocessor: Prepares them.
        encoder: Encodes their labels.
        seed: All that is random derives from it.
    """

    def __init__(
        self,
        revision: Revision,
        indices: np.ndarray,
        preprocessor: Preprocessor,
        encoder: TargetEncoder,
        seed: int,
    ) -> None:
        self._revision = revision
        self._indices = indices
        self._preprocessor = preprocessor
        self._encoder = encoder
        self._seed = seed

    def __getstate__(self) -> dict[str, Any]:
        """Take along where what is of the user's own plugins is, which a loader process has not imported."""
        return {**vars(self), **{name: packed(getattr(self, name)) for name in ("_preprocessor", "_encoder")}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Import the plugins first."""
        vars(self).update({**state, **{name: unpacked(state[name]) for name in ("_preprocessor", "_encoder")}})

    @property
    def needs(self) -> tuple[str, str]:
        """Modules that a process needs to prepare a sample."""
        return type(self._preprocessor).__module__, type(self._encoder).__module__

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
        seed = sample_seed(self._seed, epoch, index) if epoch >= 0 else None
        try:
            return self._preprocessor(sample, seed), sample, position
        except DataError as error:
            remedy = error.remedy or "Mend the file, or import the data set again without it."
            raise DataError(f"Sample {sample.id} cannot be used: {error.what}", remedy, path=error.path) from error

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Join prepared samples."""
        items, samples, positions = zip(*rows, strict=True)
        inputs = with_context(self._preprocessor.collate(items), self._encoder, samples)
        targets = self._encoder([sample.label for sample in samples], items)
        return Batch(inputs, targets, torch.tensor(positions))


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys: shuffled anew each epoch and, where lengths differ, bucketed so that little is padded.

    Args:
        lengths: Length of each sample; all equal: no bucketing.
        batch_size: Samples in a batch. The last may be smaller; a single one left over joins the batch before it,
            because BatchNorm cannot learn from one.
        seed: Of the order.
    """

    _POOL = 50  # batches that are sorted by length together: enough to fill buckets, few enough to stay random

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0
        self.first_batch = 0  # of those before it, the run has learned already

    def __len__(self) -> int:
        return len(self._cut(np.arange(len(self._lengths))))

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng([self._seed, self.epoch])
        order = rng.permutation(len(self._lengths))
        if len(self._lengths) and self._lengths.min() != self._lengths.max():
            pool = self._POOL * self._batch_size
            chunks = [order[start : start + pool] for start in range(0, len(order), pool)]
            order = np.concatenate([chunk[np.argsort(self._lengths[chunk], kind="stable")] for chunk in chunks])
            batches = self._cut(order)
            rng.shuffle(batches)
        else:
            batches = self._cut(order)
        for batch in batches[self.first_batch :]:
            yield [(self.epoch, int(position)) for position in batch]

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        starts = list(range(0, len(order), self._batch_size))
        if self._batch_size > 1 and len(starts) > 1 and len(order) - starts[-1] == 1:
            del starts[-1]
        return np.split(order, starts[1:]) if starts else []


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


def _loader(source: SampleDataset, batches: Iterable[list[Key]], num_workers: int) -> DataLoader[Any]:
    return DataLoader(
        source,
        batch_sampler=batches,
        collate_fn=source.collate,
        num_workers=num_workers,
        multiprocessing_context=quick_processes(__name__, *source.needs) if num_workers else None,
        persistent_workers=num_workers > 0,  # starting one takes a while
        generator=torch.Generator(),  # its own, so that the global random state stays still
        worker_init_fn=functools.partial(_stay_with, os.getpid()) if num_workers else None,
    )


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


def _read(
    source: SampleDataset, start: Callable[[int], Iterator[Batch]], number: int, patience: Patience
) -> Iterator[Batch]:
    """Yield batches from one of them on; where the disk of the data is gone and comes back, from the same one on."""
    batches: Iterator[Batch] | None = None

    def read() -> Batch | None:
        nonlocal batches
        batches = batches or start(number)
        try:
            return next(batches, None)
        except DataError:
            batches = None
            source.check_disk()
            raise

    while (batch := patience(read)) is not None:
        yield batch
        number += 1


def _stay_with(user: int, _worker: int) -> None:
    """Let a loader process end with the one that uses it, also if that is killed.

    torch watches the parent, but that is the server, which stays as long as it has children.
    """

    def watch() -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(user)
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(_WATCH_EVERY)
        os._exit(0)

    threading.Thread(target=watch, name="watch", daemon=True).start()


class TrainLoader:
    """Training batches, epoch by epoch.

    Args:
        source: The samples.
        sampler: Their order.
        num_workers: Extra processes that read.
        patience: Waits where the disk of the data is gone.
    """

    def __init__(
        self,
        source: SampleDataset | FeatureDataset,
        sampler: EpochSampler,
        *,
        num_workers: int = 0,
        patience: Patience = at_once,
    ) -> None:
        self._source = source
        self._sampler = sampler
        self._patience = patience
        self._loader: DataLoader[Any] | None = None
        if isinstance(source, SampleDataset):
            self._loader = _loader(source, sampler, num_workers)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._sampler)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from 0, beginning with one of them."""
        self._sampler.epoch, self._sampler.first_batch = epoch, first_batch
        if isinstance(self._source, SampleDataset):
            yield from _read(self._source, self._start, first_batch, self._patience)
        else:
            for keys in self._sampler:
                yield self._source.batch(np.array([position for _, position in keys]))

    def _start(self, first_batch: int) -> Iterator[Batch]:
        self._sampler.first_batch = first_batch
        return iter(self._loader or ())


class EvalLoader:
    """The samples of a split once, without augmentation, longest texts together so that little is padded.

    Args:
        source: The samples.
        lengths: Length of each, ``[N]``.
        batch_size: Samples at once.
        num_workers: Extra processes that read.
        patience: Waits where the disk of the data is gone.
    """

    def __init__(
        self,
        source: SampleDataset | FeatureDataset,
        lengths: np.ndarray,
        batch_size: int,
        *,
        num_workers: int = 0,
        patience: Patience = at_once,
    ) -> None:
        order = np.argsort(lengths, kind="stable")
        self._batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._source = source
        self._patience = patience
        self._loader: DataLoader[Any] | None = None
        if isinstance(source, SampleDataset):
            keys = [[(-1, int(position)) for position in batch] for batch in self._batches]
            self._loader = _loader(source, keys, num_workers)

    def __len__(self) -> int:
        """Batches in all."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self._source, SampleDataset):
            # What comes before the batch is read once more: disks do not go away that often.
            loader = self._loader or ()
            yield from _read(self._source, lambda number: itertools.islice(loader, number, None), 0, self._patience)
        else:
            for positions in self._batches:
                yield self._source.batch(positions)


def sample_lengths(revision: Revision, indices: np.ndarray, preprocessor: Preprocessor) -> np.ndarray:
    """Measure each sample's length as its preprocessor does, ``[N]`` int64; images all have the same."""
    if type(preprocessor).length is Preprocessor.length:
        return np.ones(len(indices), dtype=np.int64)
    lengths = (preprocessor.length(sample) for sample in revision.samples(indices))
    return np.fromiter(lengths, dtype=np.int64, count=len(indices))
