"""Why items cannot be used, said once for all that share a reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlstudio.api import Problem, ProblemsError, Rejected

_NAMED = 3
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Cause:
    """Why some items cannot be used.

    Attributes:
        reason: What is wrong with each.
        remedy: What to do; may be empty.
        sources: The files or rows, in their order.
    """

    reason: str
    remedy: str
    sources: tuple[str, ...]

    @property
    def places(self) -> str:
        """The first of the files or rows, and how many more there are."""
        first = self.sources[0]
        file = first.rpartition(", ")[0]  # said once, of rows
        shown = [first, *(source.removeprefix(f"{file}, ") for source in self.sources[1:_NAMED])]
        more = len(self.sources) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "")

    def __str__(self) -> str:
        return f"{self.places}: {self.reason} {self.remedy}".rstrip()


def causes_of(rejected: Iterable[Rejected]) -> list[Cause]:
    """Put items of one reason together, the most frequent reason first."""
    found: dict[tuple[str, str], list[str]] = {}
    for item in rejected:
        found.setdefault((item.reason, item.remedy), []).append(item.source)
    causes = [Cause(_of(sources, reason), remedy, tuple(sources)) for (reason, remedy), sources in found.items()]
    return sorted(causes, key=lambda cause: -len(cause.sources))


def _of(sources: Sequence[str], reason: str) -> str:
    """Say a reason that is told of one item of several."""
    return f"Each {reason[3:]}" if len(sources) > 1 and reason.startswith("It ") else reason


def none_left(rejected: Sequence[Rejected], source: Path, what: str) -> ProblemsError:
    """Make the error that nothing of a source can be used.

    Args:
        rejected: Its items.
        source: The file or folder.
        what: What cannot be done with them: ``"predicted"``.
    """
    counted = "The only item" if len(rejected) == 1 else f"None of the {len(rejected):,} items"
    can = "cannot" if len(rejected) == 1 else "can"
    problems = [Problem(cause.places, cause.reason, cause.remedy) for cause in causes_of(rejected)]
    more = f" There are {len(problems) - _LISTED:,} more reasons." if len(problems) > _LISTED else ""
    return ProblemsError(f"{counted} of {source} {can} be {what}.{more}", problems[:_LISTED])
