"""The names of the columns of a table: whether there are any, and making them usable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tlstudio.api import DataError

_MOST = 10_000
_LONGEST = 10_000


def check_width(path: Path, columns: int) -> None:
    """Refuse what no person can choose columns from, and what would take minutes to look at."""
    if columns > _MOST:
        raise DataError(
            f"{path.name} has {columns:,} columns; at most {_MOST:,} are read.",
            "Leave out those that are not needed, or check the delimiter.",
            path=path,
            field="delimiter",
        )


def check_names(path: Path, names: Iterable[str]) -> None:
    """Refuse what cannot be the name of a column: the whole of a file that has no lines, say."""
    if (longest := max(map(len, names), default=0)) > _LONGEST:
        raise DataError(
            f"The name of a column of {path.name} has {longest:,} letters; at most {_LONGEST:,} are read.",
            "Check that it is a table with a row on each line.",
            path=path,
        )


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Name columns that have no name, and tell apart those that have the same."""
    taken: set[str] = set()
    result = []
    for place, name in enumerate(names, 1):
        wanted = name or f"column {place}"
        unique, number = wanted, 2
        while unique in taken:
            unique = f"{wanted} ({number})"
            number += 1
        taken.add(unique)
        result.append(unique)
    return tuple(result)


def is_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns: no numbers, nothing long, nothing that recurs below."""
    first, rest = records[0], records[1:]
    for place, name in enumerate(first):
        text = name.strip()
        below = [row[place].strip() for row in rest if place < len(row)]
        if len(text) > 100 or below.count(text) >= (2 if text else len(below) + 1):
            return False
        if _is_number(text) and below and all(_is_number(item) or not item for item in below):
            return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
