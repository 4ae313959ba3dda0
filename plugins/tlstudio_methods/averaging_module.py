"""Averages of weights as torch modules. Imported only when they are built."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.api.nn import set_train_mode
from tlstudio_methods.averaging import first_averaged

__all__ = ["EMAModule", "SWAModule"]


class AverageModule(MethodModule):
    """Keeps an average of all that may change in the run, and lends it to the model where that is validated or kept.

    What is frozen is not copied: of LoRA, the adapters and the head alone are averaged.

    Args:
        context: The run.
    """

    count: Tensor

    def __init__(self, context: MethodContext) -> None:
        super().__init__(context)
        state = context.model.state_dict()
        self._names = [name for name in state if name in context.updates]
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for number, name in enumerate(self._names):
            self.register_buffer(f"average_{number}", state[name].clone())
        self._counted: int | None = None  # what `count` says, so that a GPU is asked once only

    @property
    def averaged(self) -> int:
        """How many weights the average is made of."""
        if self._counted is None:
            self._counted = int(self.count)
        return self._counted

    def has_averaged(self) -> None:
        """Count one more."""
        self._counted = self.averaged + 1
        self.count += 1

    def averages(self) -> list[Tensor]:
        """The averages, in the order of `values`."""
        return [self.get_buffer(f"average_{number}") for number in range(len(self._names))]

    def values(self) -> list[Tensor]:
        """What the model has now; to write into it changes the model."""
        state = self.context.model.state_dict()
        return [state[name] for name in self._names]

    @contextlib.contextmanager
    def lent(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Inside, the model has other values."""
        own = self.values()
        before = [value.clone() for value in own]
        _copy(values, own)
        try:
            yield
        finally:
            _copy(before, own)

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        """Inside, the model has the average, once there is one."""
        if not self.averaged:
            yield
            return
        with self.lent(self.averages()):
            yield


class EMAModule(AverageModule):
    """After each step, ``average = decay * average + (1 - decay) * weights``; the first step is taken over as it is.

    So are, at each step, whole numbers and what else is no weight and no running statistics of BatchNorm: what a head
    has noted of samples, say, is not to be mixed with what it has noted of others.

    Args:
        context: The run.
        decay: Highest decay.
        power: At step n, counted from 0, the decay is at most ``1 - (1 + n) ** -power``; `None`: no warm-up.
    """

    def __init__(self, context: MethodContext, *, decay: float, power: float | None) -> None:
        super().__init__(context)
        self._decay = decay
        self._power = power
        model = context.model
        mixed = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        for name, layer in model.named_modules(remove_duplicate=False):
            if isinstance(layer, _BatchNorm):
                mixed |= {f"{name}.running_mean", f"{name}.running_var"}
        self._mixed = [number for number, name in enumerate(self._names) if name in mixed]

    def after_step(self) -> None:
        """Take in what the step has made."""
        decay = self._decay_at(self.averaged)
        averages, values = self.averages(), self.values()
        means = [number for number in self._mixed if values[number].is_floating_point()]
        if decay and means:
            get_ema_multi_avg_fn(decay)([averages[n] for n in means], [values[n] for n in means], self.averaged)
        else:
            means = []
        rest = sorted(set(range(len(values))).difference(means))
        _copy([values[n] for n in rest], [averages[n] for n in rest])
        self.has_averaged()

    def quantities(self) -> Mapping[str, float]:
        """The decay of the next step."""
        return {"decay": self._decay_at(self.averaged)}

    def _decay_at(self, step: int) -> float:
        if not step or self._power is None:
            return self._decay if step else 0.0
        return min(self._decay, 1.0 - math.pow(1.0 + step, -self._power))


class SWAModule(AverageModule):
    """Equal mean of the weights at the ends of the last epochs, with BatchNorm's statistics computed anew for it.

    `torch.optim.swa_utils.update_bn` would also move the statistics of layers that are frozen.

    Args:
        context: The run.
        start: Share of the epochs after which it begins.
        rate: Factor of the learning rates from there on; 0: that of the schedule.
    """

    def __init__(self, context: MethodContext, *, start: float, rate: float) -> None:
        super().__init__(context)
        self._first = first_averaged(start, context.epochs)
        self._rate = rate
        self._epoch = 0
        learned = {name for name, _ in context.model.named_parameters(remove_duplicate=False)}
        self._weights = [number for number, name in enumerate(self._names) if name in learned]

    def learning_rate(self, progress: float, factor: float) -> float:
        """Hold the rate where the average has begun."""
        return self._rate if self._rate and progress >= self._first / self.context.epochs else factor

    def on_epoch_start(self, epoch: int) -> None:
        """Note which one it is."""
        self._epoch = epoch

    def on_epoch_end(self) -> None:
        """Take in the weights; nothing is changed where this is interrupted."""
        if self._epoch < self._first:
            return
        averages, values = self.averages(), self.values()
        new = [value.clone() for value in values]
        weights = [averages[number].clone() for number in self._weights]
        if weights:
            get_swa_multi_avg_fn()(weights, [values[number] for number in self._weights], self.averaged)
        for number, weight in zip(self._weights, weights, strict=True):
            new[number] = weight
        with self.lent(new):
            self._measure_statistics()
            _copy(values, new)
        _copy(new, averages)
        self.has_averaged()

    def passes(self) -> Mapping[str, float]:
        """One at the end of each epoch that counts, where there are statistics to be measured."""
        return {"": self.context.epochs - self._first} if self._moving() else {}

    def quantities(self) -> Mapping[str, float]:
        """How many epochs the average is made of."""
        return {"averaged epochs": self.averaged}

    def _measure_statistics(self) -> None:
        """Compute the running statistics of the layers that move them, as means over the train split."""
        model = self.context.model
        layers = [(layer, layer.momentum) for layer in self._moving()]
        if not layers:
            return
        for layer, _ in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative mean
            layer.train()
        try:
            with torch.no_grad():
                for inputs, targets in self.context.batches(""):
                    if len(targets) > 1 or self.context.batch_size == 1:  # one sample alone has no variance
                        self.context.forward(inputs)
        finally:
            for layer, momentum in layers:
                layer.momentum = momentum
            model.eval()

    def _moving(self) -> list[_BatchNorm]:
        """The layers that move their running statistics while the model learns; it is left in evaluation mode."""
        model = self.context.model
        set_train_mode(model)
        found = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training]
        model.eval()
        return [layer for layer in found if layer.track_running_stats]


def _copy(values: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for value, tensor in zip(values, into, strict=True):
            tensor.copy_(value)
