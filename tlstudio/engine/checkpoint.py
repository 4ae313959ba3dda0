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
from types import MappingProxyType
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlstudio.api import RunError
from tlstudio.api.files import check_plain_file, is_link, read_text
from tlstudio.api.weights import sha256_of
from tlstudio.engine.packing import Tensors, pack, unpack
from tlstudio.store.files import reason, sync_file, sync_folder
from tlstudio.store.run_record import RUN_NAME

Kind = Literal["best", "last", "start"]
KINDS: tuple[Kind, ...] = ("best", "last")
"""Those that are made again and again."""
_BASE = "base.safetensors"
_MANIFEST = "manifest.json"
_FILES: dict[Kind, set[str]] = {
    "best": {"model.safetensors", "state.json"},
    "last": {"model.safetensors", "state.json", "training.safetensors", "training.json"},
    "start": {"model.safetensors", "state.json"},
}
NO_BASES: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({})
# Where the one before goes; that of "last" stays there.
_OLD: dict[Kind, str] = {"best": ".best.old", "last": "previous", "start": ".start.old"}


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


@dataclass(frozen=True, slots=True)
class Resumption:
    """A checkpoint from which a run can go on.

    Attributes:
        state: Where the run stood.
        model: All tensors of the model, those that never change among them.
        training: State of the training, as the trainer gave it.
    """

    state: CheckpointState
    model: Tensors
    training: dict[str, Any]


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
        path = self._folder / _BASE
        if not tensors:
            return
        with _writing(self._folder, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())):
            self._make_folder()
            staging = path.with_name(f".{_BASE}.part")
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
                _write_json({"format": 1, "files": files, "base": self._hash_of_base()}, staging / _MANIFEST)
                sync_folder(staging)
                _put_in_place(staging, self._folder / kind, self._folder / _OLD[kind])
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
        if self._base_hash is None and (self._folder / _BASE).is_file():
            self._base_hash = sha256_of(self._folder / _BASE)
        return self._base_hash


def has_checkpoint(folder: Path, kind: Kind) -> bool:
    """Whether there is a checkpoint of that kind."""
    return any((place / _MANIFEST).is_file() for place in _places(folder, kind))


def find_checkpoint(folder: Path, kind: Kind) -> tuple[Path, dict[str, str]]:
    """Find the model of a checkpoint without reading it.

    Returns:
        Its file, and the recorded SHA-256 of each file beside it that the model is read from, the base as a name
        relative to the checkpoint.

    Raises:
        RunError: There is none, or it is damaged.
    """
    place = next(iter(_places(folder, kind)), folder / kind)
    try:
        manifest = json.loads(read_text(place / _MANIFEST))
        files = {"model.safetensors": str(manifest["files"]["model.safetensors"])}
        if manifest["base"] is not None:
            files[f"../{_BASE}"] = str(manifest["base"])
        for name in files:
            check_plain_file(place / name)
    except FileNotFoundError as error:
        raise RunError(f"The checkpoint file {error.filename} is missing.", "Train it again.", path=place) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unreadable(place, error) from error
    return place / "model.safetensors", files


def load_checkpoint(
    folder: Path, kind: Kind, model: nn.Module, *, known: Mapping[str, Mapping[str, Tensor]] = NO_BASES
) -> CheckpointState:
    """Load a checkpoint into a model that was built and prepared as for the run.

    Args:
        folder: The run's folder of checkpoints.
        kind: Which one.
        model: The model. What it has in common with a base of `known` stays as it is.
        known: Bases that are in memory, by the SHA-256 of their file: these are not read.

    Raises:
        RunError: There is none, it is damaged, or it does not fit the model.
    """
    error: RunError | None = None
    for place in _places(folder, kind):
        try:
            tensors, state = _read(place, known)
            _load_into(model, tensors, place)
        except RunError as caught:
            error = error or caught  # of two, the newer one is the one to tell
        else:
            return state
    raise error or RunError(f"The run has no '{kind}' checkpoint in {folder}.", "Train it again.", path=folder)


