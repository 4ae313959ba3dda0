"""Finding weights that torch or Hugging Face have left on this machine; never over the network."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from tlstudio.api.hugging_face import cached_file


def torch_hub_folder() -> Path:
    """Folder in which torch keeps the files that it has downloaded."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def file_name(url: str) -> str:
    """Name under which torch keeps the file of an address."""
    return PurePosixPath(urlparse(url).path).name


def hash_prefix(name: str) -> str:
    """First digits of the SHA-256 that torch puts into a file's name (``resnet18-f37072fd.pth``), or ``""``."""
    match = re.search(r"-([0-9a-f]{8,})\.", name)
    return match[1] if match is not None else ""


def in_torch_hub(url: str) -> Path | None:
    """Find the file of an address in torch's cache."""
    path = torch_hub_folder() / file_name(url)
    return path if path.is_file() else None


def in_hugging_face_cache(repository: str, names: tuple[str, ...]) -> Path | None:
    """Find the first of several files of a repository in Hugging Face's cache."""
    for name in names:
        found = cached_file(repository, name)
        if found is not None and found.is_file():
            return found
    return None
