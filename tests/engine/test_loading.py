"""Order and augmentation derive from (seed, epoch, index) alone."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlstudio.engine.datasets import FeatureDataset, NoTargets, SampleDataset, sample_seed
from tlstudio.engine.loading import EpochSampler, EvalLoader, TrainLoader
from tlstudio.plugins.sources import import_file
from tlstudio.store.project import Project
from tlstudio.testing.components import TinyConvNet


def epoch_of(sampler: EpochSampler, epoch: int) -> list[list[int]]:
    """Positions of each batch of an epoch."""
    sampler.epoch = epoch
    return [[position for _, position in batch] for batch in sampler]


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_sample_comes_exactly_once_an_epoch(lengths: list[int], batch_size: int, seed: int) -> None:
    sampler = EpochSampler(np.array(lengths), batch_size, seed)
    batches = epoch_of(sampler, 0)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    assert max(len(batch) for batch in batches) <= batch_size + 1
    if batch_size > 1 and len(lengths) > 1:
        assert min(len(batch) for batch in batches) > 1  # BatchNorm cannot learn from one sample


def test_the_processes_that_read_a_split_stay_for_the_next_validation(shapes_project: Project) -> None:
    revision, tiny = shapes_project.dataset("shapes"), TinyConvNet()
    indices = revision.indices("validation")
    source = SampleDataset(revision, indices, tiny.preprocessor(tiny.Options()), NoTargets(), seed=0)
    loader = EvalLoader(source, np.ones(len(indices)), 4, num_workers=1)
    first = torch.cat([batch.positions for batch in loader])
    readers = {process.pid for process in multiprocessing.active_children()}
    assert torch.equal(first, torch.cat([batch.positions for batch in loader]))
    assert readers
    assert readers == {process.pid for process in multiprocessing.active_children()}


def test_loader_processes_know_the_preprocessor_of_a_plugin_that_is_a_single_file(
    shapes_project: Project, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        """
from tlstudio.api import Preprocessor, hookimpl

TLSTUDIO_API = "1.0"


class Own(Preprocessor):
    def __call__(self, sample, seed=None):
        return {"length": len(sample.id)}

    def collate(self, items):
        import torch
        return {"lengths": torch.tensor([item["length"] for item in items])}
""",
        encoding="utf-8",
    )
    revision = shapes_project.dataset("shapes")
    indices = revision.indices("train")
    source = SampleDataset(revision, indices, import_file(tmp_path / "own.py").Own(), NoTargets(), seed=0)
    loader = EvalLoader(source, np.ones(len(indices)), 16, num_workers=1)
    lengths = torch.cat([batch.inputs["lengths"] for batch in loader]).tolist()
    assert lengths == [len(name) for name in revision.ids(indices)]


def test_each_epoch_has_its_own_order_and_the_same_one_when_asked_again() -> None:
    sampler = EpochSampler(np.ones(100, dtype=np.int64), 8, seed=1)
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert first != second
    assert epoch_of(sampler, 0) == first


def test_bucketing_pads_less_than_half_of_what_a_plain_shuffle_pads() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 2000)

    def padding(batches: list[list[int]]) -> int:
        return sum(int(lengths[batch].max() * len(batch) - lengths[batch].sum()) for batch in batches)

    order = np.random.default_rng(0).permutation(2000).tolist()
    plain = [order[start : start + 16] for start in range(0, 2000, 16)]
    assert padding(epoch_of(EpochSampler(lengths, 16, 0), 0)) < padding(plain) / 2


def test_the_batch_that_needs_the_most_room_is_the_one_with_the_longest_samples() -> None:
    lengths = np.where(np.arange(200) % 10 == 0, 512, 40)
    for seed in range(10):
        sampler = EpochSampler(lengths, 16, seed)
        rooms = [len(batch) * int(lengths[batch].max()) for batch in epoch_of(sampler, 0)]
        sampler.first_batch = 3
        assert rooms[sampler.longest()] == max(rooms) == 16 * 512


@given(st.integers(0, 2**32), st.integers(0, 1000), st.integers(0, 10**7))
def test_sample_seeds_fit_torch_and_repeat(seed: int, epoch: int, index: int) -> None:
    value = sample_seed(seed, epoch, index)
    assert 0 <= value < 2**63
    assert value == sample_seed(seed, epoch, index)
    assert value != sample_seed(seed, epoch + 1, index)


def test_cached_features_come_in_the_order_of_the_sampler() -> None:
    features = np.arange(20, dtype=np.float32).reshape(10, 2)
    source = FeatureDataset(features, np.arange(10), torch.arange(10) * 3)
    loader = TrainLoader(source, EpochSampler(np.ones(10, dtype=np.int64), 4, seed=0))
    seen = []
    for batch in loader.epoch(3):
        assert batch.inputs["pooled"].tolist() == features[batch.positions.numpy()].tolist()
        assert torch.equal(batch.targets, batch.positions * 3)
        seen += batch.positions.tolist()
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_the_last_batch_may_be_smaller_and_none_is_empty(size: int) -> None:
    batches = epoch_of(EpochSampler(np.ones(size, dtype=np.int64), 8, seed=0), 0)
    assert all(batches)
    assert sum(map(len, batches)) == size
