"""Measuring a model on a split: outputs, loss of each sample, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tlstudio.api import Label, Prediction, RunError, Sample
from tlstudio.api.nn import BackboneModule, Generation, HeadModule, TransferModel
from tlstudio.engine.datasets import Batch
from tlstudio.engine.loading import EvalLoader
from tlstudio.engine.recipe import TrainingOptions

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

_DECODED_AT_ONCE = 256


@dataclass(slots=True)
class SplitData:
    """One split as the loop evaluates it.

    Attributes:
        loader: Its batches.
        ids: Sample ids by position.
        labels: Labels by position.
        samples: Gives the samples at some positions.
    """

    loader: EvalLoader
    ids: Sequence[str]
    labels: Sequence[Label]
    samples: Callable[[Tensor], Sequence[Sample]]


@dataclass(slots=True)
class Outputs:
    """What a model gave for a split, by position.

    Attributes:
        losses: Loss of each sample, ``[N]``.
        metrics: Metrics by name, ``loss`` among them.
        output: Raw outputs, ``[N, K]`` float32 on the CPU; `None` of a head that decodes in place.
        decoded: What was predicted and its confidence; empty where it can be decoded from `output` at any time. `None`
            where the backbone writes what is predicted, and did not write this one.
    """

    losses: Tensor
    metrics: dict[str, float]
    output: Tensor | None
    decoded: Sequence[tuple[Label, float | None]] = ()

    def values(self, head: HeadModule, positions: Tensor | None = None) -> list[tuple[Label, float | None]]:
        """What was predicted and its confidence, of the samples at some positions or of all.

        Predictions hold the scores of all classes as Python objects; of many samples and classes they would take
        gigabytes, so only a part of them is there at a time.
        """
        if self.output is None:
            return [self.decoded[int(p)] for p in positions] if positions is not None else list(self.decoded)
        output = self.output if positions is None else self.output[positions]
        return [pair for part in output.split(_DECODED_AT_ONCE) for pair in _pairs(head.decode(part))]


def run_split(
    network: nn.Module,
    model: TransferModel,
    split: SplitData,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda _: None,
    *,
    live: bool = False,
) -> Outputs:
    """Run a model in evaluation mode over a split and measure it.

    Args:
        network: What is fed with batches: the model, or what stands for it.
        model: Its head gives loss and metrics; its backbone writes texts where the head asks for them.
        split: The split, N samples.
        device: Where the network is.
        on_batch: Called with the number of samples done.
        live: Whether a few texts are enough, as between two epochs; nothing is then measured by them.
    """
    network.eval()
    head = model.head
    gathered = _InPlace(model, split, live=live) if head.decodes_in_place or head.generation() else _Vectors(head)
    done = 0
    with torch.inference_mode():
        for batch in split.loader:
            inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
            gathered.add(network(inputs), batch)
            done += len(batch.positions)
            on_batch(done)
        return gathered.outputs()


class _Vectors:
    """Keeps vectors and measures them as a whole: how a split is cut into batches then changes nothing."""

    def __init__(self, head: HeadModule) -> None:
        self._head = head
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._positions: list[Tensor] = []

    def add(self, output: Tensor, batch: Batch) -> None:
        """Take in a batch; what is on an accelerator stays there until all is done."""
        self._outputs.append(output.float())
        self._targets.append(batch.targets)
        self._positions.append(batch.positions)

    def outputs(self) -> Outputs:
        """Put all in order and measure it."""
        in_order = torch.argsort(torch.cat(self._positions))
        output, targets = torch.cat(self._outputs).cpu()[in_order], torch.cat(self._targets)[in_order]
        return measured(self._head, output, targets)


def measured(head: HeadModule, output: Tensor, targets: Tensor) -> Outputs:
    """Measure raw outputs ``[N, ...]`` against encoded labels; for heads that do not decode in place."""
    device = next((parameter.device for parameter in head.parameters()), torch.device("cpu"))
    losses = head.loss(output.to(device), targets.to(device)).cpu()
    metrics = head.metrics()
    metrics.update(output, targets)
    return Outputs(losses, {"loss": float(losses.mean()), **_numbers(metrics)}, output)


class _InPlace:
    """Measures and decodes batch by batch what is too large to be kept."""

    def __init__(self, model: TransferModel, split: SplitData, *, live: bool) -> None:
        self._model, self._head = model, model.head
        self._samples = split.samples
        self._how = model.head.generation()
        most = None if self._how is None else self._how.live if live else self._how.evaluated
        self._written = _spread(len(split.ids), most)
        self._metrics, self._label_metrics = self._head.metrics(), self._head.label_metrics()
        if live and most is not None:
            self._label_metrics = None
        self._losses: list[Tensor] = []
        self._positions: list[Tensor] = []
        self._decoded: list[tuple[Label, float | None]] = []

    def add(self, output: Tensor, batch: Batch) -> None:
        """Measure and decode a batch."""
        device = output.device
        # Scores of a whole vocabulary at each place would take gigabytes once more: they stay where and what they are.
        output = output.float() if self._how is None else output
        self._losses.append(self._head.loss(output, batch.targets.to(device)).cpu())
        self._positions.append(batch.positions)
        output = output.cpu() if self._how is None else output
        self._metrics.to(output.device).update(output, batch.targets.to(output.device))
        rows = [row for row, position in enumerate(batch.positions.tolist()) if position in self._written]
        if not rows:
            self._decoded += [(None, None)] * len(batch.positions)
            return
        inputs, positions = batch.inputs, batch.positions
        if len(rows) < len(positions):
            inputs, positions = {name: tensor[rows] for name, tensor in inputs.items()}, positions[rows]
        samples = self._samples(positions)
        if self._how is not None:
            output = generate(self._model, inputs, self._how, device).cpu()
        predictions = self._head.decode(output, inputs, samples)
        if self._label_metrics is not None:
            self._label_metrics.update(predictions, samples)
        decoded: list[tuple[Label, float | None]] = [(None, None)] * len(batch.positions)
        for row, pair in zip(rows, _pairs(predictions), strict=True):
            decoded[row] = pair
        self._decoded += decoded

    def outputs(self) -> Outputs:
        """Put all in order."""
        in_order = torch.argsort(torch.cat(self._positions))
        losses = torch.cat(self._losses)[in_order]
        metrics = {"loss": float(losses.mean()), **_numbers(self._metrics)}
        if self._label_metrics is not None:
            metrics |= self._label_metrics.compute()
        return Outputs(losses, metrics, None, [self._decoded[position] for position in in_order.tolist()])


def _spread(count: int, most: int | None) -> range:
    """Positions that are spread evenly over a number of samples, and at most so many; `None`: all."""
    return range(count) if most is None else range(0, count if most else 0, max(1, -(-count // max(1, most))))


def generate(model: TransferModel, inputs: Mapping[str, Tensor], how: Generation, device: torch.device) -> Tensor:
    """Let the backbone of a model write a text for each sample of a batch; returns its tokens.

    Raises:
        RunError: It cannot.
    """
    backbone = model.backbone
    if not isinstance(backbone, BackboneModule):
        raise RunError("The strategy has put something around the backbone that writes no texts.", field="strategy")
    return backbone.generate({name: tensor.to(device) for name, tensor in inputs.items()}, how)


def _numbers(metrics: MetricCollection) -> dict[str, float]:
    return {str(name): float(value) for name, value in metrics.compute().items()}


def _pairs(predictions: Sequence[Prediction]) -> list[tuple[Label, float | None]]:
    return [(prediction.value, prediction.confidence) for prediction in predictions]


def monitored(head: HeadModule, options: TrainingOptions, labels: Sequence[Label] = ()) -> tuple[str, str]:
    """Name the metric that chooses the best epoch, and whether more (``"max"``) or less of it is better.

    Args:
        head: The head.
        options: How to train.
        labels: Those of the validation split; where they leave the metric undefined, the loss takes its place.

    Raises:
        RunError: The head has no such metric.
    """
    chosen = options.monitor or head.monitor[0]
    if chosen == "loss" or (labels and chosen in head.undefined_metrics(labels)):
        return "loss", "min"
    if chosen == head.monitor[0]:
        return head.monitor
    collection = head.metrics()
    names = [str(name) for name in collection]
    # What is written is measured at the end alone.
    from_labels = head.label_metrics() if head.generation() is None else None
    better = from_labels.better if from_labels is not None else {}
    if options.monitor in better:
        return options.monitor, better[options.monitor]
    if options.monitor not in names:
        raise RunError(
            f"There is no metric '{options.monitor}' for this task.",
            f"Choose one of {', '.join(dict.fromkeys(['loss', head.monitor[0], *names, *better]))}.",
            field="training.monitor",
        )
    higher = getattr(collection[options.monitor], "higher_is_better", True)
    return options.monitor, "min" if higher is False else "max"
