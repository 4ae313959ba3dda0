"""Measuring a model on a split: outputs, loss of each sample, metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlstudio.api import Label, RunError
from tlstudio.api.nn import HeadModule
from tlstudio.engine.loading import EvalLoader
from tlstudio.engine.recipe import TrainingOptions

_DECODED_AT_ONCE = 256


@dataclass(slots=True)
class SplitData:
    """One split as the loop evaluates it.

    Attributes:
        loader: Its batches.
        targets: Encoded labels, ``[N, ...]``, by position.
        ids: Sample ids by position.
        labels: Labels by position.
    """

    loader: EvalLoader
    targets: Tensor
    ids: Sequence[str]
    labels: Sequence[Label]


@dataclass(slots=True)
class Outputs:
    """What a model gave for a split, by position.

    Attributes:
        output: Raw outputs, ``[N, K]`` float32 on the CPU.
        losses: Loss of each sample, ``[N]``.
        metrics: Metrics by name, ``loss`` among them.
    """

    output: Tensor
    losses: Tensor
    metrics: dict[str, float]


def run_split(
    network: nn.Module,
    head: HeadModule,
    split: SplitData,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Outputs:
    """Run a model in evaluation mode over a split and measure it.

    Args:
        network: What is fed with batches.
        head: Gives loss and metrics.
        split: The split, N samples.
        device: Where the network is.
        on_batch: Called with the number of samples done.
    """
    network.eval()
    parts: list[Tensor] = []
    positions: list[Tensor] = []
    done = 0
    with torch.inference_mode():
        for batch in split.loader:
            inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
            parts.append(network(inputs).float())
            positions.append(batch.positions)
            done += len(batch.positions)
            on_batch(done)
        in_order = torch.argsort(torch.cat(positions))
        output = torch.cat(parts).cpu()[in_order]
        head_device = next((p.device for p in head.parameters()), torch.device("cpu"))
        losses = head.loss(output.to(head_device), split.targets.to(head_device)).cpu()
    return Outputs(output, losses, measure(head, output, split.targets, losses))


def decode_values(head: HeadModule, output: Tensor) -> list[tuple[Label, float | None]]:
    """Decode outputs ``[N, K]`` into what was predicted and its confidence.

    Predictions hold the scores of all classes as Python objects; of many samples and classes they would take
    gigabytes, so only a part of them is there at a time.
    """
    values: list[tuple[Label, float | None]] = []
    for part in output.split(_DECODED_AT_ONCE):
        values += [(prediction.value, prediction.confidence) for prediction in head.decode(part)]
    return values


def measure(head: HeadModule, output: Tensor, targets: Tensor, losses: Tensor) -> dict[str, float]:
    """Compute the head's metrics and the mean loss over a whole split, on the CPU."""
    collection = head.metrics()
    collection.update(output, targets)
    values = {name: float(value) for name, value in collection.compute().items()}
    return {"loss": float(losses.mean()), **values}


def monitored(head: HeadModule, options: TrainingOptions) -> tuple[str, str]:
    """Name the metric that chooses the best epoch, and whether more (``"max"``) or less of it is better.

    Raises:
        RunError: The head has no such metric.
    """
    if not options.monitor:
        return head.monitor
    if options.monitor == "loss":
        return "loss", "min"
    collection = head.metrics()
    names = [str(name) for name in collection]
    if options.monitor not in names:
        raise RunError(
            f"There is no metric '{options.monitor}' for this task.",
            f"Choose one of loss, {', '.join(names)}.",
            field="training.monitor",
        )
    higher = getattr(collection[options.monitor], "higher_is_better", True)
    return options.monitor, "min" if higher is False else "max"
