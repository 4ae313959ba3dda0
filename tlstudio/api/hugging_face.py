"""What Hugging Face's tools have left in their cache on this machine; nothing is ever looked for over the network."""

from __future__ import annotations

from pathlib import Path

_PREFIX = "models--"


def hugging_face_folder() -> Path:
    """Folder of the cache; it need not be there."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_repositories() -> dict[str, Path]:
    """Folders of all repositories of models by name (``"facebook/dinov2-small"``), in the order of the folders."""
    root = hugging_face_folder()
    folders = sorted(root.glob(f"{_PREFIX}*")) if root.is_dir() else []
    return {folder.name.removeprefix(_PREFIX).replace("--", "/"): folder for folder in folders}


def cached_file(repository: str, name: str) -> Path | None:
    """Find a file of a repository, or return `None`: it is not there, or this is no name of a repository."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, cache_dir=hugging_face_folder())
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def cached_folder(repository: str) -> Path | None:
    """Find the folder with the ``config.json`` of a repository, or return `None`."""
    config = cached_file(repository, "config.json")
    return config.parent if config is not None else None
