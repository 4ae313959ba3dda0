"""Reading text files by lines, none of which may fill the memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LONGEST = 2**24
"""Letters in a line; no text that a model takes has a thousandth of it."""


def lines(path: Path, *, encoding: str) -> Iterator[tuple[int, str | None]]:
    """Yield each line with its number from 1; `None` for one that is longer than `LONGEST`.

    Raises:
        OSError: The file cannot be read.
    """
    number = 0
    with path.open(encoding=encoding, errors="replace") as file:
        while line := file.readline(LONGEST + 1):
            number += 1
            whole = len(line) <= LONGEST
            yield number, line if whole else None
            while not whole and line and not line.endswith("\n"):
                line = file.readline(LONGEST)