def find_resumption(folder: Path) -> tuple[Resumption | None, list[str]]:
    """Find the newest whole checkpoint from which a run can go on.

    Args:
        folder: The run's folder of checkpoints.

    Returns:
        It, or `None` where the run has to begin anew, and a sentence for each one that is damaged.
    """
    notes: list[str] = []
    for place in _places(folder, "last"):
        try:
            tensors, state = _read(place)
            resumption = Resumption(state, tensors, _read_training(place))
            if resumption.training.get("kept"):
                _first_good(folder, "best")  # the run would not make it again
        except RunError as error:
            notes.append(error.what)
        else:
            return resumption, notes
    return None, notes


def _first_good(folder: Path, kind: Kind) -> None:
    """Raise the error of a kind's checkpoint if none of its places holds a whole one."""
    error = RunError(f"The run has no '{kind}' checkpoint in {folder}.", path=folder)
    for place in _places(folder, kind):
        try:
            _verify(place)
        except RunError as caught:
            error = caught
        else:
            return
    raise error


def _places(folder: Path, kind: Kind) -> list[Path]:
    """Where a checkpoint can be, the newest first; a crash between two renames leaves only the older name."""
    return [place for place in (folder / kind, folder / _OLD[kind]) if place.is_dir()]


def _verify(place: Path, known: Mapping[str, Mapping[str, Tensor]] = NO_BASES) -> str | None:
    """Check every file of a checkpoint against its manifest; a base that is known is not read.

    Returns:
        The hash of the base, `None` where there is none.

    Raises:
        RunError: One is missing or not what was written.
    """
    try:
        manifest = json.loads(read_text(place / _MANIFEST))
        base_hash: str | None = manifest["base"]
        base, kind = place.parent / _BASE, next(kind for kind in _FILES if place.name in (kind, _OLD[kind]))
        if manifest["files"].keys() != _FILES[kind] or (base_hash is None and base.exists()):
            raise ValueError(f"{_MANIFEST} does not name all of its files and no others")
        hashes = {place / name: value for name, value in manifest["files"].items()}
        if base_hash is not None and base_hash not in known:
            hashes[base] = base_hash
        for path, expected in hashes.items():
            if sha256_of(path) != expected:
                raise RunError(f"The checkpoint file {path} is damaged: its hash is not the recorded one.", path=path)
        return base_hash
    except FileNotFoundError as error:
        raise RunError(f"The checkpoint file {error.filename} is missing.", path=place) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(place, error) from error


def _read(
    place: Path, known: Mapping[str, Mapping[str, Tensor]] = NO_BASES
) -> tuple[dict[str, Tensor], CheckpointState]:
    """Verify and read a checkpoint, the base included."""
    base_hash = _verify(place, known)
    try:
        state = CheckpointState(**json.loads(read_text(place / "state.json")))
        tensors = load_file(place / "model.safetensors")
        base = place.parent / _BASE
        if base_hash is not None and base_hash in known:
            return {**tensors, **known[base_hash]}, state
        return (tensors | load_file(base) if base.is_file() else tensors), state
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(place, error) from error


def _read_training(place: Path) -> dict[str, Any]:
    try:
        plain = json.loads(read_text(place / "training.json"))
        return dict(unpack(plain, load_file(place / "training.safetensors")))
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(place, error) from error


def _load_into(model: nn.Module, tensors: Mapping[str, Tensor], place: Path) -> None:
    own = model.state_dict()
    # What lies in the very memory of a known base is right, and others compute with it just now.
    there = {name for name, value in tensors.items() if name in own and _is_same(own[name], value)}
    there = there if own.keys() == tensors.keys() else set()
    try:
        model.load_state_dict({name: value for name, value in tensors.items() if name not in there}, strict=not there)
    except RuntimeError as error:
        raise _unreadable(place, error) from error


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.dtype == other.dtype


def _unreadable(place: Path, error: Exception) -> RunError:
    why = reason(error) if isinstance(error, OSError) else str(error).partition("\n")[0] or type(error).__name__
    return RunError(f"The checkpoint in {place} cannot be loaded: {why}.", path=place)


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
