"""The methods of a run, taken together: what each adds to the loop, in the order of the recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tlstudio.api import DataStream, Features, Method, Options
from tlstudio.api.method_modules import Inputs, MethodModule, StreamBatch, TrainingStep
from tlstudio.api.nn import ParamGroup
from tlstudio.engine.datasets import Batch
from tlstudio.engine.optimization import highest_rate

SEPARATOR = "/"
"""Between the name of a method and that of its stream or view, in a batch."""


@dataclass(frozen=True, slots=True)
class ChosenMethod:
    """A method of a recipe with its checked options."""

    method: Method
    options: Options

    @property
    def name(self) -> str:
        """Its name in the recipe."""
        return self.method.name

    def streams(self) -> Mapping[str, DataStream]:
        """What it asks for, by name."""
        return {stream.name: stream for stream in self.method.streams(self.options)}

    @property
    def needs_backbone(self) -> bool:
        """Whether cached features are not enough for it."""
        method, options = self.method, self.options
        asked = method.streams(options) or method.views(options) or method.models(options)
        return method.needs_backbone or bool(asked)


class Methods:
    """The built methods of a run.

    Args:
        chosen: The methods in the order in which they work.
        modules: What was built of them, by name.
    """

    def __init__(
        self,
        chosen: tuple[ChosenMethod, ...] = (),
        modules: Mapping[str, MethodModule] | None = None,
    ) -> None:
        self._modules = dict(modules or {})
        self._keep_start = any(one.method.keeps_start for one in chosen)
        streams = {f"{one.name}{SEPARATOR}{name}": stream for one in chosen for name, stream in one.streams().items()}
        self._first_views = {name: next(iter(stream.views)) for name, stream in streams.items()}
        self._together = [name for name, stream in streams.items() if stream.together]

    def __bool__(self) -> bool:
        return bool(self._modules)

    @property
    def keep_start(self) -> bool:
        """Whether one of them wants to have kept where the backbone begins to learn."""
        return self._keep_start

    @property
    def swaps_weights(self) -> bool:
        """Whether other weights are validated and kept than those that learn."""
        return any(type(module).evaluated is not MethodModule.evaluated for module in self._modules.values())

    def to(self, device: torch.device) -> None:
        """Move all that they keep to a device."""
        for module in self._modules.values():
            module.to(device)

    def with_own(
        self, groups: list[ParamGroup], head: nn.Module, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Put all that learns in them, named by the method, behind what learns by the strategy.

        Args:
            groups: What learns by the strategy.
            head: The head of the run, whose rate theirs is: what they bring is as new.
            learning_rate: Rate of the run, where nothing of the head learns.
            weight_decay: Weight decay of the run.
        """
        rate = highest_rate(groups, head) or learning_rate
        return groups + [
            replace(group, name=f"{name}: {group.name}" if group.name != type(module).__name__ else name)
            for name, module in self._modules.items()
            for group in module.param_groups(learning_rate=rate, weight_decay=weight_decay)
        ]

    def encoder(self, method: str, stream: str) -> Any:  # noqa: ANN401  a TargetEncoder of the method
        """What encodes the labels of a stream of a method."""
        return self._modules[method].encoder(stream)

    def begin(self) -> None:
        """Do what comes before the first step."""
        for module in self._modules.values():
            module.begin()

    def on_epoch_start(self, epoch: int) -> None:
        """Tell them that an epoch, counted from 0, begins."""
        for module in self._modules.values():
            module.on_epoch_start(epoch)

    def on_epoch_end(self) -> None:
        """Tell them that the steps of an epoch are made."""
        for module in self._modules.values():
            module.on_epoch_end()

    def learning_rate(self, progress: float, factor: float) -> float:
        """Let each change the factor by which all learning rates are scaled."""
        for module in self._modules.values():
            factor = module.learning_rate(progress, factor)
        return factor

    def transform(self, step: TrainingStep, batch: Batch) -> None:
        """Let each change the inputs and targets of a batch."""
        for module in self._each(step, batch):
            module.transform(step)

    def compute(self, step: TrainingStep, batch: Batch) -> tuple[Features, Tensor]:
        """Compute features and outputs of a batch, and of the streams that go together with it."""
        beside = [batch.streams[name] for name in self._together if name in batch.streams]
        first, *others = _forward_together(step.forward, [step.inputs, *(stream.inputs for stream in beside)])
        for stream, computed in zip(beside, others, strict=True):
            stream.computed = computed
        return first

    def losses(self, step: TrainingStep, batch: Batch, losses: Tensor) -> Tensor:
        """Let each put other losses in the place of those of the samples."""
        for module in self._each(step, batch):
            losses = module.losses(step, losses)
        return losses

    def extra_loss(self, step: TrainingStep, batch: Batch) -> Tensor | float:
        """Sum of what they add to the loss."""
        total: Tensor | float = 0.0
        for module in self._each(step, batch):
            extra = module.extra_loss(step)
            total = total if extra is None else total + extra
        return total

    def backward(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute the gradients of a batch; the first method stands outermost."""
        for module in reversed(self._modules.values()):
            compute = _around(module, compute)
        return compute()

    def after_step(self) -> None:
        """Tell them that the optimizer has made a step."""
        for module in self._modules.values():
            module.after_step()

    def snapshots(self) -> list[int]:
        """Say as which snapshots the weights at the end of an epoch are kept; the first is 1."""
        return [number for module in self._modules.values() if (number := module.snapshot())]

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        """Inside, the model has the weights that are validated and kept."""
        with contextlib.ExitStack() as stack:
            for module in self._modules.values():
                stack.enter_context(module.evaluated())
            yield

    def passes(self) -> dict[str, Mapping[str, float]]:
        """How often each goes through samples by itself, by method and stream (``""``: the train split)."""
        return {name: module.passes() for name, module in self._modules.items()}

    def quantities(self) -> dict[str, float]:
        """Numbers of now that are worth plotting, by method and name."""
        return {
            f"{name}{SEPARATOR}{what}": float(value)
            for name, module in self._modules.items()
            for what, value in module.quantities().items()
        }

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All that they keep from step to step."""
        return {name: dict(module.state_dict()) for name, module in self._modules.items()}

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go back to what `state` has given."""
        for name, module in self._modules.items():
            module.load_state_dict(state[name])

    def _each(self, step: TrainingStep, batch: Batch) -> Iterator[MethodModule]:
        """Give each method, and let the step show it what it has asked for."""
        for name, module in self._modules.items():
            prefix = f"{name}{SEPARATOR}"
            step.views = _own(batch.views, prefix)
            step.streams = {
                stream: StreamBatch(
                    {self._first_views[prefix + stream]: one.inputs, **one.views},
                    one.targets,
                    *(one.computed or (None, None)),
                )
                for stream, one in _own(batch.streams, prefix).items()
            }
            yield module


def _forward_together(
    forward: Callable[[Inputs], tuple[Features, Tensor]], batches: Sequence[Inputs]
) -> list[tuple[Features, Tensor]]:
    """Compute several batches as one where their tensors fit together, else one after the other."""
    shapes = [{name: (tensor.shape[1:], tensor.dtype) for name, tensor in one.items()} for one in batches]
    if len(batches) == 1 or any(one != shapes[0] for one in shapes):
        return [forward(one) for one in batches]
    sizes = [len(next(iter(one.values()))) for one in batches]
    features, output = forward({name: torch.cat([one[name] for one in batches]) for name in shapes[0]})
    return list(zip(features.split(sizes), output.split(sizes), strict=True))


def _around(module: MethodModule, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return lambda: module.backward(compute)


def _own(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in table.items() if name.startswith(prefix)}
