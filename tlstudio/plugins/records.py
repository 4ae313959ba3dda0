"""What is known of one plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "skipped", "disabled"]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one plugin.

    Attributes:
        name: Name of its entry point, or of its file.
        version: Version of its distribution; ``""`` for a file.
        origin: The distribution or the path that it came from.
        distribution: Name of its distribution; ``""`` for a file.
        file: Name of its file, or of the package that is imported for it.
        state: ``"ok"``, ``"failed"``, ``"skipped"`` (the last start ended while it was loaded) or ``"disabled"``.
        provides: What it brought, such as ``"backbone resnet18"``.
        error: Why it is left out, as a sentence.
        traceback: The traceback of the failure, for its author.
        remembered: Whether it is left out for what it did at an earlier start, until it changes or is asked to be
            tried again.
    """

    name: str
    version: str
    origin: str
    distribution: str = ""
    file: str = ""
    state: State = "ok"
    provides: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""
    remembered: bool = False
