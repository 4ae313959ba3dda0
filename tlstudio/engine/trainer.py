"""The one loop. It reads from top to bottom and says what it does in events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tlstudio.api import FineTuningStrategy, Label, Options, RunError
from tlstudio.api.nn import HeadModule, ParamGroup, TransferModel, set_train_mode
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, Kind
from tlstudio.engine.control import RunControl
from tlstudio.engine.devices import memory_in_use
from tlstudio.engine.events import CheckpointSaved, EpochEnded, Note, Paused, Resumed, RunEvent, StepLogged
from tlstudio.engine.loading import Batch, EvalLoader, TrainLoader
from tlstudio.engine.recipe import TrainingOptions

_LOGGED_STEPS = 600  # points of the training curves at most: all that a plot can show
_WORST_SHOWN = 8
_SAVE_LAST_EVERY = 10.0  # seconds


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


@dataclass(slots=True)
class FitResult:
    """How training ended.

    Attributes:
        best_epoch: The epoch of the best checkpoint, 0 if there is none.
        seconds: Seconds of training, pauses left out.
    """

    best_epoch: int
    seconds: float


class Trainer:
    """Trains a model on batches.

    Args:
        fabric: Device and precision.
        options: How to train.
        on_event: Hears of every step that is logged, epoch and checkpoint.
        control: Pause, stop and cancel; looked at after each batch.
        checkpoints: Where to keep the best and the last.
    """

    def __init__(
        self,
        fabric: Fabric,
        options: TrainingOptions,
        *,
        on_event: Callable[[RunEvent], None],
        control: RunControl,
        checkpoints: Checkpoints,
    ) -> None:
        self._fabric = fabric
        self._options = options
        self._on_event = on_event
        self._control = control
        self._checkpoints = checkpoints

    def fit(
        self,
        model: TransferModel,
        network: nn.Module,
        strategy: FineTuningStrategy,
        strategy_options: Options,
        groups: list[ParamGroup],
        train: TrainLoader,
        train_targets: Tensor,
        validation: SplitData,
    ) -> FitResult:
        """Train until the epochs are done, nothing improves any more, or stop or cancel is asked for.

        Args:
            model: Backbone and head, prepared by the strategy.
            network: What is fed with batches: the model itself, or its head behind cached features.
            strategy: The strategy.
            strategy_options: Its options.
            groups: Everything that will ever learn.
            train: Training batches.
            train_targets: Encoded training labels by position.
            validation: The validation split.

        Raises:
            RunError: The loss is no longer a number.
        """
        options, fabric = self._options, self._fabric
        head = model.head
        optimizer = make_optimizer(groups, options)
        wrapped, fabric_optimizer = fabric.setup(network, optimizer)
        train_targets = train_targets.to(fabric.device)
        num_train = len(train_targets)

        steps_per_epoch = math.ceil(len(train) / options.accumulate)
        total_steps = max(1, options.epochs * steps_per_epoch)
        log_every = math.ceil(total_steps / _LOGGED_STEPS)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, total_steps, options)
        )
        learning = [parameter for group in groups for parameter in group.params]
        monitor, mode = monitored(head, options)

        step, best_epoch, without_improvement = 0, 0, 0
        best: tuple[float, float] | None = None
        clock = _Clock()
        last_saved = time.monotonic()
        validated: tuple[int, dict[str, float]] = (0, {})
        for epoch in range(options.epochs):
            strategy.on_epoch_start(model, epoch, strategy_options)
            set_train_mode(network)
            epoch_loss, epoch_seen = torch.zeros((), device=fabric.device), 0
            logged_loss, logged_seen, logged_at = torch.zeros((), device=fabric.device), 0, clock.seconds
            batches = len(train)
            for number, batch in enumerate(train.epoch(epoch), start=1):
                size = len(batch.positions)
                is_step = number % options.accumulate == 0 or number == batches
                in_this_step = (
                    options.accumulate
                    if number <= batches - batches % options.accumulate
                    else (batches % options.accumulate)
                )
                with fabric.no_backward_sync(wrapped, enabled=not is_step):
                    inputs, targets = self._to_device(batch, train_targets)
                    losses = head.loss(wrapped(inputs).float(), targets)
                    loss = losses.mean()
                    extra = strategy.extra_loss(model, strategy_options, num_train)
                    if extra is not None:
                        loss = loss + extra
                    if options.l1:
                        loss = loss + options.l1 * sum_of_absolutes(learning)
                    fabric.backward(loss / in_this_step)
                # Kept on the device: reading it would make the GPU wait at each step.
                batch_loss = losses.detach().sum()
                epoch_loss, epoch_seen = epoch_loss + batch_loss, epoch_seen + size
                logged_loss, logged_seen = logged_loss + batch_loss, logged_seen + size
                if is_step:
                    rates = {group["name"]: group["lr"] for group in reversed(optimizer.param_groups)}
                    if options.clip_norm:
                        fabric.clip_gradients(
                            wrapped, fabric_optimizer, max_norm=options.clip_norm, error_if_nonfinite=False
                        )
                    fabric_optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad(set_to_none=True)
                    step += 1
                    if step % log_every == 0 or step == 1 or number == batches:
                        loss_now = float(logged_loss) / logged_seen
                        if not math.isfinite(loss_now):
                            raise RunError(
                                f"The loss is no longer a number at step {step} (epoch {epoch + 1}).",
                                "Lower the learning rate, use precision 32 or bf16, or look for extreme labels.",
                                field="training.learning_rate",
                            )
                        self._on_event(
                            StepLogged(
                                step=step,
                                epoch=epoch + number / batches,
                                loss=loss_now,
                                learning_rates=rates,
                                samples_per_second=logged_seen / max(clock.seconds - logged_at, 1e-9),
                                seconds=clock.seconds,
                                seconds_left=clock.seconds / step * (total_steps - step),
                                gpu_memory=memory_in_use(fabric.device),
                            )
                        )
                        logged_loss, logged_seen = torch.zeros((), device=fabric.device), 0
                        logged_at = clock.seconds
                if self._control.paused:
                    self._wait(clock)
                if self._control.request != "go_on":
                    break

            stopping = self._control.request
            if stopping == "cancel" or (stopping == "stop" and best is not None):
                break
            metrics, worst = self._validate(wrapped, head, validation)
            validated = (epoch + 1, metrics)
            sign = 1.0 if mode == "max" else -1.0
            # Equal accuracy on a small split is common: the lower loss then decides.
            score = (sign * _number(metrics[monitor]), -metrics["loss"])
            is_best = best is None or score > best
            without_improvement = 0 if is_best else without_improvement + 1
            if is_best:
                best, best_epoch = score, epoch + 1
            self._on_event(
                EpochEnded(
                    epoch=epoch + 1,
                    step=step,
                    train_loss=float(epoch_loss) / max(epoch_seen, 1),
                    validation=metrics,
                    is_best=is_best,
                    best_epoch=best_epoch,
                    seconds=clock.seconds,
                    worst=worst,
                )
            )
            if is_best:
                self._save("best", model, CheckpointState(epoch + 1, step, metrics))
            if time.monotonic() - last_saved > _SAVE_LAST_EVERY:
                self._save("last", model, CheckpointState(epoch + 1, step, metrics))
                last_saved = time.monotonic()
            if stopping == "stop":
                break
            if options.early_stopping and without_improvement >= options.early_stopping:
                self._on_event(Note(f"Stopped early: {monitor} has not improved for {without_improvement} epochs."))
                break
        self._save("last", model, CheckpointState(validated[0], step, validated[1]))
        return FitResult(best_epoch, clock.seconds)

    def _to_device(self, batch: Batch, targets: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        device = self._fabric.device
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
        return inputs, targets[batch.positions.to(device)]

    def _wait(self, clock: _Clock) -> None:
        waited = self._control.wait_while_paused(lambda: self._on_event(Paused()), lambda: self._on_event(Resumed()))
        clock.leave_out(waited)

    def _save(self, kind: Kind, model: nn.Module, state: CheckpointState) -> None:
        seconds = self._checkpoints.save(kind, model, state)
        self._on_event(CheckpointSaved(state.epoch, kind, seconds))

    def _validate(
        self, network: nn.Module, head: HeadModule, split: SplitData
    ) -> tuple[dict[str, float], tuple[tuple[str, str, float], ...]]:
        outputs = run_split(network, head, split, self._fabric.device)
        order = torch.argsort(outputs.losses, descending=True)[:_WORST_SHOWN]
        shown = head.decode(outputs.output[order])
        worst = tuple(
            (split.ids[int(position)], label_text(prediction.value), float(outputs.losses[position]))
            for position, prediction in zip(order, shown, strict=True)
            if prediction.value != split.labels[int(position)]
        )
        return outputs.metrics, worst


class _Clock:
    """Seconds since it was made, pauses left out."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def leave_out(self, seconds: float) -> None:
        self._start += seconds


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


