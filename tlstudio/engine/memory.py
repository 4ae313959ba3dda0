"""When memory runs out: a plain sentence with what to do, and the batch size that would fit."""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tlstudio.api import RunError
from tlstudio.api.nn import set_train_mode
from tlstudio.engine.datasets import Batch
from tlstudio.engine.learning import BatchLearner
from tlstudio.engine.loading import TrainLoader
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.engine.training_state import Learner


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return "can't allocate memory" in text or "out of memory" in text


class BatchTrial:
    """Tries for real which batch fits.

    Args:
        learner: What is trained.
        train: Where the batch comes from: the one that needs the most room.
        options: With the batch size that did not fit.
        fabric: Device and precision.
    """

    def __init__(self, learner: Learner, train: TrainLoader, options: TrainingOptions, fabric: Fabric) -> None:
        self._network = learner.network
        self._learner = BatchLearner(learner, learner.network, fabric, num_train=options.batch_size)
        self._batch = train.longest()
        self._options = options
        self._fabric = fabric

    def largest_fitting(self) -> int:
        """Try half of the batch, a quarter, and so on; returns the first size that fits, 0 if not even 1 does."""
        size = min(self._options.batch_size, len(self._batch.positions)) // 2
        while size >= 1 and not self.fits(size):
            size //= 2
        return size

    def fits(self, size: int) -> bool:
        """Make a step with so many samples, and room for what the optimizer will keep."""
        network, device = self._network, self._fabric.device
        network.zero_grad(set_to_none=True)
        if gc.isenabled():  # who has switched it off, as a window does, collects on a thread of its own choice
            gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        with contextlib.suppress(RuntimeError, MemoryError, RunError):
            set_train_mode(network)
            # The optimizer will keep this much beside the gradients: two moments (AdamW) or one (SGD).
            moments = 1 if self._options.optimizer == "sgd" else 2
            learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
            reserved = [torch.empty_like(parameter) for parameter in learning for _ in range(moments)]
            with self._fabric.autocast():
                self._learner.gradients(part_of(self._batch, size))
            network.zero_grad(set_to_none=True)
            del reserved
            return True
        return False


def part_of(batch: Batch, size: int) -> Batch:
    """The first samples of a batch, with as large a share of what comes with it."""
    length = len(batch.positions)

    def cut(inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        return {name: tensor[:count] for name, tensor in inputs.items()}

    streams = {name: part_of(one, max(1, len(one.positions) * size // length)) for name, one in batch.streams.items()}
    views = {name: cut(view, size) for name, view in batch.views.items()}
    return Batch(cut(batch.inputs, size), batch.targets[:size], batch.positions[:size], views, streams)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What the steps of a run hold at a time, in bytes; what the libraries themselves take comes on top.

    Attributes:
        parameters: The model with its buffers, and what methods keep.
        gradients: One for each parameter that learns.
        optimizer: What the optimizer keeps of them.
        activations: What is kept from a forward pass for the backward pass of a whole batch, measured on a part of it;
            or what the backbone holds while features are computed that are kept, where that is more.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations


class _Held:
    """Counts the bytes of tensors that are held, each storage once.

    Args:
        others: Tensors that are there anyway.

    Attributes:
        peak: The most bytes that were held at a time.
    """

    def __init__(self, others: Iterable[Tensor]) -> None:
        self.peak = 0
        self._others = {_storage_of(tensor)[0] for tensor in others}
        self._holders: dict[int, int] = {}  # by storage: how many of what is held lie in it
        self._now = 0

    def hold(self, tensor: Tensor) -> Callable[[], None]:
        """Count a tensor; returns what is to be called when it is let go."""
        where, size = _storage_of(tensor)
        if where in self._others:
            return lambda: None
        self._holders[where] = self._holders.get(where, 0) + 1
        if self._holders[where] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)
        return functools.partial(self._let_go, where, size)

    def _let_go(self, where: int, size: int) -> None:
        self._holders[where] -= 1
        if not self._holders[where]:
            self._now -= size


class KeptActivations:
    """Counts what a backward pass needs of its forward pass, while it is entered, on any device.

    Args:
        others: Tensors that are there anyway.
    """

    def __init__(self, others: Iterable[Tensor]) -> None:
        self._held = _Held(others)
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept.tensor)

    @property
    def peak(self) -> int:
        """The most bytes that were kept at a time."""
        return self._held.peak

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._hooks.__exit__(*raised)

    def _keep(self, tensor: Tensor) -> _Kept:
        return _Kept(tensor, self._held.hold(tensor))


class PassingActivations(TorchDispatchMode):
    """Counts what is held while something is computed without gradients, while it is entered, on any device.

    Args:
        others: Tensors that are there anyway.
    """

    def __init__(self, others: Iterable[Tensor]) -> None:
        begin: Callable[[], None] = super().__init__  # which has no types
        begin()
        self._held = _Held(others)

    @property
    def peak(self) -> int:
        """The most bytes that were held at a time."""
        return self._held.peak

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Collection[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Compute, and count what came out until nobody holds it."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                weakref.finalize(tensor, self._held.hold(tensor)).atexit = False
        return result


class _Kept:
    """A tensor that waits for the backward pass."""

    def __init__(self, tensor: Tensor, let_go: Callable[[], None]) -> None:
        self.tensor = tensor
        self._let_go = let_go

    def __del__(self) -> None:
        self._let_go()


def _storage_of(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies, and how many bytes are there."""
    if tensor.layout != torch.strided:
        return id(tensor), tensor.element_size() * tensor.numel()
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


class OutOfMemoryError(RunError):
    """A batch did not fit; it says what to do.

    Args:
        options: With the batch size that did not fit.
        fitting: The largest that was found to fit, 0 if none did, `None` if none was tried.
        device: Where memory ran out.
        recomputed: Whether the whole batch was found to fit if activations are computed again.

    Attributes:
        suggestion: Training options that fit and learn as from the wished batch; empty if nothing was found.
    """

    def __init__(
        self, options: TrainingOptions, fitting: int | None, device: torch.device, *, recomputed: bool = False
    ) -> None:
        size = options.batch_size
        where = "The GPU" if device.type != "cpu" else "This machine"
        self.suggestion: dict[str, int] = {}
        remedies = []
        if fitting:
            times = -(-size // fitting)
            self.suggestion = {"batch_size": fitting, "accumulate": options.accumulate * times}
            remedies.append(
                f"A batch size of {fitting} fits (tried just now); "
                f"with accumulation {self.suggestion['accumulate']} it learns as from {size * options.accumulate}."
            )
        elif fitting is None:
            remedies.append("Choose a smaller batch size.")
        else:
            remedies.append("Not even a batch of one fits: choose a smaller backbone or smaller images or texts.")
        if recomputed:
            remedies.append(f"A batch size of {size} fits with 'recompute' on (tried just now), which takes more time.")
        remedies.append(
            "Also possible: precision bf16, the strategies lora or linear_probe, a smaller image size or length."
        )
        super().__init__(
            f"{where} has too little memory for a batch size of {size}.",
            " ".join(remedies),
            field="training.batch_size",
        )
