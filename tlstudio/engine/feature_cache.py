"""A frozen backbone gives the same features every time: compute them once, keep them, read them memory-mapped."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from tlstudio.api import Backbone, Options, Preprocessor, RunError, WeightsInfo
from tlstudio.api.files import check_plain_file
from tlstudio.api.nn import BackboneModule
from tlstudio.data.revision import Revision
from tlstudio.engine.datasets import NoTargets, SampleDataset, sample_lengths
from tlstudio.engine.loading import EvalLoader
from tlstudio.store.files import reason, remedy

CACHE_FOLDER = "cache"
"""Folder of a project in which features are kept; it may be deleted at any time."""

CACHE_LIMIT = 5 * 10**9
"""Bytes that the cache of a project may take; beyond them, what was not used for longest is deleted."""

_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "pillow", "soundfile", "scipy")
_ROWS = 4096  # so many are copied at once
_RESERVE = 64 * 2**20  # bytes that are left for everything else


def cache_path(
    folder: Path,
    revision: Revision,
    backbone: Backbone,
    options: Options,
    weights: WeightsInfo,
    preprocessor: Preprocessor,
    seed: int,
) -> Path:
    """Name the cache file by everything that the features depend on.

    Two runs share a file only where data, backbone, options, weights, preprocessing and libraries are the same. The
    hash of a revision covers the files that were copied into it; of others, size and time of change count.
    """
    key: dict[str, Any] = {
        "data": [revision.sha256, _referenced(revision)],
        "backbone": backbone.name,
        "options": options.model_dump(mode="json"),
        "weights": [_identity(part, seed) for part in weights.parts or (weights,)],
        "preprocessing": preprocessor.describe(),
        "libraries": [metadata.version(name) for name in _LIBRARIES],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    return folder / f"{digest[:32]}.npy"


def _identity(weights: WeightsInfo, seed: int) -> list[Any]:
    if weights.path is None:
        return ["random", seed]
    # Of weights in several parts the folder is told, whose own time does not change with a part.
    files = sorted(weights.path.iterdir()) if weights.path.is_dir() else [weights.path]
    return [str(weights.path), weights.sha256, _states(str(file) for file in files)]


def _referenced(revision: Revision) -> str:
    """Hash the state of the images and recordings that lie outside the project."""
    names = (name for column in ("image", "audio") for name in revision.table.column(column).to_pylist())
    return _states(name for name in names if name is not None and Path(name).is_absolute())


def _states(files: Iterable[str]) -> str:
    """Hash the size and time of change of files."""
    digest = hashlib.sha256()
    for name in files:
        try:
            stat = Path(name).stat()
            digest.update(f"{stat.st_size}/{stat.st_mtime_ns} ".encode())
        except OSError:
            digest.update(b"gone ")
    return digest.hexdigest()


def _distinct(revision: Revision) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which no two are of the same item, and for each row of the revision which of them is of its item."""
    every = np.arange(len(revision))
    items = revision.table.column("item")
    if items.null_count:
        return every, every
    _, first, which = np.unique(np.asarray(items.to_pylist(), dtype=str), return_index=True, return_inverse=True)
    return first, first[which]


def load_features(path: Path, rows: int, width: int) -> np.ndarray | None:
    """Open cached features ``[rows, width]`` memory-mapped, or return `None` if there are none that fit."""
    try:
        check_plain_file(path)
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    if not isinstance(features, np.ndarray):  # an archive of several
        return None
    return features if features.shape == (rows, width) and features.dtype == np.float32 else None


def mark_used(path: Path) -> None:
    """Note that features were used just now, for `make_room`; few systems keep the time of reading."""
    with contextlib.suppress(OSError):  # it only decides what is deleted first
        os.utime(path)


def make_room(folder: Path, needed: int, limit: int = CACHE_LIMIT) -> None:
    """Delete the features that were not used for longest until `needed` bytes more stay within the limit.

    Args:
        folder: The cache of a project that is open for writing, so that nobody else computes into it.
        needed: Bytes that are about to be written.
        limit: Bytes that the cache may take.
    """
    for left in folder.glob("*.part"):
        pid = left.stem.rpartition(".")[2]
        if not (pid.isdigit() and psutil.pid_exists(int(pid)) and int(pid) != os.getpid()):
            left.unlink(missing_ok=True)  # by a process that was killed
    found = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in folder.glob("*.npy"))
    total = needed + sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= limit:
            break
        with contextlib.suppress(OSError):  # where it is in use, Windows keeps it
            path.unlink()
            total -= size


def features_at_once(batch_size: int, device: torch.device) -> int:
    """Of how many samples features are computed at once, where so many are learned from."""
    return min(batch_size, 16 if device.type == "cpu" else 128)  # small ones suit a CPU


def compute_features(
    path: Path,
    revision: Revision,
    backbone: BackboneModule,
    preprocessor: Preprocessor,
    *,
    device: torch.device,
    batch_size: int,
    num_workers: int,
    on_progress: Callable[[int, int], None],
) -> np.ndarray:
    """Compute the pooled features of every sample of a revision and keep them.

    Args:
        path: Where to keep them; written under another name first, so that it is whole or not there.
        revision: The data, N samples.
        backbone: The frozen backbone, width D.
        preprocessor: Its preprocessor.
        device: Where to compute.
        batch_size: Samples at once.
        num_workers: Extra processes that read.
        on_progress: Called after each batch with samples done and how many are computed: of samples of the same item
            only one is. May wait, or end it all by an exception.

    Returns:
        ``[N, D]`` float32, memory-mapped, in the order of the revision.

    Raises:
        RunError: The disk has no room for them, or is gone.
    """
    indices, same_as = _distinct(revision)
    dataset = SampleDataset(revision, indices, preprocessor, NoTargets(), seed=0)
    loader = EvalLoader(dataset, sample_lengths(revision, indices, preprocessor), batch_size, num_workers=num_workers)
    try:
        path.parent.mkdir(exist_ok=True)  # never the project's folder: that is gone with its disk
    except OSError as error:
        what = f"The features cannot be kept in {path.parent}: {reason(error)}."
        raise RunError(what, remedy(error), path=path.parent) from error
    # A memory-mapped file on a disk that fills up ends the whole process by a signal: look before.
    needed = 4 * len(revision) * backbone.num_features
    make_room(path.parent, needed)
    free = shutil.disk_usage(path.parent).free
    if needed + _RESERVE > free:
        unit, size = ("GB", 1e9) if needed >= 1e9 else ("MB", 1e6)
        raise RunError(
            f"The features need {needed / size:.1f} {unit} on the disk of {path.parent}, "
            f"and {free / size:.1f} {unit} are free.",
            "Free some space: everything in that folder may be deleted.",
            path=path.parent,
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    staging = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        features = np.lib.format.open_memmap(
            staging, mode="w+", dtype=np.float32, shape=(len(revision), backbone.num_features)
        )
        if hasattr(os, "posix_fallocate"):
            with staging.open("rb+") as file:  # and take the room, before another program does
                os.posix_fallocate(file.fileno(), 0, staging.stat().st_size)
        backbone.to(device).eval()
        done = 0
        with torch.inference_mode():
            for batch in loader:
                inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
                pooled = backbone(inputs).require("pooled").float().cpu().numpy()
                features[indices[batch.positions.numpy()]] = pooled
                done += len(batch.positions)
                on_progress(done, len(indices))
        for start in range(0, len(revision) if len(indices) < len(revision) else 0, _ROWS):
            features[start : start + _ROWS] = features[same_as[start : start + _ROWS]]
        features.flush()
        del features
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
    cached: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return cached
