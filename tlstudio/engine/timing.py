"""How long a run will take: real steps on samples of the data are timed, and the rest is counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tlstudio.api import CONTEXT, Preprocessor
from tlstudio.api.nn import ParamGroup, TransferModel, set_train_mode, with_context
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import CachedModel, Parts
from tlstudio.engine.devices import make_fabric, resolve_device
from tlstudio.engine.optimization import make_optimizer
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.recipe import TrainingOptions

_SECONDS_PER_EPOCH = 0.04
"""Metrics and checkpoint of an epoch, whatever its size."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that things take on this machine with this data.

    Attributes:
        read: Reading and preparing one sample.
        features: One sample through the backbone, without gradients.
        forward: One sample through what is trained (the head alone behind cached features), without gradients.
        learn: One sample of a training batch: forward and backward, the mean over the epochs.
        step: One step of the optimizer.
    """

    read: float
    features: float
    forward: float
    learn: float
    step: float


def measure_costs(
    parts: Parts,
    model: TransferModel,
    groups: list[ParamGroup],
    preprocessor: Preprocessor,
    revision: Revision,
    options: TrainingOptions,
    *,
    cached: bool,
) -> Costs:
    """Time what a run consists of. The model learns a little of it: it is not to be used afterwards.

    Args:
        parts: The components.
        model: The model, prepared by its strategy.
        groups: Everything that will ever learn.
        preprocessor: Prepares the samples.
        revision: The data.
        options: How the run trains.
        cached: Whether features are computed once and kept.

    Raises:
        DataError: A sample cannot be read.
    """
    fabric = make_fabric(resolve_device(options.device), options.precision)
    device = fabric.device
    train = revision.indices("train")
    count = max(2, min(options.batch_size, len(train), 8 if device.type == "cpu" else 32))
    # Spread over the data: the first ones are often of one class and one size.
    indices = train[np.linspace(0, len(train) - 1, count).astype(np.int64)]
    samples = [revision.sample(int(index)) for index in indices]
    preprocessor(samples[0])  # warms up
    start = time.perf_counter()
    items = [preprocessor(sample, 0) for sample in samples]
    encoder = model.head.encoder()
    inputs = with_context(preprocessor.collate(items), encoder, samples)
    targets = encoder([sample.label for sample in samples], items)
    read = (time.perf_counter() - start) / count

    model.to(device)
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    targets = targets.to(device)
    network: nn.Module = model

    def forward() -> None:
        with torch.inference_mode():
            network(inputs)

    def learn() -> None:
        with fabric.autocast():
            output = network(inputs)
        loss = model.head.loss(output.float(), targets).mean()
        extra = parts.strategy.extra_loss(model, parts.strategy_options, len(train))
        (loss if extra is None else loss + extra).backward()

    def step() -> None:
        optimizer.step()

    model.eval()
    features = forward_cost = _seconds(forward, device) / count
    if cached:
        with torch.no_grad():
            pooled = model.backbone(inputs).require("pooled").float()
        asked = {CONTEXT: inputs[CONTEXT]} if CONTEXT in inputs else {}
        inputs, network = {"pooled": pooled, **asked}, CachedModel(model.head)
        network.eval()
        forward_cost = _seconds(forward, device) / count
    # What learns may change from epoch to epoch; the way there is taken for straight.
    measured: dict[int, float] = {}
    total = 0.0
    for epoch, weight in ((0, 0.25), (options.epochs // 2, 0.5), (options.epochs - 1, 0.25)):
        parts.strategy.on_epoch_start(model, epoch, parts.strategy_options)
        learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        if learning not in measured:
            set_train_mode(network)
            measured[learning] = _seconds(learn, device) / count
        total += weight * measured[learning]
    optimizer = make_optimizer(groups, options)
    return Costs(read, features, forward_cost, total, _seconds(step, device))


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """Time something: the first time warms up, the second counts."""
    seconds = 0.0
    for _ in range(2):
        with random_state_aside():  # for each by itself: a run in another thread waits no longer than that
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            elif device.type == "mps":
                torch.mps.synchronize()
            seconds = time.perf_counter() - start
    return seconds


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

    def passing(compute: float) -> float:
        """Seconds for one sample that is read and computed; loader processes read beside the computing."""
        workers = options.num_workers
        return max(costs.read / workers, compute) if workers else costs.read + compute

    first = 0.0
    learn, forward = costs.learn, costs.forward
    if cached:
        first = 0.0 if kept else sum(counts) * passing(costs.features)
    else:
        learn, forward = passing(learn), passing(forward)
    steps = math.ceil(math.ceil(train / options.batch_size) / options.accumulate)
    epoch = train * learn + steps * costs.step + validation * forward + _SECONDS_PER_EPOCH
    return first + options.epochs * epoch + (validation + test) * forward
