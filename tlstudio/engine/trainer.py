"""The one loop. It reads from top to bottom and says what it does in events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tlstudio.api import FineTuningStrategy, Label, Options, RunError
from tlstudio.api.data import label_text
from tlstudio.api.nn import HeadModule, ParamGroup, TransferModel, set_train_mode
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, Kind
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.devices import memory_in_use
from tlstudio.engine.events import CheckpointSaved, EpochEnded, Note, Paused, Resumed, RunEvent, StepLogged
from tlstudio.engine.loading import Batch, TrainLoader
from tlstudio.engine.measuring import SplitData, monitored, run_split
from tlstudio.engine.optimization import learning_rate_factor, make_optimizer, sum_of_absolutes
from tlstudio.engine.random_state import DRAWING
from tlstudio.engine.recipe import TrainingOptions

_LOGGED_STEPS = 600  # points of the training curves at most: all that a plot can show
_LOGGED_AFTER = 1.0  # seconds after which a step is logged all the same
_WORST_SHOWN = 8
_SAVE_LAST_EVERY = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Learner:
    """What is trained, and by which strategy.

    Attributes:
        model: Backbone and head, prepared by the strategy.
        network: What is fed with batches: the model itself, or its head behind cached features.
        strategy: The strategy.
        options: Options of the strategy.
        groups: Everything that will ever learn.
    """

    model: TransferModel
    network: nn.Module
    strategy: FineTuningStrategy
    options: Options
    groups: list[ParamGroup]


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

    def fit(self, learner: Learner, train: TrainLoader, targets: Tensor, validation: SplitData) -> int:
        """Train until the epochs are done, nothing improves any more, or stop or cancel is asked for.

        Args:
            learner: What is trained.
            train: Training batches.
            targets: Encoded training labels by position, ``[N, ...]``.
            validation: The validation split.

        Returns:
            The epoch of the best checkpoint, 0 if there is none.

        Raises:
            RunError: The loss is no longer a number.
        """
        options, model = self._options, learner.model
        optimizer = make_optimizer(learner.groups, options)
        network, fabric_optimizer = self._fabric.setup(learner.network, optimizer)
        steps = options.epochs * math.ceil(len(train) / options.accumulate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps, options)
        )
        engine = _Engine(learner, network, fabric_optimizer, scheduler, targets.to(self._fabric.device), steps)
        keep_last = options.keep == "last"
        best = _Best(*monitored(model.head, options))
        kept = 0  # the epoch of the checkpoint "best"

        last_saved = time.monotonic()
        state = CheckpointState(0, 0)
        for epoch in range(1, options.epochs + 1):
            learner.strategy.on_epoch_start(model, epoch - 1, learner.options)
            train_loss = self._train_epoch(engine, train, epoch)
            request = self._control.request
            if request == "cancel" or (request == "stop" and kept and not keep_last):
                break
            try:
                metrics, worst = self._validate(engine, model.head, validation)
            except Interrupted:
                break
            # Behind the last step, nothing else would notice; NaN would also be no JSON.
            self._finite(metrics["loss"], engine.step, epoch)
            best.see(epoch, metrics)
            state = CheckpointState(epoch, engine.step, metrics)
            seconds = engine.clock.seconds
            self._on_event(
                EpochEnded(
                    epoch, engine.step, train_loss, metrics, best.improved == epoch, best.improved, seconds, worst
                )
            )
            if best.improved == epoch and not keep_last:
                self._save("best", model, state)
                kept = epoch
            if time.monotonic() - last_saved > _SAVE_LAST_EVERY:
                self._save("best" if keep_last else "last", model, state)
                kept = epoch if keep_last else kept
                last_saved = time.monotonic()
            if request == "stop":
                break
            if options.early_stopping and epoch - best.improved >= options.early_stopping:
                text = f"Stopped early: {best.monitor} has not improved for {options.early_stopping} epochs."
                self._on_event(Note(text))
                break
        self._save("last", model, state)
        if keep_last and state.epoch and state.step == engine.step:  # no step beyond what was validated
            self._save("best", model, state)
            kept = state.epoch
        return kept

    def _train_epoch(self, engine: _Engine, train: TrainLoader, epoch: int) -> float:
        """Go through the training data once, or until stop or cancel; returns the mean loss."""
        options = self._options
        set_train_mode(engine.learner.network)
        log_every = math.ceil(engine.steps / _LOGGED_STEPS)
        batches = len(train)
        whole, window = _Mean(self._fabric.device), _Mean(self._fabric.device)
        logged_at = engine.clock.seconds
        for number, batch in enumerate(train.epoch(epoch - 1), start=1):
            first_of_step = number - 1 - (number - 1) % options.accumulate
            in_step = min(options.accumulate, batches - first_of_step)
            is_step = number == first_of_step + in_step
            with DRAWING, self._fabric.no_backward_sync(engine.network, enabled=not is_step):
                losses = self._forward(engine, batch)
                self._fabric.backward((losses.mean() + self._penalty(engine)) / in_step)
            whole.add(losses)
            window.add(losses)
            if is_step:
                rates = {group["name"]: group["lr"] for group in reversed(engine.optimizer.param_groups)}
                self._step(engine)
                seconds = engine.clock.seconds
                every = engine.step % log_every == 0 or engine.step == 1 or number == batches
                # Where steps are slow and many, a person must not wait for minutes to see that it goes on.
                if every or seconds - logged_at > _LOGGED_AFTER:
                    self._on_event(
                        StepLogged(
                            step=engine.step,
                            epoch=epoch - 1 + number / batches,
                            loss=self._finite(window.value(), engine.step, epoch),
                            learning_rates=rates,
                            samples_per_second=window.count / max(seconds - logged_at, 1e-9),
                            seconds=seconds,
                            seconds_left=seconds / engine.step * (engine.steps - engine.step),
                            gpu_memory=memory_in_use(self._fabric.device),
                        )
                    )
                    window, logged_at = _Mean(self._fabric.device), seconds
            if self._control.paused:
                self._wait(engine.clock)
                logged_at = max(logged_at, engine.clock.seconds)
            if self._control.request != "go_on":
                break
        return whole.value()

    def _forward(self, engine: _Engine, batch: Batch) -> Tensor:
        """Loss of each sample of a batch, ``[B]``."""
        device = self._fabric.device
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
        output: Tensor = engine.network(inputs).float()
        return engine.learner.model.head.loss(output, engine.targets[batch.positions.to(device)])

    def _penalty(self, engine: _Engine) -> Tensor | float:
        """What the strategy and L1 add to the loss of a batch."""
        learner = engine.learner
        extra = learner.strategy.extra_loss(learner.model, learner.options, len(engine.targets))
        penalty: Tensor | float = 0.0 if extra is None else extra
        if self._options.l1:
            learning = [parameter for group in learner.groups for parameter in group.params]
            penalty = penalty + self._options.l1 * sum_of_absolutes(learning)
        return penalty

    def _step(self, engine: _Engine) -> None:
        if self._options.clip_norm:
            self._fabric.clip_gradients(
                engine.network, engine.optimizer, max_norm=self._options.clip_norm, error_if_nonfinite=False
            )
        engine.optimizer.step()
        engine.scheduler.step()
        engine.optimizer.zero_grad(set_to_none=True)
        engine.step += 1

    def _finite(self, loss: float, step: int, epoch: int) -> float:
        if not math.isfinite(loss):
            raise RunError(
                f"The loss is no longer a number at step {step} (epoch {epoch}).",
                "Lower the learning rate, use precision 32 or bf16, or look for extreme labels.",
                field="training.learning_rate",
            )
        return loss

    def _wait(self, clock: _Clock) -> None:
        waited = self._control.wait_while_paused(lambda: self._on_event(Paused()), lambda: self._on_event(Resumed()))
        clock.leave_out(waited)

    def _save(self, kind: Kind, model: nn.Module, state: CheckpointState) -> None:
        seconds = self._checkpoints.save(kind, model, state)
        self._on_event(CheckpointSaved(state.epoch, kind, seconds))

    def _validate(
        self, engine: _Engine, head: HeadModule, split: SplitData
    ) -> tuple[dict[str, float], tuple[tuple[str, str, float], ...]]:
        """Metrics of the validation split, and its samples that are most wrong."""
        outputs = run_split(
            engine.network, head, split, self._fabric.device, lambda _done: self._control.check_cancelled()
        )
        order = torch.argsort(outputs.losses, descending=True)[:_WORST_SHOWN]
        worst = tuple(
            (split.ids[int(position)], label_text(prediction.value), float(outputs.losses[position]))
            for position, prediction in zip(order, head.decode(outputs.output[order]), strict=True)
            if not _same(prediction.value, split.labels[int(position)])
        )
        return outputs.metrics, worst


def _same(one: Label, other: Label) -> bool:
    """Whether two labels say the same; the order of several names does not matter."""
    return set(one) == set(other) if isinstance(one, tuple) and isinstance(other, tuple) else one == other


class _Clock:
    """Seconds since it was made, pauses left out."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def leave_out(self, seconds: float) -> None:
        self._start += seconds


