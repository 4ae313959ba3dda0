"""When memory runs out: a plain sentence with what to do, and the batch size that would fit."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor

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
        train: Where the batch comes from.
        options: With the batch size that did not fit.
        fabric: Device and precision.
    """

    def __init__(self, learner: Learner, train: TrainLoader, options: TrainingOptions, fabric: Fabric) -> None:
        self._network = learner.network
        self._learner = BatchLearner(learner, learner.network, fabric, num_train=options.batch_size)
        self._batch = next(train.epoch(0))
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
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        with contextlib.suppress(RuntimeError, MemoryError):
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
