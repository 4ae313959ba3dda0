"""How long a run will take and what it holds in memory: real steps on samples are measured, the rest is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import nn

from tlstudio.api import CONTEXT
from tlstudio.api.nn import ParamGroup, TransferModel, set_train_mode
from tlstudio.data.revision import Revision
from tlstudio.engine.activations import recompute_activations
from tlstudio.engine.assemble import CachedModel, learning_parameters, preprocessor_of, sample_source, split_data
from tlstudio.engine.control import RunControl
from tlstudio.engine.datasets import Batch
from tlstudio.engine.devices import make_fabric, resolve_device
from tlstudio.engine.feature_cache import features_at_once
from tlstudio.engine.learning import BatchLearner, on_device
from tlstudio.engine.loading import EpochSampler, EvalLoader, TrainLoader, at_once, steps_in_epoch
from tlstudio.engine.memory import KeptActivations, MemoryNeed, PassingActivations
from tlstudio.engine.method_building import Workshop
from tlstudio.engine.optimization import make_optimizer
from tlstudio.engine.parts import Parts
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.engine.training_state import Learner
from tlstudio.plugins import Registry

_SECONDS_PER_EPOCH = 0.04
"""Metrics and checkpoint of an epoch, whatever its size."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that things take on this machine with this data.

    Attributes:
        read: Reading and preparing one sample to learn from, with all that comes with it.
        plain: Reading and preparing one sample as it is.
        features: One sample through the backbone, without gradients.
        forward: One sample through what is trained (the head alone behind cached features), without gradients.
        learn: One sample of a training batch: forward and backward, the mean over the epochs.
        step: One step of the optimizer, and what methods do behind it.
        passed: Samples that methods go through by themselves, without gradients, before the first step and at the ends
            of epochs.
    """

    read: float
    plain: float
    features: float
    forward: float
    learn: float
    step: float
    passed: float = 0.0


class Rehearsal:
    """Makes steps of a run on a few of its samples, with its methods; the model is not to be used afterwards.

    Args:
        parts: The components.
        model: The model, prepared by its strategy.
        groups: Everything that will ever learn by the strategy.
        revision: The data.
        registry: The components that are loaded.
        options: How the run trains.
        cached: Whether features are computed once and kept.

    Attributes:
        groups: The same with what learns in the methods.

    Raises:
        DataError: A data set that a method needs is gone.
        RunError: A run that a method needs is gone, or it cannot work on this model.
    """

    def __init__(
        self,
        parts: Parts,
        model: TransferModel,
        groups: list[ParamGroup],
        revision: Revision,
        registry: Registry,
        options: TrainingOptions,
        *,
        cached: bool,
    ) -> None:
        self._parts, self._model, self._revision, self._options = parts, model, revision, options
        self._cached = cached
        self._fabric = make_fabric(resolve_device(options.device), options.precision)
        self._device = self._fabric.device
        self._train = revision.indices("train")
        self._count = max(1, min(options.batch_size, len(self._train), 8 if self._device.type == "cpu" else 32))
        augmentation = "none" if cached else options.augmentation
        self._preprocessor = preprocessor_of(parts, augmentation=augmentation)
        model.to(self._device)
        self._network: nn.Module = CachedModel(model.head) if cached else model
        steps = options.epochs * steps_in_epoch(len(self._train), options)
        self._workshop = Workshop(
            parts,
            revision,
            model,
            self._network,
            registry,
            options,
            None,
            self._fabric,
            RunControl(),
            at_once,
            self._own_batches,
            steps,
        )
        with random_state_aside():
            self._methods = self._workshop.build()
        self.groups = self._methods.with_own(
            groups, model.head, learning_rate=options.learning_rate, weight_decay=options.weight_decay
        )

    def measure(self, *, kept: bool = False) -> tuple[Costs, MemoryNeed]:
        """Time what a run consists of, and count what its steps hold in memory.

        Args:
            kept: Whether the features of a frozen backbone are there already.

        Raises:
            DataError: A sample cannot be read.
        """
        options, model, count = self._options, self._model, self._count
        batch, read, plain = self._batch()
        batch = on_device(batch, self._device)
        whole = batch.inputs

        def features() -> None:
            with torch.inference_mode(), self._fabric.autocast():
                model(whole)

        def forward() -> None:
            with torch.inference_mode(), self._fabric.autocast():
                self._network(batch.inputs)

        model.eval()
        features_cost = forward_cost = _seconds(features, self._device) / count
        passing = 0
        if self._cached:
            with torch.no_grad(), _Peak(self._device, PassingActivations(self._tensors())) as peak:
                pooled = model.backbone(whole).require("pooled").float()
            asked = {CONTEXT: whole[CONTEXT]} if CONTEXT in whole else {}
            batch = replace(batch, inputs={"pooled": pooled, **asked})
            forward_cost = _seconds(forward, self._device) / count
            together = 0 if kept else features_at_once(options.batch_size, self._device)
            passing = round((peak.bytes + sum(map(_bytes, whole.values()))) / count * together)
        if options.recompute:
            recompute_activations(model.layer_groups())
        learn, step, activations = self._learn(batch)
        passed = self._workshop.passed(self._methods)  # with what learns in the end
        parameters = sum(_bytes(tensor) for tensor in self._tensors())
        in_batch = min(options.batch_size, len(self._train)) / count
        moments = 1 if options.optimizer == "sgd" else 2
        gradients = learning_parameters(self.groups, in_bytes=True)
        need = MemoryNeed(parameters, gradients, moments * gradients, round(activations * in_batch))
        if blocks := self._parts.strategy.alternatives(model, self._parts.strategy_options):
            choosing = replace(need, optimizer=0)  # by the gradients of all
            # Through the first block, gradients have the longest way.
            for layer in {id(layer): layer for block in blocks for layer in block}.values():
                layer.requires_grad_(layer in blocks[0])
            model.zero_grad(set_to_none=True)
            learn, step, activations = self._learn(batch)
            gradients = learning_parameters(self.groups, blocks, in_bytes=True)
            need = MemoryNeed(parameters, gradients, moments * gradients, round(activations * in_batch))
            need = max(need, choosing, key=lambda one: one.total)
        need = replace(need, activations=max(need.activations, passing))
        return Costs(read, plain, features_cost, forward_cost, learn, step, passed), need

    def _learn(self, batch: Batch) -> tuple[float, float, int]:
        """Time the gradients of a sample, the mean over the epochs, and a step; count what they keep of a batch."""
        options, parts, model = self._options, self._parts, self._model
        learner = Learner(model, self._network, parts.strategy, parts.strategy_options, self.groups, self._methods)
        batches = BatchLearner(learner, self._network, self._fabric, num_train=len(self._train), l1=options.l1)
        # What learns may change from epoch to epoch; the way there is taken for straight.
        measured: dict[int, float] = {}
        total, step, kept = 0.0, 0.0, 0
        if not self.groups:  # the head is fitted, and no step is made
            return total, step, kept
        optimizer = make_optimizer(self.groups, options)

        def make_step() -> None:
            optimizer.step()
            self._methods.after_step()

        for epoch, weight in ((0, 0.25), (options.epochs // 2, 0.5), (options.epochs - 1, 0.25)):
            parts.strategy.on_epoch_start(model, epoch, parts.strategy_options)
            self._methods.on_epoch_start(epoch)
            learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            if learning not in measured:
                set_train_mode(self._network)

                def learn(progress: float = epoch / options.epochs) -> None:
                    with self._fabric.autocast():
                        batches.gradients(batch, progress=progress)

                with _Peak(self._device, KeptActivations(self._tensors())) as peak:
                    _timed(learn, self._device)
                kept = max(kept, peak.bytes)
                _timed(make_step, self._device)
                measured[learning] = _timed(learn, self._device) / self._count
                step = max(step, _timed(make_step, self._device))
            total += weight * measured[learning]
        return total, step, kept

    def _batch(self) -> tuple[Batch, float, float]:
        """A part of a batch with all that comes with it, and the seconds that one of its samples took, so and alone."""
        options, count = self._options, self._count
        # Spread over the data: the first ones are often of one class and one size.
        indices = self._train[np.linspace(0, len(self._train) - 1, count).astype(np.int64)]
        small = replace(self._workshop, options=options.model_copy(update={"batch_size": count, "num_workers": 0}))
        source, _ = sample_source(
            self._revision,
            indices,
            self._model.head,
            self._preprocessor,
            seed=options.seed,
            views=self._workshop.views(),
        )
        sampler = EpochSampler(np.ones(count, dtype=np.int64), count, options.seed)
        loader = TrainLoader(source, sampler, streams=small.streams(self._methods))
        self._preprocessor(self._revision.sample(int(indices[0])))  # warms up
        start = time.perf_counter()
        (batch,) = loader.epoch(0)
        read = (time.perf_counter() - start) / count
        plain = preprocessor_of(self._parts)
        start = time.perf_counter()
        plain.collate([plain(sample) for sample in self._revision.samples(indices)])
        return batch, read, (time.perf_counter() - start) / count

    def _own_batches(self) -> EvalLoader:
        plain = preprocessor_of(self._parts)
        return split_data(self._revision, "train", self._model.head, plain, batch_size=self._count).loader

    def _tensors(self) -> Iterator[torch.Tensor]:
        """All that is in memory whatever a step does."""
        models = (self._model, *self._workshop.models())
        yield from (tensor for model in models for tensor in (*model.parameters(), *model.buffers()))
        for state in self._methods.state().values():
            yield from state.values()


class _Peak:
    """Finds out how many bytes were held at most besides what was there, while it is entered."""

    def __init__(self, device: torch.device, counter: KeptActivations | PassingActivations) -> None:
        self.bytes = 0
        self._device = device
        self._counter = counter
        self._before = 0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            self._counter.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._device.type == "cuda":
            after = torch.cuda.memory_allocated(self._device)  # by then, gradients lie beside the rest
            self.bytes = max(0, torch.cuda.max_memory_allocated(self._device) - max(self._before, after))
        else:
            self._counter.__exit__(*raised)
            self.bytes = self._counter.peak


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time something: the first time warms up, the second counts."""
    _timed(work, device)
    return _timed(work, device)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    with random_state_aside():  # for each by itself: a run in another thread waits no longer than that
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter() - start


def estimate_seconds(
    costs: Costs, options: TrainingOptions, counts: tuple[int, int, int], *, cached: bool, kept: bool
) -> float:
    """Count what a run consists of and add it up; early stopping may make it shorter.

    Args:
        costs: What was measured.
        options: How the run trains.
        counts: Samples of the train, validation and test splits.
        cached: Whether features are computed once, and only the head is trained on them.
        kept: Whether an earlier run has left these features.

    Returns:
        Wall time in seconds.
    """
    train, validation, test = counts

    def passing(read: float, compute: float) -> float:
        """Seconds for one sample that is read and computed; loader processes read beside the computing."""
        workers = options.num_workers
        return max(read / workers, compute) if workers else read + compute

    first = 0.0
    learn, forward = costs.learn, costs.forward
    if cached:
        first = 0.0 if kept else sum(counts) * passing(costs.plain, costs.features)
    else:
        learn, forward = passing(costs.read, learn), passing(costs.plain, forward)
    epoch = train * learn + steps_in_epoch(train, options) * costs.step + validation * forward + _SECONDS_PER_EPOCH
    return first + options.epochs * epoch + (validation + test + costs.passed) * forward
