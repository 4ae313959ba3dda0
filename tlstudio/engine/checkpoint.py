"""Checkpoints: safetensors and JSON, written beside and renamed, so that one is whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlstudio.api import RunError
from tlstudio.api.weights import sha256_of
from tlstudio.store.files import reason

Kind = Literal["best", "last"]


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """Where the run stood.

    Attributes:
        epoch: Epochs finished.
        step: Optimizer steps made.
        metrics: Validation metrics at that point.
        sha256: Hash of the weight file, filled in on saving.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    sha256: str = ""


class Checkpoints:
    """The checkpoints of one run: what never changes is stored once, the rest in ``best`` and ``last``.

    Args:
        folder: The run's folder of checkpoints.
        names: Names in the state dict that may change during the run.
    """

    def __init__(self, folder: Path, names: set[str]) -> None:
        self._folder = folder
        self._names = names

    def save_base(self, model: nn.Module) -> None:
        """Store, once, all that stays as it is."""
        tensors = {k: v for k, v in model.state_dict().items() if k not in self._names}
        if tensors:
            with _writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                _write_tensors(tensors, self._folder / "base.safetensors")

    def save(self, kind: Kind, model: nn.Module, state: CheckpointState) -> float:
        """Store what may have changed; returns the seconds that it took.

        Raises:
            RunError: The disk is full or the like; the checkpoint before this one is untouched.
        """
        start = time.perf_counter()
        staging = self._folder / f".{kind}.part"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            with _writing(self._folder):
                staging.mkdir(parents=True)
                tensors = {k: v for k, v in model.state_dict().items() if k in self._names}
                _write_tensors(tensors, staging / "model.safetensors")
                digest = sha256_of(staging / "model.safetensors")
                text = json.dumps({**asdict(state), "metrics": dict(state.metrics), "sha256": digest}, indent=2)
                _write_synced(staging / "state.json", text.encode())
                _replace_folder(staging, self._folder / kind)
        finally:
            # What is left of it fills the disk on which the end of the run must still be written.
            shutil.rmtree(staging, ignore_errors=True)
        return time.perf_counter() - start


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence; safetensors has an error of its own for that."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        free = shutil.disk_usage(folder.parent).free
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise RunError(
            f"A checkpoint could not be written to {folder}: {why} ({free / 1e9:.1f} GB are free).",
            "Free some space or delete old runs, then train again.",
            path=folder,
        ) from error


def _place(folder: Path, kind: Kind) -> Path:
    """Where a checkpoint is; a power cut between the two renames of a save leaves it under its old name."""
    place, old = folder / kind, folder / f".{kind}.old"
    return old if not place.exists() and old.exists() else place


def has_checkpoint(folder: Path, kind: Kind) -> bool:
    """Whether there is a whole checkpoint of that kind."""
    return (_place(folder, kind) / "state.json").is_file()


def load_checkpoint(folder: Path, kind: Kind, model: nn.Module) -> CheckpointState:
    """Load a checkpoint into a model that was built and prepared as for the run.

    Args:
        folder: The run's folder of checkpoints.
        kind: Which one.
        model: The model.

    Raises:
        RunError: There is none, it is damaged, or it does not fit the model.
    """
    place = _place(folder, kind)
    weights = place / "model.safetensors"
    try:
        state = CheckpointState(**json.loads((place / "state.json").read_text(encoding="utf-8")))
        if sha256_of(weights) != state.sha256:
            raise RunError(f"The checkpoint {weights} is damaged: its hash is not the recorded one.", path=weights)
        tensors = load_file(weights)
        base = folder / "base.safetensors"
        if base.is_file():
            tensors |= load_file(base)
        model.load_state_dict(tensors, strict=True)
    except FileNotFoundError as error:
        raise RunError(f"The run has no '{kind}' checkpoint in {folder}.", "Train it again.", path=folder) from error
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"The checkpoint in {folder / kind} cannot be loaded: {reason}.", path=folder) from error
    return state


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    # safetensors refuses tensors that share memory; contiguous clones on the CPU never do.
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace_folder(staging: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one; a crash in between leaves one of the two whole."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)
