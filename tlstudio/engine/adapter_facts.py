"""What is known of the adapter of a run before anything of it is loaded. Does not import torch."""

from __future__ import annotations

import json

from tlstudio.api import FineTuningStrategy
from tlstudio.plugins import Registry
from tlstudio.store.run import Run

_MOST_HEADER = 100_000_000  # bytes, as safetensors itself takes


def has_adapter(strategy: str, registry: Registry) -> bool:
    """Whether what runs of a strategy add may be exported by itself.

    Args:
        strategy: Its name.
        registry: The components.
    """
    found = registry.strategies.get(strategy)
    return found is not None and type(found).save_adapter is not FineTuningStrategy.save_adapter


def adapter_size(run: Run) -> int | None:
    """About how many bytes the adapter of a run takes: what its best checkpoint has changed of the backbone.

    Args:
        run: A run of a strategy that has an adapter.

    Returns:
        The bytes; `None` where the checkpoint cannot be read.
    """
    try:
        with (run.best_checkpoint / "model.safetensors").open("rb") as file:
            header = json.loads(file.read(min(_MOST_HEADER, int.from_bytes(file.read(8), "little"))))
        parts = [part["data_offsets"] for name, part in header.items() if name.startswith("backbone.")]
        return sum(int(end) - int(begin) for begin, end in parts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
