"""Which device and precision a run gets, and how much memory is left on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import psutil
import torch

from tlstudio.api import Problem, RunError
from tlstudio.engine.random_state import seeded

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from tlstudio.engine.recipe import TrainingOptions

Device = Literal["cpu", "cuda", "mps"]


def resolve_device(wanted: str) -> Device:
    """Turn ``"auto"`` into the best device there is; any other name is taken at its word."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted not in ("cpu", "cuda", "mps"):
        raise RunError(f"There is no device '{wanted}'.", "Choose auto, cpu, cuda or mps.")
    return "cuda" if wanted == "cuda" else "mps" if wanted == "mps" else "cpu"


def device_problems(options: TrainingOptions) -> list[Problem]:
    """Say what speaks against the chosen device and precision."""
    device = resolve_device(options.device)
    problems = []
    if device == "cuda" and not torch.cuda.is_available():
        remedy = "Choose auto or cpu, or install a driver and a build of torch for it."
        problems.append(Problem("training.device", "no usable NVIDIA GPU was found.", remedy))
    if device == "mps" and not torch.backends.mps.is_available():
        problems.append(Problem("training.device", "this machine has no Apple GPU.", "Choose auto or cpu."))
    if options.precision == "fp16" and device == "cpu":
        problems.append(Problem("training.precision", "fp16 needs a GPU.", "Choose 32 or bf16 on the CPU."))
    if options.precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        problems.append(Problem("training.precision", "this GPU has no bf16.", "Choose fp16 or 32."))
    return problems


@contextlib.contextmanager
def torch_settings(options: TrainingOptions) -> Iterator[None]:
    """Set threads, determinism and seed for one run, and put them back: other runs share this process.

    Args:
        options: How the run trains.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if options.deterministic:
        # Without it, torch refuses every matrix product on an NVIDIA GPU; it is read at the first one.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        with seeded(options.seed):
            if options.threads:
                torch.set_num_threads(options.threads)
            torch.use_deterministic_algorithms(options.deterministic)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def make_fabric(device: Device, precision: str) -> Fabric:
    """Make a single-device Fabric, which keeps its state to itself (unlike Accelerate's)."""
    from lightning_fabric import Fabric

    names: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
        "32": "32-true",
        "bf16": "bf16-mixed",
        "fp16": "16-mixed",
    }
    return Fabric(accelerator=device, devices=1, precision=names[precision])


def memory_in_use(device: torch.device) -> int:
    """Bytes that this process holds on an accelerator; 0 on the CPU."""
    return int(torch.cuda.memory_reserved(device)) if device.type == "cuda" else 0


def free_memory(device: Device) -> int:
    """Bytes that are free on an accelerator, or on this machine for the CPU; 0 where that is not known."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available) if device == "cpu" else 0


def describe_device() -> str:
    """One short line for the window's chip: ``"NVIDIA RTX 4090 · 18.2 of 24.0 GB free"`` or ``"CPU · 2 threads"``."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return f"{torch.cuda.get_device_name()} · {free / 2**30:.1f} of {total / 2**30:.1f} GB free"
    if torch.backends.mps.is_available():
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"CPU · {threads} thread" + ("s" if threads != 1 else "")
