"""What torch and Hugging Face's tools have left on this machine, found without loading torch or transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from tlstudio.api.hugging_face import cached_repositories
from tlstudio.api.weights import WEIGHT_SUFFIXES


def torch_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder in which torch keeps weight files."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("TORCH_HOME") or f"{cache}/torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def unknown_in_caches(known: list[Path]) -> Iterator[tuple[Literal["torch", "huggingface"], str, Path]]:
    """Find models in both caches that are not among those that are known.

    Yields:
        The cache, the name there, and the file or the newest snapshot.
    """
    folder = torch_cache()
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix in WEIGHT_SUFFIXES and file not in known:
            yield "torch", file.name, file
    for name, repository in cached_repositories().items():
        snapshots = sorted((repository / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
        weights = [file for file in snapshots[-1].rglob("*") if file.suffix in WEIGHT_SUFFIXES] if snapshots else []
        if weights and not any(repository in path.parents for path in known):
            yield "huggingface", name, snapshots[-1]
