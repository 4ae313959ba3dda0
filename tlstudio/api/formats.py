"""What formats that look at the same source have found out together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Source:
    """A folder or file of the user's while several formats look at it, one after the other.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[Callable[[Path], Any], tuple[Any, Exception | None]] = {}

    def once(self, look: Callable[[Path], T]) -> T:
        """Return what a function makes of the path, or raise what it raises; it is called for the first who asks.

        Args:
            look: Opens the table, say. What it returns is shared, and not to be changed.
        """
        if look not in self._found:
            try:
                self._found[look] = look(self.path), None
            except Exception as error:  # noqa: BLE001  it is raised below, and to all who ask later
                self._found[look] = None, error
        found, failed = self._found[look]
        if failed is not None:
            raise failed
        result: T = found
        return result