@dataclass(slots=True)
class _Engine:
    """What the steps of one fit share. `network`, `optimizer` are as Fabric has wrapped them."""

    learner: Learner
    network: Any
    optimizer: Any
    scheduler: torch.optim.lr_scheduler.LambdaLR
    targets: Tensor
    steps: int
    step: int = 0
    clock: _Clock = field(default_factory=_Clock)


class _Mean:
    """Mean loss of samples, kept on the device: reading it at each step would make a GPU wait."""

    def __init__(self, device: torch.device) -> None:
        self._sum = torch.zeros((), device=device)
        self.count = 0

    def add(self, losses: Tensor) -> None:
        self._sum = self._sum + losses.detach().sum()
        self.count += len(losses)

    def value(self) -> float:
        return float(self._sum) / max(self.count, 1)


class _Best:
    """Which epoch is the best by the monitored metric.

    Equal values are common where the split is small; the lower loss then decides.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor = monitor
        self.improved = 0  # the epoch with the best value
        self._sign = 1.0 if mode == "max" else -1.0
        self._score: tuple[float, float] | None = None

    def see(self, epoch: int, metrics: dict[str, float]) -> None:
        """Take note of an epoch."""
        value = metrics[self.monitor]
        # A metric that is undefined must never look best.
        score = (self._sign * value if math.isfinite(value) else -math.inf, -metrics["loss"])
        if self._score is None or score > self._score:
            self._score, self.improved = score, epoch
