"""Small recipes that train in a second or two."""

from __future__ import annotations

from typing import Any

import pytest

from tlstudio.engine.control import RunControl
from tlstudio.engine.events import RunEvent

TINY_VISION: dict[str, Any] = {
    "name": "test_resnet",
    "options": {"weights": "random", "image_size": 32},
}


class Heard:
    """A listener that keeps what it hears, and can act on it."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.control = RunControl()

    def __call__(self, event: RunEvent) -> None:
        self.events.append(event)

    def of(self, kind: type[RunEvent]) -> list[Any]:
        """Events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def heard() -> Heard:
    """A fresh listener."""
    return Heard()
