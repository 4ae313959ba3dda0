"""torch's random state belongs to the whole process: here its threads agree on who draws from it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

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
