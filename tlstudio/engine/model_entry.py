"""A model on this machine: what is known of it, how large it is, and its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tlstudio.api import WeightsError
from tlstudio.api.files import check_plain_file
from tlstudio.api.weights import WEIGHT_SUFFIXES
from tlstudio.store.files import reason, remedy

Place = Literal["starter", "huggingface", "torch", "yours", "run", "elsewhere"]
Progress = Callable[[int, int], None]
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model on this machine.

    Attributes:
        id: Unique and lasting: ``"yours:my-resnet"``, ``"run:2026-..."``.
        name: What to call it.
        place: Where it was found.
        path: Its file or folder.
        size: Bytes.
        origin: Where it came from, for people.
        license: Licence; ``""`` where nothing says it.
        family: Architecture, such as ``"resnet18"`` or ``"bert"``; ``""`` where it is not known.
        modality: What it takes; ``""`` where it is not known.
        backbone: Name of the backbone under which a recipe uses it; ``""``: see `start_from` and `why_not`.
        options: Options of that backbone.
        start_from: What a recipe starts from instead, where it is a run or an exported model.
        why_not: Why it cannot be used as it is; ``""``: it can.
        sha256: Hash of its weights, where it is known; see `hash_model`.
    """

    id: str
    name: str
    place: Place
    path: Path
    size: int = 0
    origin: str = ""
    license: str = ""
    family: str = ""
    modality: str = ""
    backbone: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    start_from: str = ""
    why_not: str = ""
    sha256: str = ""


def hash_model(
    entry: ModelEntry, on_progress: Progress = lambda _done, _total: None, cancelled: Callable[[], bool] = lambda: False
) -> str:
    """Compute the SHA-256 of a model's weights: of the file, or of ``HASH  NAME`` lines where there are several.

    Args:
        entry: The model.
        on_progress: Called with bytes done and their number.
        cancelled: Asked after each part of a megabyte.

    Returns:
        The hash in hexadecimal; ``""`` if it was cancelled.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        files = weight_files_of(entry.path)
        total, done = sum(check_plain_file(path) for path in files), 0
        hashes = []
        for path in files:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    if cancelled():
                        return ""
                    digest.update(block)
                    done += len(block)
                    on_progress(done, total)
            hashes.append((digest.hexdigest(), path.name))
    except OSError as error:
        raise WeightsError(f"{entry.path} cannot be read: {reason(error)}.", remedy(error), path=entry.path) from error
    return hash_of(hashes)


def hash_of(hashes: Sequence[tuple[str, str]]) -> str:
    """Make one hash of those of a model's weight files.

    Args:
        hashes: Hash and name of each file, in the order of the names.
    """
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{value}  {name}\n" for value, name in hashes).encode()).hexdigest()


def weight_files_of(path: Path) -> list[Path]:
    """The weight files of a model, sorted; a run's are those of its best checkpoint."""
    if path.is_file():
        return [path]
    best = path / "checkpoints" / "best"
    if best.is_dir():
        base = path / "checkpoints" / "base.safetensors"
        return [*([base] if base.is_file() else []), best / "model.safetensors"]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in WEIGHT_SUFFIXES and file.is_file())


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where that cannot be told."""
    try:
        if path.is_file():
            return path.stat().st_size
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    except OSError:
        return 0
