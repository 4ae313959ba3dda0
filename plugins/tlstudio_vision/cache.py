"""Finding weights that torch or Hugging Face have left on this machine; never over the network."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse


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


def hugging_face_folder() -> Path:
    """Folder of Hugging Face's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def in_hugging_face_cache(repository: str, names: tuple[str, ...]) -> Path | None:
    """Find the first of several files of a repository in Hugging Face's cache."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name, cache_dir=hugging_face_folder())
        if isinstance(found, str) and Path(found).is_file():
            return Path(found)
    return None
