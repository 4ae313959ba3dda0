"""Pruning after training: the smallest weights become zero, and what that costs is measured. Imports torch."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils import prune

from tlstudio.api import RunError
from tlstudio.engine.derivation import Derivation
from tlstudio.engine.derived import Bench, Measured, Weights, ancestor
from tlstudio.engine.learning import on_device
from tlstudio.store.run import Run

SPARSITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
"""The shares of zeros at which a curve is measured."""
_TIMED = 5
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Pruned:
    """A model of which the smallest weights were set to zero.

    Attributes:
        sparsity: Share of zeros that was asked for, of the weights that are pruned.
        zeros: Weights that are zero of those that are pruned.
        prunable: Weights that are pruned: matrices and kernels of linear layers and convolutions.
        total: All parameters.
        size: Bytes of the exported weights: zeros are stored like all other numbers.
        compressed: Bytes of the same file in a ZIP archive (deflate), where zeros take hardly any room.
        milliseconds: Time for a sample, in batches of the run, on the device of the run.
        measured: What was measured of it on the validation and test splits.
    """

    sparsity: float
    zeros: int
    prunable: int
    total: int
    size: int
    compressed: int
    milliseconds: float
    measured: Measured


def check_sparsity(sparsity: float) -> None:
    """Make sure that a sparsity is a share that leaves something.

    Raises:
        RunError: It is not in 0..1, or is 1.
    """
    if not 0.0 <= sparsity < 1.0:
        raise RunError(
            f"Sparsity is the share of weights that become zero, from 0 to below 1; {sparsity:.15g} is not.",
            "0.5 sets half of them to zero.",
            field="sparsity",
        )


def prunable(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Name the weights that are pruned, each once, also where it is shared.

    These are matrices and kernels. Embeddings are left alone, of which each row is met on its own, also where they are
    the output layer as well; so are biases, scales of normalisation and what a plugin calls otherwise than a weight.
    """
    found = []
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag))
    seen = {id(parameter) for module in tables for parameter in module.parameters()}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not name.endswith("weight") or parameter.ndim < 2 or not parameter.is_floating_point():
                continue
            if id(parameter) not in seen:
                found.append((module, name))
                seen.add(id(parameter))
    return found


def zero_smallest(model: nn.Module, sparsity: float) -> tuple[int, int]:
    """Set the smallest weights of a whole model to zero, by magnitude across all layers (Han et al. 2015).

    Args:
        model: The model, in place.
        sparsity: Share of its prunable weights.

    Returns:
        How many of them are zero now, and how many there are.

    Raises:
        RunError: It has none.
    """
    check_sparsity(sparsity)
    parts = prunable(model)
    if not parts:
        raise RunError("This model has no linear layers or convolutions, whose weights could be pruned.")
    if sparsity:
        prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=sparsity)
        for module, name in parts:
            prune.remove(module, name)
    weights = [module.get_parameter(name) for module, name in parts]
    return sum(int((weight == 0).sum()) for weight in weights), sum(weight.numel() for weight in weights)


class Pruning:
    """Prunes the model of a finished run, adapters folded in (magnitude pruning, Han et al. 2015, arXiv:1506.02626).

    Nothing is trained again afterwards. The zeros lie anywhere: the model needs less room once it is compressed, and is
    not faster, as the table shows.

    Args:
        bench: The run.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._dense = bench.weights
        batch = next(iter(bench.split("validation").loader))
        self._inputs = on_device(batch, bench.device).inputs

    def curve(self, sparsities: Sequence[float] = SPARSITIES) -> tuple[Pruned, ...]:
        """Prune the dense model to several sparsities, and measure each.

        Raises:
            RunError: One is not in 0..1.
            Interrupted: Cancel was asked for.
        """
        for sparsity in sparsities:
            check_sparsity(sparsity)
        return tuple(self.prune(sparsity) for sparsity in sorted(set(sparsities)))

    def prune(self, sparsity: float) -> Pruned:
        """Put the pruned model in place and measure it."""
        bench = self._bench
        bench.load(self._dense)
        zeros, count = zero_smallest(bench.model, sparsity)
        if sparsity:
            bench.measure_head()
        measured = bench.measure(f"Sparsity {sparsity:.0%}")
        size, compressed = sizes(bench.weights)
        total = sum(parameter.numel() for parameter in bench.model.parameters())
        return Pruned(sparsity, zeros, count, total, size, compressed, self._milliseconds(), measured)

    @property
    def monitor(self) -> str:
        """The metric by which the run has chosen its best epoch."""
        return self._bench.monitor()[0]

    def save(self, pruned: Pruned, curve: Sequence[Pruned] = ()) -> Run:
        """Write the model that was pruned last as a run of its own.

        Args:
            pruned: What it is.
            curve: What was measured before.
        """
        run = self._bench.run
        share = pruned.zeros / pruned.prunable
        derivation = Derivation(
            made_by="pruned",
            sentence=f"{share:.1%} of the weights of linear layers and convolutions of run {run.id} are zero: the "
            "smallest of all (magnitude pruning).",
            parents=(ancestor(run),),
            options={"sparsity": pruned.sparsity, "zeros": pruned.zeros, "prunable": pruned.prunable},
            curve=tuple(row(one) for one in curve or (pruned,)),
        )
        return self._bench.save(derivation, pruned.measured, seconds=time.monotonic() - self._bench.began)

    def _milliseconds(self) -> float:
        """Least time of a few batches, for a sample: what else the machine does only makes it longer."""
        bench, times = self._bench, []
        with torch.inference_mode():
            for _ in range(_TIMED + 1):
                _wait(bench.device)
                start = time.perf_counter()
                bench.model(self._inputs)
                _wait(bench.device)
                times.append(time.perf_counter() - start)
        samples = len(next(iter(self._inputs.values())))
        return 1000.0 * min(times[1:]) / samples


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sizes(weights: Weights) -> tuple[int, int]:
    """Bytes of weights as an export writes them (safetensors), and of the same in a ZIP archive."""
    separate: dict[str, Tensor] = {name: tensor.contiguous() for name, tensor in weights.items()}
    data = memoryview(save(separate))
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)  # as zip does by itself
    packed = sum(len(packer.compress(data[start : start + _CHUNK])) for start in range(0, len(data), _CHUNK))
    return len(data), packed + len(packer.flush())


def row(pruned: Pruned) -> dict[str, object]:
    """What was measured of a pruned model, as JSON values."""
    return {
        "sparsity": pruned.sparsity,
        "zeros": pruned.zeros,
        "prunable": pruned.prunable,
        "parameters": pruned.total,
        "size_bytes": pruned.size,
        "compressed_bytes": pruned.compressed,
        "milliseconds": pruned.milliseconds,
        "metrics": pruned.measured.metrics,
    }
