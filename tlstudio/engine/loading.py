"""Batches: in which order samples come, and how they are read.

The order derives from seed and epoch alone, so the same recipe gives the same batches whatever the number of loader
processes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Sampler

from tlstudio.api import DataError
from tlstudio.engine.datasets import Batch, FeatureDataset, Key, SampleDataset
from tlstudio.engine.processes import quick_processes
from tlstudio.engine.recipe import TrainingOptions

_WATCH_EVERY = 1.0  # seconds
T = TypeVar("T")


class Patience(Protocol):
    """Reads something, and may try again; see `tlstudio.engine.patience.until_written`."""

    def __call__(self, read: Callable[[], T], /) -> T:
        """Give what `read` gives."""


def at_once(read: Callable[[], T], /) -> T:
    """No patience: what cannot be read is told at once."""
    return read()


class Stream(Protocol):
    """Batches that come beside those of the run; see `tlstudio.engine.streams.StreamLoader`."""

    def batches(self, first: int, count: int) -> Iterator[Batch]:
        """Yield some batches, beginning with one of them."""


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
        return len(self._starts())

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

    def longest(self) -> int:
        """Which batch of the epoch needs the most room, from 0: padded, all of its samples are as long as one."""
        self.first_batch = 0
        rooms = [len(keys) * self._lengths[[position for _, position in keys]].max() for keys in self]
        return int(np.argmax(rooms))

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        starts = self._starts()
        return np.split(order, starts[1:]) if starts else []

    def _starts(self) -> list[int]:
        """Where each batch begins."""
        count = len(self._lengths)
        starts = list(range(0, count, self._batch_size))
        if self._batch_size > 1 and len(starts) > 1 and count - starts[-1] == 1:
            del starts[-1]
        return starts


def steps_in_epoch(samples: int, options: TrainingOptions) -> int:
    """Steps of the optimizer in an epoch of so many samples."""
    return math.ceil(len(EpochSampler(np.ones(samples), options.batch_size, 0)) / options.accumulate)


def make_loader(source: SampleDataset, batches: Iterable[list[Key]], num_workers: int) -> DataLoader[Any]:
    """Make what prepares batches of keys, in this process or in others."""
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


def read_on(
    source: SampleDataset, start: Callable[[int], Iterator[Batch]], number: int, patience: Patience
) -> Iterator[Batch]:
    """Yield the batches that `start` gives from a number on; after the disk was gone and is back, from the same one."""
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
        streams: What comes with each batch besides, by name.
    """

    def __init__(
        self,
        source: SampleDataset | FeatureDataset,
        sampler: EpochSampler,
        *,
        num_workers: int = 0,
        patience: Patience = at_once,
        streams: Mapping[str, Stream] | None = None,
    ) -> None:
        self._streams = dict(streams or {})
        self._source = source
        self._sampler = sampler
        self._patience = patience
        self._loader: DataLoader[Any] | None = None
        if isinstance(source, SampleDataset):
            self._loader = make_loader(source, sampler, num_workers)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._sampler)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from 0, beginning with one of them, each with those of the streams."""
        first, count = epoch * len(self) + first_batch, len(self) - first_batch
        streams = {name: stream.batches(first, count) for name, stream in self._streams.items()}
        for batch in self._own(epoch, first_batch):
            batch.streams = {name: next(batches) for name, batches in streams.items()}
            yield batch

    def longest(self) -> Batch:
        """The batch of the first epoch that needs the most room."""
        self._sampler.epoch = 0
        return next(self.epoch(0, self._sampler.longest()))

    def _own(self, epoch: int, first_batch: int) -> Iterator[Batch]:
        self._sampler.epoch, self._sampler.first_batch = epoch, first_batch
        if isinstance(self._source, SampleDataset):
            yield from read_on(self._source, self._start, first_batch, self._patience)
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
        seed: Draws the order of samples of one length; `None`: that of the data, where those of one class often lie
            together.

    Attributes:
        samples: How many there are.
    """

    def __init__(
        self,
        source: SampleDataset | FeatureDataset,
        lengths: np.ndarray,
        batch_size: int,
        *,
        num_workers: int = 0,
        patience: Patience = at_once,
        seed: int | None = None,
    ) -> None:
        mixed = np.arange(len(lengths)) if seed is None else np.random.default_rng(seed).permutation(len(lengths))
        order = mixed[np.argsort(lengths[mixed], kind="stable")]
        self.samples = len(lengths)
        self._batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._source = source
        self._patience = patience
        self._loader: DataLoader[Any] | None = None
        if isinstance(source, SampleDataset):
            keys = [[(-1, int(position)) for position in batch] for batch in self._batches]
            self._loader = make_loader(source, keys, num_workers)

    def __len__(self) -> int:
        """Batches in all."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self._source, SampleDataset):
            # What comes before the batch is read once more: disks do not go away that often.
            loader = self._loader or ()
            yield from read_on(self._source, lambda number: itertools.islice(loader, number, None), 0, self._patience)
        else:
            for positions in self._batches:
                yield self._source.batch(positions)
