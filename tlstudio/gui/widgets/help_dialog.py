"""Help: how to get from data to a model, the shortcuts, and where things are kept."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from tlstudio import __version__
from tlstudio.gui.commands import Command
from tlstudio.gui.widgets.dialogs import Sheet
from tlstudio.gui.widgets.texts import text_label
from tlstudio.plugins.catalogue import Table


class HelpDialog(Sheet):
    """A page to read.

    Args:
        commands: The table of commands, for the shortcuts.
        places: ``(what, where)``: where the studio keeps things.
        tables: What the plugins bring.
        parent: The window.
    """

    def __init__(
        self,
        commands: Sequence[Command],
        places: Sequence[tuple[str, str]],
        tables: Sequence[Table],
        parent: QWidget,
    ) -> None:
        super().__init__("help_dialog", QCoreApplication.translate("HelpDialog", "Help"), parent, width=720)
        page = QWidget()
        page.setProperty("role", "bare")
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 12, 0)
        column.setSpacing(8)
        row = QHBoxLayout()
        row.setSpacing(32)
        row.addLayout(self._steps(), 3)
        row.addLayout(self._shortcuts(commands), 2)
        column.addLayout(row)
        column.addSpacing(8)
        column.addWidget(text_label(self.tr("Where things are"), "section", "help_places"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        for index, (what, where) in enumerate(places):
            grid.addWidget(text_label(what, "second", f"help_place_{index}"), index, 0)
            label = text_label(where, "", f"help_path_{index}", elide=True)
            label.setToolTip(where)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            grid.addWidget(label, index, 1)
        column.addLayout(grid)
        titles = (
            self.tr("Tasks"),
            self.tr("Backbones"),
            self.tr("Formats of data"),
            self.tr("Task heads"),
            self.tr("Strategies"),
            self.tr("Methods beside a strategy"),
            self.tr("Recipes"),
        )
        for number, (title, table) in enumerate(zip(titles, tables, strict=True)):
            column.addSpacing(8)
            column.addWidget(text_label(title, "section", f"help_catalogue_{number}"))
            column.addLayout(self._listed(table, number))
        column.addStretch()
        area = QScrollArea()
        area.setObjectName("help_scroll")
        area.setAccessibleName(self.tr("Help"))
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(page)
        area.setMinimumHeight(420)
        self.body.addWidget(area)
        self.buttons.insertWidget(0, text_label(f"TL Studio {__version__}", "small", "help_version"))
        self.add_button(self.tr("C&lose"), "primary", "help_close", self.accept)

    def _listed(self, table: Table, number: int) -> QGridLayout:
        """Name in front, the rest behind it."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        first = 2 if table.headers[0] == "data" else 1  # a task is one of some kind of data
        for index, row in enumerate(table.rows):
            name, rest = ": ".join(row[:first]), " · ".join(filter(None, row[first:]))
            label = text_label(name, "", f"help_name_{number}_{index}", wrap=True)
            label.setMinimumWidth(170)
            text = text_label(rest, "second", f"help_text_{number}_{index}", wrap=True)
            for column, one in enumerate((label, text)):
                one.setAlignment(Qt.AlignmentFlag.AlignTop)
                grid.addWidget(one, index, column)
        return grid

    def _steps(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addWidget(text_label(self.tr("From a folder to a model"), "section", "help_steps"))
        steps = (
            self.tr("Project: make a project. It is a folder; everything you do stays in it."),
            self.tr("Data: drop a folder with one subfolder a class, or a table with texts and labels."),
            self.tr("Data: look at the problems found; a model learns mistakes as readily as facts."),
            self.tr("Train: choose backbone, head, strategy and methods. The suggestions suit your data."),
            self.tr("Runs: compare runs, open the confusion matrix, look at the worst items."),
            self.tr("Predict: try the model on new data, predict a whole folder, export it."),
        )
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        for number, step in enumerate(steps, 1):
            grid.addWidget(text_label(str(number), "", f"help_number_{number}"), number, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(text_label(step, "second", f"help_step_{number}", wrap=True), number, 1)
        column.addLayout(grid)
        column.addSpacing(8)
        column.addWidget(
            text_label(
                self.tr("All of this works on the command line too: tlstudio --help."),
                "second",
                "help_command_line",
                wrap=True,
            )
        )
        column.addStretch()
        return column

    def _shortcuts(self, commands: Sequence[Command]) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addWidget(text_label(self.tr("Shortcuts"), "section", "help_shortcuts"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        for index, command in enumerate(command for command in commands if command.shortcut):
            keys = QKeySequence.fromString(command.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
            grid.addWidget(text_label(keys, "", f"help_keys_{index}"), index, 0)
            text = command.text.replace("&", "").rstrip("…")
            grid.addWidget(text_label(text, "second", f"help_command_{index}"), index, 1)
        column.addLayout(grid)
        column.addStretch()
        return column
