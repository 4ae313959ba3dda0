"""What the menus of the window do, and their shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from tlstudio.gui.commands import Command
from tlstudio.gui.pages import PAGES
from tlstudio.gui.panels.project import ProjectPanel
from tlstudio.gui.theme import SYSTEM

if TYPE_CHECKING:
    from tlstudio.gui.main_window import MainWindow


class WindowActions(QObject):
    """Carries out commands on the pages of a window.

    Args:
        window: The window, which owns it.
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window

    def commands(self, titles: Mapping[str, str]) -> list[Command]:
        """List the commands in the order of the menus.

        Args:
            titles: What the pages are called, by name.
        """
        project, data, go = self.tr("&Project"), self.tr("&Data"), self.tr("&Go to")
        look, help_menu = self.tr("&Appearance"), self.tr("&Help")
        on = self._on_projects
        return [
            Command("new_project", project, self.tr("&New project…"), on(ProjectPanel.new_project), "Ctrl+N"),
            Command("open_project", project, self.tr("&Open project…"), on(ProjectPanel.choose_project), "Ctrl+O"),
            Command("try_demo", project, self.tr("&Try the demo"), on(ProjectPanel.try_demo)),
            Command(
                "open_folder",
                project,
                self.tr("Show project &folder"),
                on(ProjectPanel.open_folder),
                "Ctrl+Shift+O",
                "project",
            ),
            Command(
                "close_project", project, self.tr("&Close project"), on(ProjectPanel.close_project), "Ctrl+W", "project"
            ),
            Command("quit", project, self.tr("&Quit"), self._quit, "Ctrl+Q", separated=True),
            Command("import_data", data, self.tr("&Import data…"), self._import_data, "Ctrl+I", "writable"),
            *(
                Command(f"go_{page.name}", go, f"&{titles[page.name]}", self._goer(page.name), f"Ctrl+{number}")
                for number, page in enumerate(PAGES, 1)
            ),
            *(
                Command(f"theme_{choice}", look, text, self._themer(choice), group="theme")
                for choice, text in (
                    (SYSTEM, self.tr("Like the &system")),
                    ("light", self.tr("&Light")),
                    ("dark", self.tr("&Dark")),
                )
            ),
            Command("menu", help_menu, self.tr("&Menu"), self._window.open_menu, "F10"),
            Command("help", help_menu, self.tr("&Help"), self._window.show_help, "F1"),
        ]

    def projects(self) -> ProjectPanel:
        """Show the Project page, and return it."""
        self._window.go_to("project")
        panel = self._window.panel("project")
        if not isinstance(panel, ProjectPanel):
            raise TypeError("the Project page is no ProjectPanel")
        return panel

    def _on_projects(self, do: Callable[[ProjectPanel], object]) -> Callable[[], None]:
        def run() -> None:
            do(self.projects())

        return run

    def _import_data(self) -> None:
        from tlstudio.gui.panels.data import DataPanel

        self._window.go_to("data")
        panel = self._window.panel("data")
        if isinstance(panel, DataPanel):
            panel.choose_source()

    def _quit(self) -> None:
        self._window.close()

    def _goer(self, name: str) -> Callable[[], None]:
        return lambda: self._window.go_to(name)

    def _themer(self, choice: str) -> Callable[[], None]:
        return lambda: self._window.state.set_theme_choice(choice)
