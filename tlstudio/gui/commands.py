"""Menus and shortcuts as data: one table, from which menus, actions and the help page are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

Needs = Literal["", "project", "writable"]


@dataclass(frozen=True)
class Command:
    """One thing that the window can be told.

    Attributes:
        name: Object name of its action.
        menu: Path of the menu that it stands in, such as ``"Project"`` or ``"View/Appearance"``.
        text: Its text with a mnemonic.
        run: What it does.
        shortcut: Portable text of its shortcut; may be empty.
        needs: ``"project"``: only with a project open.
        group: Name of a set of commands of which one is ticked; empty: none.
        separated: Whether a line stands above it.
    """

    name: str
    menu: str
    text: str
    run: Callable[[], None]
    shortcut: str = ""
    needs: Needs = ""
    group: str = ""
    separated: bool = False


class CommandSet:
    """The actions and the menu tree of a table of commands.

    Args:
        commands: The table, in the order of the menus.
        owner: The window: its shortcuts work wherever the focus is.
    """

    def __init__(self, commands: Sequence[Command], owner: QWidget) -> None:
        self.commands = tuple(commands)
        self.actions: dict[str, QAction] = {}
        self.menu = QMenu(owner)
        self.menu.setObjectName("menu_main")
        self._menus: dict[str, QMenu] = {}
        self._groups: dict[str, QActionGroup] = {}
        for command in self.commands:
            self._add(command, owner)

    def submenu(self, path: str) -> QMenu:
        """Return the menu of a path, made if it is not there yet."""
        if path not in self._menus:
            parent, _, title = path.rpartition("/")
            above = self.submenu(parent) if parent else self.menu
            menu = above.addMenu(title)
            menu.setObjectName("menu_" + path.replace("&", "").replace("/", "_").replace(" ", "_").lower())
            self._menus[path] = menu
        return self._menus[path]

    def enable(self, *, project: bool, writable: bool) -> None:
        """Enable what is possible now."""
        for command in self.commands:
            possible = {"": True, "project": project, "writable": project and writable}[command.needs]
            self.actions[command.name].setEnabled(possible)

    def _add(self, command: Command, owner: QWidget) -> None:
        menu = self.submenu(command.menu)
        if command.separated:
            menu.addSeparator()
        action = QAction(command.text, owner)
        action.setObjectName(command.name)
        if command.shortcut:
            action.setShortcut(QKeySequence.fromString(command.shortcut))
            action.setShortcutVisibleInContextMenu(True)
        if command.group:
            action.setCheckable(True)
            if command.group not in self._groups:
                self._groups[command.group] = QActionGroup(owner)
            self._groups[command.group].addAction(action)
        run = command.run
        action.triggered.connect(lambda _checked=False: run())
        owner.addAction(action)
        menu.addAction(action)
        self.actions[command.name] = action
