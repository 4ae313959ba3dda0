"""What torch and Hugging Face's tools have left on this machine, found without loading torch or transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from tlstudio.api.weights import WEIGHT_SUFFIXES


def torch_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder in which torch keeps weight files."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("TORCH_HOME") or f"{cache}/torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def hugging_face_cache() -> Path:
    """Folder in which Hugging Face's tools keep repositories."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def unknown_in_caches(known: list[Path]) -> Iterator[tuple[Literal["torch", "huggingface"], str, Path]]:
    """Find models in both caches that are not among those that are known.

    Yields:
        The cache, the name there, and the file or the newest snapshot.
    """
    folder = torch_cache()
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix in WEIGHT_SUFFIXES and file not in known:
            yield "torch", file.name, file
    folder = hugging_face_cache()
    for repository in sorted(folder.glob("models--*")) if folder.is_dir() else ():
        snapshots = sorted((repository / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
        weights = [file for file in snapshots[-1].rglob("*") if file.suffix in WEIGHT_SUFFIXES] if snapshots else []
        if weights and not any(repository in path.parents for path in known):
            yield "huggingface", repository.name.removeprefix("models--").replace("--", "/"), snapshots[-1]
