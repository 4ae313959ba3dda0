"""What a hostile file is, and the places in which it may reach the studio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Place = Literal[
    "image weights",
    "text weights",
    "model folder",
    "feature cache",
    "checkpoint",
    "run folder",
    "exported image model",
    "exported text model",
    "image folder",
    "text folder",
    "table",
    "table of images",
    "sound folder",
    "mask folder",
    "boxes",
    "rows",
    "model archive",
    "prediction",
    "recipe",
    "project folder",
    "plugin folder",
    "plugin metadata",
]
Outcome = Literal["refused", "used", "either"]


@dataclass(frozen=True, slots=True)
class Site:
    """The folders of one trial.

    Attributes:
        folder: All of the trial.
        material: Good things that are copied and then spoilt; shared by all trials.
    """

    folder: Path
    material: Path

    @property
    def source(self) -> Path:
        """Where the hostile file is, amid what belongs around it."""
        return self.folder / "source"

    @property
    def output(self) -> Path:
        """The only place in which the studio may write."""
        return self.folder / "output"

    @property
    def canary(self) -> Path:
        """What code in a file would make if it ran."""
        return self.folder / "canary" / "ran"

    @property
    def outside(self) -> Path:
        """A file of somebody else's, to which paths and links lead."""
        return self.folder / "outside" / "secret.txt"


@dataclass(frozen=True, slots=True)
class HostileFile:
    """One hostile file.

    Attributes:
        name: Unique.
        danger: What is dangerous about it, as a sentence.
        place: How it reaches the studio.
        path: Where it is put, relative to what the studio is given.
        write: Makes it: called with its full path and the site.
        outcome: ``"refused"``: there must be a sentence that names it; ``"used"``: there must be none, it is odd but
            good; ``"either"``: it may be left out or taken, as long as nothing else happens.
        named: What the sentence must hold; the last part of `path` if empty.
    """

    name: str
    danger: str
    place: Place
    path: str
    write: Callable[[Path, Site], None]
    outcome: Outcome = "refused"
    named: str = ""

    @property
    def must_name(self) -> str:
        """What the sentence of a refusal must hold."""
        return self.named or Path(self.path).name


def content(data: bytes | str) -> Callable[[Path, Site], None]:
    """Make a file of some bytes, or of a text in UTF-8."""
    raw = data.encode() if isinstance(data, str) else data
    return lambda path, _site: void(path.write_bytes(raw))


def void(_value: object) -> None:
    """Do nothing with a value: for calls in an expression."""
