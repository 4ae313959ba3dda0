"""What ``tlstudio selftest`` tries on the user's own machine: each check breaks something many times and counts.

A check is a module with a `Check`: it makes its own material in a folder of its own, and yields one `Trial` for each
time that it has tried. It never touches the user's projects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried.

    Attributes:
        name: What was tried, such as ``"full, images, 2 workers"``; trials of one name are counted together.
        survived: Whether all was as it must be afterwards.
        details: What was not; for people.
    """

    name: str
    survived: bool
    details: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A kind of trial.

    Attributes:
        name: As in ``--only``.
        title: What it shows, as a sentence.
        count: Trials of a short check.
        thorough: Trials of a thorough one.
        run: Called with a new folder, the number of trials and the seed; the same seed tries the same things.
        left_out: What cannot be tried here, as sentences.
    """

    name: str
    title: str
    count: int
    thorough: int
    run: Callable[[Path, int, int], Iterator[Trial]]
    left_out: tuple[str, ...] = ()
