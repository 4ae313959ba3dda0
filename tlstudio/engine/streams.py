"""Samples that come beside those of the run: from another data set, from unlabelled ones, in other views."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from tlstudio.engine.datasets import Batch, Key, SampleDataset, sample_seed
from tlstudio.engine.loading import Patience, at_once, make_loader, read_on


class StreamSampler(Sampler[list[Key]]):
    """Batches of keys without end: all samples in random order, then all in another one, and so on.

    A batch may lie across two rounds, so that all have the same size and none is lost.

    Args:
        count: Number of samples, at least 1.
        batch_size: Samples in a batch.
        seed: Of the order.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count = count
        self._batch_size = batch_size
        self._seed = seed
        self._rounds: dict[int, np.ndarray] = {}
        self.first_batch = 0
        self.batches = 0  # how many are given from there on

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Key]]:
        for number in range(self.first_batch, self.first_batch + self.batches):
            start = number * self._batch_size
            yield [self._key(place) for place in range(start, start + self._batch_size)]

    def _key(self, place: int) -> Key:
        number, position = divmod(place, self._count)
        if number not in self._rounds:
            # A round ends and the next begins within a batch: two are in use at most.
            self._rounds = {key: order for key, order in self._rounds.items() if key >= number - 1}
            self._rounds[number] = np.random.default_rng([self._seed, number]).permutation(self._count)
        return number, int(self._rounds[number][position])


class StreamLoader:
    """The batches of one stream.

    Args:
        source: Its samples.
        batch_size: Samples in a batch.
        seed: Of the order.
        num_workers: Extra processes that read.
        patience: Waits where the disk of the data is gone.
    """

    def __init__(
        self,
        source: SampleDataset,
        batch_size: int,
        seed: int,
        *,
        num_workers: int = 0,
        patience: Patience = at_once,
    ) -> None:
        self._source = source
        self._sampler = StreamSampler(len(source), batch_size, seed)
        self._patience = patience
        self._loader = make_loader(source, self._sampler, num_workers)

    def batches(self, first: int, count: int) -> Iterator[Batch]:
        """Yield some batches, beginning with one of them."""

        def start(number: int) -> Iterator[Batch]:
            self._sampler.first_batch, self._sampler.batches = number, first + count - number
            return iter(self._loader)

        return read_on(self._source, start, first, self._patience)


def stream_seed(seed: int, method: str, stream: str) -> int:
    """Derive the seed of a stream from that of the run, so that no two streams go through samples alike."""
    return sample_seed(seed, 0, zlib.crc32(f"{method}/{stream}".encode()), "stream")
