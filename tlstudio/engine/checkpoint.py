"""Checkpoints: safetensors and JSON with a hash of every file, so that one is whole, or known not to be.

::

    base.safetensors            what never changes during the run, stored once
    best/   model.safetensors   what may change
            state.json          where the run stood
            manifest.json       SHA-256 of the files above and of the base
    last/   the same, and training.safetensors and training.json: optimizer, schedule, random states, position
    previous/                   the last one before that
    start/  model.safetensors   where the backbone began to learn, of runs that a method wants it of
            state.json
            manifest.json
    snapshot-1/                 the same, at the end of an epoch that a method has named; and so on

A checkpoint is written into a staging folder, each file is synced, the manifest comes last; then the folder is renamed
into its place and the parent is synced (Pillai et al. 2014, OSDI, on what a crash may otherwise leave).
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from tlstudio.api import RunError
from tlstudio.api.files import is_link
from tlstudio.api.weights import sha256_of
from tlstudio.engine.packing import Tensors, pack
from tlstudio.store.files import reason, sync_file, sync_folder
from tlstudio.store.run_record import RUN_NAME

Kind = str
"""``"best"``, ``"last"``, ``"start"``, or ``"snapshot-1"`` and so on."""
KINDS: tuple[Kind, ...] = ("best", "last")
"""Those that are made again and again."""
SNAPSHOT = "snapshot-"
BASE = "base.safetensors"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """Where the run stood.

    Attributes:
        epoch: Epochs finished.
        step: Optimizer steps made.
        metrics: Validation metrics after the last epoch that was finished.
        events: Bytes of the run's events at that moment; what comes behind them is said again by a run that goes on.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    events: int = 0

    def __post_init__(self) -> None:
        """Refuse what a file may hold and no run has written."""
        numbers = (self.epoch, self.step, self.events)
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError("its epoch, step and size of events are no counts")
        if not all(isinstance(value, int | float) for value in dict(self.metrics).values()):
            raise ValueError("its metrics are no numbers")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy in the main memory of all that a checkpoint holds; training may go on while it is written.

    Attributes:
        state: Where the run stood.
        model: What may change of the model.
        training: Packed state of the training, `None` where only the model is kept.
    """

    state: CheckpointState
    model: Tensors
    training: tuple[Any, Tensors] | None = None

    @property
    def size(self) -> int:
        """Bytes on disk, nearly."""
        tensors = [*self.model.values(), *(self.training[1].values() if self.training else ())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Checkpoints:
    """The checkpoints of one run: what never changes is stored once, the rest in ``best`` and ``last``.

    Args:
        folder: The run's folder of checkpoints.
        names: Names in the state dict that may change during the run.
    """

    def __init__(self, folder: Path, names: set[str]) -> None:
        self._folder = folder
        self._names = names
        self._base_hash: str | None = None

    def save_base(self, model: nn.Module) -> None:
        """Store, once, all that stays as it is.

        Raises:
            RunError: The disk is full or the like.
        """
        tensors = {k: v for k, v in model.state_dict().items() if k not in self._names}
        path = self._folder / BASE
        if not tensors:
            return
        with _writing(self._folder, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())):
            self._make_folder()
            staging = path.with_name(f".{BASE}.part")
            try:
                _write_tensors(_copied(tensors), staging)
                staging.replace(path)
                sync_folder(self._folder)
            finally:
                staging.unlink(missing_ok=True)
            self._base_hash = sha256_of(path)

    def has(self, kind: Kind) -> bool:
        """Whether there is a checkpoint of that kind."""
        return has_checkpoint(self._folder, kind)

    def snapshot(self, model: nn.Module, state: CheckpointState, training: Mapping[str, Any] | None = None) -> Snapshot:
        """Copy all that a checkpoint holds.

        Args:
            model: The model.
            state: Where the run stands.
            training: State of the training (see `tlstudio.engine.packing.pack`); needed to go on from it.
        """
        model_tensors = _copied({k: v for k, v in model.state_dict().items() if k in self._names})
        if training is None:
            return Snapshot(state, model_tensors)
        plain, tensors = pack(training)
        return Snapshot(state, model_tensors, (plain, _copied(tensors)))

    def save(self, kind: Kind, snapshot: Snapshot) -> float:
        """Write a snapshot; returns the seconds that it took.

        Raises:
            RunError: The disk is full or the like; the checkpoint before this one is untouched.
        """
        start = time.perf_counter()
        staging = self._folder / f".{kind}.part"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            with _writing(self._folder, snapshot.size):
                self._make_folder()
                staging.mkdir()
                _write_tensors(snapshot.model, staging / "model.safetensors")
                _write_json(asdict(snapshot.state), staging / "state.json")
                if snapshot.training is not None:
                    plain, tensors = snapshot.training
                    _write_tensors(tensors, staging / "training.safetensors")
                    _write_json(plain, staging / "training.json")
                files = {path.name: sha256_of(path) for path in sorted(staging.iterdir())}
                _write_json({"format": 1, "files": files, "base": self._hash_of_base()}, staging / MANIFEST)
                sync_folder(staging)
                _put_in_place(staging, self._folder / kind, self._folder / old_name(kind))
        finally:
            # What is left of it fills the disk on which the end of the run must still be written.
            shutil.rmtree(staging, ignore_errors=True)
        return time.perf_counter() - start

    def _make_folder(self) -> None:
        """Make the folder where it is missing, but never in a run that is gone, with its disk or for good."""
        if is_link(self._folder):  # of a run that somebody sent; there, it could be those of another one
            raise OSError(errno.EINVAL, "it is a link, not a folder of the run", str(self._folder))
        if not self._folder.is_dir():
            (self._folder.parent / RUN_NAME).stat()
            self._folder.mkdir()

    def _hash_of_base(self) -> str | None:
        if self._base_hash is None and (self._folder / BASE).is_file():
            self._base_hash = sha256_of(self._folder / BASE)
        return self._base_hash


def has_checkpoint(folder: Path, kind: Kind) -> bool:
    """Whether there is a checkpoint of that kind."""
    return any((place / MANIFEST).is_file() for place in places(folder, kind))


def find_snapshots(folder: Path) -> list[Kind]:
    """Name the snapshots among the checkpoints of a run, the first one first."""
    names = [path.name.removeprefix(SNAPSHOT) for path in folder.glob(f"{SNAPSHOT}*")]
    return [f"{SNAPSHOT}{number}" for number in sorted(int(name) for name in names if name.isdecimal())]


def old_name(kind: Kind) -> str:
    """Where the one before goes; that of "last" stays there."""
    return "previous" if kind == "last" else f".{kind}.old"


def places(folder: Path, kind: Kind) -> list[Path]:
    """Where a checkpoint can be, the newest first; a crash between two renames leaves only the older name."""
    return [place for place in (folder / kind, folder / old_name(kind)) if place.is_dir()]


@contextlib.contextmanager
def _writing(folder: Path, size: int) -> Iterator[None]:
    """Turn what the disk refuses into a sentence; safetensors has an error of its own for that."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        room = f"it needs {size / 1e6:.1f} MB"
        with contextlib.suppress(OSError):
            room += f", {shutil.disk_usage(folder.parent).free / 1e6:.1f} MB are free"
        raise RunError(
            f"A checkpoint could not be written to {folder}: {why} ({room}).",
            "Free some space or bring the disk back; the run then goes on.",
            path=folder,
        ) from error


def _copied(tensors: Mapping[str, Tensor]) -> Tensors:
    # safetensors refuses tensors that share memory; contiguous copies on the CPU never do.
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def _write_tensors(tensors: Tensors, path: Path) -> None:
    save_file(tensors, path)
    sync_file(path)


def _write_json(value: Any, path: Path) -> None:  # noqa: ANN401  any JSON value
    path.write_text(json.dumps(value), encoding="utf-8")
    sync_file(path)


def _put_in_place(staging: Path, target: Path, old: Path) -> None:
    """Rename a finished folder into the place of an older one; at each moment a whole one is found."""
    trash = target.with_name(f".{target.name}.trash")
    shutil.rmtree(trash, ignore_errors=True)
    if target.exists():
        if old.exists():
            old.rename(trash)
        target.rename(old)
    staging.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(trash, ignore_errors=True)
    if old.name.startswith("."):
        shutil.rmtree(old, ignore_errors=True)