def make_optimizer(groups: list[ParamGroup], options: TrainingOptions) -> torch.optim.Optimizer:
    """Make the optimizer; names of groups are kept for the events."""
    dicts = [
        {"params": group.params, "lr": group.lr, "weight_decay": group.weight_decay, "name": group.name}
        for group in groups
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(dicts, lr=options.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(dicts, lr=options.learning_rate)


def learning_rate_factor(step: int, total_steps: int, options: TrainingOptions) -> float:
    """Scale of the learning rate at a step: a linear warm-up from above 0, then the schedule down to 0.

    Args:
        step: From 0.
        total_steps: Steps of the whole run.
        options: Warm-up share and schedule.

    Returns:
        A factor in 0..1.
    """
    warmup = round(options.warmup * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if options.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress if options.schedule == "linear" else 1.0


def sum_of_absolutes(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Sum of absolute values of all parameters that learn now."""
    return torch.stack([p.abs().sum() for p in parameters if p.requires_grad]).sum()


def label_text(label: Label) -> str:
    """Write a label for people."""
    if isinstance(label, tuple):
        return ", ".join(label) or "none"
    return f"{label:.4g}" if isinstance(label, float) else str(label)


def _number(value: float) -> float:
    """A metric that is undefined must never look best."""
    return value if np.isfinite(value) else -math.inf
