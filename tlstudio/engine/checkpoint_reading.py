"""Reading checkpoints: each is checked as a whole before anything of it is used. Imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tlstudio.api import RunError
from tlstudio.api.files import check_plain_file, read_text
from tlstudio.api.weights import sha256_of
from tlstudio.engine.checkpoint import BASE, MANIFEST, CheckpointState, Kind, old_name, places
from tlstudio.engine.packing import Tensors, unpack
from tlstudio.store.files import reason

NO_BASES: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({})
_MODEL_FILES = frozenset({"model.safetensors", "state.json"})
_TRAINING_FILES = frozenset({"training.safetensors", "training.json"})
_OTHER_FILES = f"{MANIFEST} does not name all of its files and no others"


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


def find_checkpoint(folder: Path, kind: Kind) -> tuple[Path, dict[str, str]]:
    """Find the model of a checkpoint without reading it.

    Returns:
        Its file, and the recorded SHA-256 of each file beside it that the model is read from, the base as a name
        relative to the checkpoint.

    Raises:
        RunError: There is none, or it is damaged.
    """
    place = next(iter(places(folder, kind)), folder / kind)
    try:
        named, base_hash = _read_manifest(place)
        files = {"model.safetensors": str(named["model.safetensors"])}
        if base_hash is not None:
            files[f"../{BASE}"] = base_hash
        for name in files:
            check_plain_file(place / name)
    except FileNotFoundError as error:
        raise RunError(f"The checkpoint file {error.filename} is missing.", "Train it again.", path=place) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(place, error) from error
    return place / "model.safetensors", files


def stored_shapes(folder: Path, kind: Kind) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a checkpoint, without the base; none where it is damaged, which `load_checkpoint` tells.

    Args:
        folder: The run's folder of checkpoints.
        kind: Which one.
    """
    try:
        with safe_open(find_checkpoint(folder, kind)[0], "pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (RunError, OSError, SafetensorError):
        return {}


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
    for place in places(folder, kind):
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
    for place in places(folder, "last"):
        try:
            tensors, state = _read(place)
            resumption = Resumption(state, tensors, _read_training(place))
            if resumption.training.get("kept"):
                check_checkpoint(folder, "best")  # the run would not make it again
        except RunError as error:
            notes.append(error.what)
        else:
            return resumption, notes
    return None, notes


def check_checkpoint(folder: Path, kind: Kind) -> None:
    """Read all files of a checkpoint and make sure that they are what was written.

    Args:
        folder: The run's folder of checkpoints.
        kind: Which one.

    Raises:
        RunError: There is none, or it is damaged.
    """
    error = RunError(f"The run has no '{kind}' checkpoint in {folder}.", path=folder)
    for place in places(folder, kind):
        try:
            _verify(place)
        except RunError as caught:
            error = caught
        else:
            return
    raise error


def _verify(place: Path, known: Mapping[str, Mapping[str, Tensor]] = NO_BASES) -> str | None:
    """Check every file of a checkpoint against its manifest; a base that is known is not read.

    Returns:
        The hash of the base, `None` where there is none.

    Raises:
        RunError: One is missing or not what was written.
    """
    try:
        files, base_hash = _read_manifest(place)
        base, goes_on = place.parent / BASE, place.name in ("last", old_name("last"))
        wanted = _MODEL_FILES | _TRAINING_FILES if goes_on else _MODEL_FILES
        if files.keys() != wanted or (base_hash is None and base.exists()):
            raise ValueError(_OTHER_FILES)
        hashes = {place / name: value for name, value in files.items()}
        if base_hash is not None and base_hash not in known:
            hashes[base] = base_hash
        for path, expected in hashes.items():
            if sha256_of(path) != expected:
                raise RunError(f"The checkpoint file {path} is damaged: its hash is not the recorded one.", path=path)
        return base_hash
    except FileNotFoundError as error:
        raise RunError(f"The checkpoint file {error.filename} is missing.", path=place) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(place, error) from error


def _read_manifest(place: Path) -> tuple[dict[str, Any], str | None]:
    """Read the recorded hash of each file of a checkpoint, and that of the base; whatever a file holds may be wrong.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is no manifest.
        RecursionError: It is nested too deeply.
    """
    manifest = _read_table(place / MANIFEST)
    files, base_hash = manifest.get("files"), manifest.get("base", 0)
    if not isinstance(files, dict) or not isinstance(base_hash, str | None) or not files.keys() >= _MODEL_FILES:
        raise ValueError(_OTHER_FILES)
    return files, base_hash


def _read_table(path: Path) -> dict[str, Any]:
    values = json.loads(read_text(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is no table of values")
    return values


def _read(
    place: Path, known: Mapping[str, Mapping[str, Tensor]] = NO_BASES
) -> tuple[dict[str, Tensor], CheckpointState]:
    """Verify and read a checkpoint, the base included."""
    base_hash = _verify(place, known)
    try:
        state = CheckpointState(**_read_table(place / "state.json"))
        tensors = load_file(place / "model.safetensors")
        base = place.parent / BASE
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
    if isinstance(error, RecursionError):
        why = "one of its files is nested too deeply"
    else:
        why = reason(error) if isinstance(error, OSError) else str(error).partition("\n")[0] or type(error).__name__
    return RunError(f"The checkpoint in {place} cannot be loaded: {why}.", path=place)
