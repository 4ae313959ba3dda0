"""The state of a training: everything that its next step depends on besides the model, and that a checkpoint keeps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tlstudio.api import FineTuningStrategy, Options, RunError
from tlstudio.api.nn import ParamGroup, TransferModel
from tlstudio.engine.checkpoint_reading import Resumption
from tlstudio.engine.methods import Methods
from tlstudio.engine.random_state import random_state, set_random_state


@dataclass(frozen=True, slots=True)
class Learner:
    """What is trained, and by which strategy.

    Attributes:
        model: Backbone and head, prepared by the strategy.
        network: What is fed with batches: the model itself, or its head behind cached features.
        strategy: The strategy.
        options: Options of the strategy.
        groups: Everything that will ever learn.
        methods: What stands beside the strategy.
    """

    model: TransferModel
    network: nn.Module
    strategy: FineTuningStrategy
    options: Options
    groups: list[ParamGroup]
    methods: Methods = field(default_factory=Methods)


class Clock:
    """Seconds since it was made, pauses left out."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How many."""
        return time.monotonic() - self._start

    def leave_out(self, seconds: float) -> None:
        """Do not count so many seconds; a negative number adds them."""
        self._start += seconds


class MeanLoss:
    """Mean loss of samples, kept on the device: reading it at each step would make a GPU wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._sum = torch.zeros((), device=self._device)
        self.count = 0

    def add(self, losses: Tensor) -> None:
        """Take in the losses of some samples, ``[B]``."""
        self._sum = self._sum + losses.detach().sum()
        self.count += len(losses)

    def value(self) -> float:
        """Read the mean; 0 of no samples."""
        return float(self._sum) / max(self.count, 1)

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps of it."""
        return {"sum": self._sum, "count": self.count}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` has given."""
        self._sum, self.count = state["sum"].to(self._device), int(state["count"])


class FirstFault:
    """Finds the first batch whose loss is no number, without asking the device at each step.

    Between two looks, which wait for the device, only the positions of the batches are kept.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._fault = torch.full((), -1, dtype=torch.int64, device=self._device)
        self._batches: list[Tensor] = []

    def add(self, losses: Tensor, positions: Tensor) -> None:
        """Take in the losses of a batch, ``[B]``, and where its samples stand."""
        bad = ~torch.isfinite(losses.detach()).all()
        self._fault = torch.where((self._fault < 0) & bad, len(self._batches), self._fault)
        self._batches.append(positions)

    def look(self) -> Tensor | None:
        """Give the positions of the samples of the first bad batch since the last look, or `None`."""
        number = int(self._fault)
        found = self._batches[number] if number >= 0 else None
        self.clear()
        return found


class BestEpoch:
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

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps of it."""
        return {"improved": self.improved, "score": self._score}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` has given."""
        self.improved, self._score = state["improved"], state["score"]


class TrainingState:
    """What the steps of one fit share, and all of its state. `network`, `optimizer` are as Fabric has wrapped them."""

    def __init__(
        self,
        learner: Learner,
        network: Any,  # noqa: ANN401  Fabric's wrappers have no types that help
        optimizer: Any,  # noqa: ANN401  as above
        scheduler: torch.optim.lr_scheduler.LambdaLR,
        fabric: Fabric,
        num_train: int,
        steps: int,
        best: BestEpoch,
    ) -> None:
        self.learner = learner
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.num_train = num_train
        self.steps = steps
        self.best = best
        self.epoch = 1  # the one that is under way
        self.batch = 0  # batches of it that have been learned from
        self.step = 0
        self.ended = 0  # the last epoch of which methods were told that its steps are made
        self.between_steps = True  # no gradient waits for the rest of an accumulated step
        self.finished = False
        self._epoch_begun = False  # who hears of its beginning was told before the checkpoint
        self.kept = 0  # the epoch of the checkpoint "best"
        self.metrics: dict[str, float] = {}
        self.whole, self.window = MeanLoss(fabric.device), MeanLoss(fabric.device)
        self.fault = FirstFault(fabric.device)
        self.clock = Clock()
        self._fabric = fabric

    def begin_epoch(self) -> None:
        """Tell the strategy and the methods that an epoch begins, unless the run goes on within it."""
        if not self._epoch_begun:
            self._tell_beginning(self.epoch - 1)
        self._epoch_begun = False

    def _tell_beginning(self, epoch: int) -> None:
        learner = self.learner
        learner.strategy.on_epoch_start(learner.model, epoch, learner.options)
        learner.methods.on_epoch_start(epoch)

    def start_next_epoch(self, metrics: dict[str, float]) -> None:
        """Take note of the validation metrics of the epoch that is over."""
        self.metrics = metrics
        self.epoch, self.batch = self.epoch + 1, 0
        self.whole.clear()
        self.window.clear()

    def state(self) -> dict[str, Any]:
        """All that a step depends on, besides the model."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "ended": self.ended,
            "finished": self.finished,
            "kept": self.kept,
            "seconds": self.clock.seconds,
            "whole": self.whole.state(),
            "window": self.window.state(),
            "best": self.best.state(),
            "optimizer": self.scheduler.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "precision": self._fabric.strategy.precision.state_dict(),
            "methods": self.learner.methods.state(),
            "random": random_state(self._fabric.device),
        }

    def load(self, resumption: Resumption) -> None:
        """Go back to where a checkpoint was made; the random states come last, since building draws from them."""
        state, learner = resumption.training, self.learner
        try:
            for epoch in range(state["epoch"]):
                self._tell_beginning(epoch)
            learner.methods.load(state.get("methods", {}))
            if state["batch"]:  # once more for what it sets by what the methods have kept, such as what is frozen
                self._tell_beginning(state["epoch"] - 1)
                learner.methods.load(state.get("methods", {}))
                self._epoch_begun = True
            load_model(resumption, learner.model)  # a strategy may have changed parameters at the start of an epoch
            self.scheduler.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self._fabric.strategy.precision.load_state_dict(state["precision"])
            self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
            self.ended = state.get("ended", self.epoch - 1)
            self.finished, self.kept = state["finished"], state["kept"]
            self.metrics = dict(resumption.state.metrics)
            self.whole.load(state["whole"])
            self.window.load(state["window"])
            self.best.load(state["best"])
            self.clock.leave_out(-state["seconds"])
            set_random_state(state["random"], self._fabric.device)
            resumption.model.clear()
            state.clear()  # a second copy of everything would stay in memory to the end
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise _does_not_fit(error) from error


def load_model(resumption: Resumption, model: nn.Module) -> None:
    """Give a model the values of a checkpoint.

    Raises:
        RunError: They are those of another model.
    """
    try:
        model.load_state_dict(resumption.model)
    except RuntimeError as error:
        raise _does_not_fit(error) from error


def _does_not_fit(error: Exception) -> RunError:
    return RunError(
        f"The run cannot go on: its last checkpoint does not fit the run ({error}).",
        "Train it again: with the same recipe it gives the same model.",
    )
