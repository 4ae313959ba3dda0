"""Errors that are sentences for the person at the screen.

Everything that a user can cause or mend is a `TLStudioError`: what happened, where, and what to do.
Any other exception is a bug and is shown with its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a form, a recipe or an item.

    Attributes:
        where: The place, as the user knows it: ``"training.epochs"``, ``"reviews.csv, row 12"``.
        what: One sentence that says what is wrong.
        remedy: One sentence that says what to do; may be empty.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        what = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(part for part in (what, self.remedy) if part)


class TLStudioError(Exception):
    """A sentence for the user.

    Args:
        what: What happened, as a full sentence.
        remedy: What to do next, as a full sentence; may be empty.
        path: The file or folder concerned.
        field: The field of a form or recipe concerned, such as ``"backbone.weights"``.
        plugin: The plugin concerned.
    """

    def __init__(
        self, what: str, remedy: str = "", *, path: Path | None = None, field: str = "", plugin: str = ""
    ) -> None:
        super().__init__(f"{what} {remedy}".strip())
        self.what = what
        self.remedy = remedy
        self.path = path
        self.field = field
        self.plugin = plugin


class DataError(TLStudioError):
    """A file, folder, row or column of data cannot be used."""


class WeightsError(TLStudioError):
    """Pretrained weights are missing, unsafe, damaged or do not fit the architecture."""


class PluginError(TLStudioError):
    """A plugin or one of its components cannot be used."""


class ProjectError(TLStudioError):
    """A project cannot be made, opened or written."""


class RunError(TLStudioError):
    """A run cannot start, go on or be read."""


class ProblemsError(TLStudioError):
    """Several things are wrong; all of them are told at once.

    Args:
        what: A heading such as ``"The recipe has 3 mistakes."``.
        problems: Every problem found, in the order of the form.
    """

    def __init__(self, what: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join([what, *(f"  {problem}" for problem in problems)]))
        self.what = what
        self.problems = tuple(problems)
