"""Small recipes that train in a second or two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import draw_folder
from tlstudio.data.revision import Revision
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


def draw_rare(folder: Path) -> Path:
    """Draw shapes of which a single one is a square."""
    draw_folder(folder, 6)
    for path in sorted((folder / "square").iterdir())[1:]:
        path.unlink()
    return folder


def late_gap(revision: Revision) -> int:
    """A number of folds with which the first one learns from a sample of each class, and a later one does not."""
    for folds in (2, 3, 4, 5):
        least = [min(view.class_counts()["train"].values()) for view in revision.in_folds(folds, 0)]
        if least[0] > 0 and 0 in least:
            return folds
    raise AssertionError("no such number")


def assert_each_told_once(told: Sequence[str], *sentences: str) -> None:
    """Fail if a part of a sentence is in none of what was told, or in more than one."""
    for sentence in sentences:
        assert sum(sentence in one for one in told) == 1, (sentence, told)
