"""The pages of the window, as a table; each is imported when it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PySide6.QtWidgets import QWidget

from tlstudio.gui.state import AppState


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        name: As in `AppState.navigate`.
        icon: Name of its icon.
    """

    name: str
    icon: str


@runtime_checkable
class Trains(Protocol):
    """A page that can have a run under way."""

    @property
    def active_run(self) -> bool:
        """Whether a run is under way."""

    @property
    def outlives_window(self) -> bool:
        """Whether the run that is under way can go on without the window."""

    def shutdown(self, callback: Callable[[], None], *, leave: bool = False) -> None:
        """End the run and keep what it has, or leave it to its process; call back within seconds, at once without."""


@runtime_checkable
class Closes(Protocol):
    """A page that has threads of its own."""

    def close_down(self) -> None:
        """End them."""


PAGES = tuple(Page(name, name) for name in ("project", "data", "train", "runs", "predict", "plugins"))


def build_page(name: str, state: AppState) -> QWidget:
    """Build a page by name. Plots and the like are imported here and not when the window starts."""
    match name:
        case "project":
            from tlstudio.gui.panels.project import ProjectPanel

            return ProjectPanel(state)
        case "data":
            from tlstudio.gui.panels.data import DataPanel

            return DataPanel(state)
        case "train":
            from tlstudio.gui.panels.train import TrainPanel

            return TrainPanel(state)
        case "runs":
            from tlstudio.gui.panels.runs import RunsPanel

            return RunsPanel(state)
        case "predict":
            from tlstudio.gui.panels.predict import PredictPanel

            return PredictPanel(state)
        case "plugins":
            from tlstudio.gui.panels.plugins import PluginsPanel

            return PluginsPanel(state)
        case _:
            raise ValueError(f"there is no page {name!r}")
