"""Random states belong to the whole process: here its threads agree on who draws, and checkpoints get a copy."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

DRAWING = threading.RLock()
"""Held by a run while it seeds, builds and makes a step, so that what others put aside is never in use."""


@contextlib.contextmanager
def random_state_aside() -> Iterator[None]:
    """Leave torch's random state as it was, for a network that is built while a run may train in another thread.

    The run waits meanwhile: it then goes on with the numbers that it would have drawn anyway.
    """
    with DRAWING:
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices=devices):
            yield


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch for a run, and put their states back afterwards: others share this process.

    Args:
        seed: In 0..2**32 - 1.
    """
    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            with DRAWING:
                random.seed(seed)
                np.random.seed(seed)
                torch.manual_seed(seed)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def random_state(device: torch.device) -> dict[str, Any]:
    """Take down the state of every generator that a step may draw from, as plain values and tensors."""
    with DRAWING:
        return _random_state(device)


def _random_state(device: torch.device) -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.array(keys)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put the generators into a state that `random_state` took down.

    Raises:
        KeyError, TypeError, ValueError: It is no such state.
    """
    with DRAWING:
        _set_random_state(state, device)


def _set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
