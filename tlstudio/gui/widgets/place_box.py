"""Where a run goes on: in this window, or in a process of its own that outlives it. Remembered, no part of a recipe."""

from __future__ import annotations

from typing import cast

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget

from tlstudio.gui.run_work import Place
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.texts import text_label

RUNS_IN = "train/runs_in"
"""Key of the setting."""


class PlaceBox(QWidget):
    """A caption and a box with three choices.

    Args:
        state: Where the choice is remembered.
        parent: Parent widget.

    Signals:
        changed(): Something else was chosen.
    """

    changed = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_place_row")
        self._state = state
        self.box = QComboBox()
        self.box.setObjectName("train_place")
        self.box.setAccessibleName(self.tr("Runs in"))
        self.box.setToolTip(
            self.tr(
                "A process of its own goes on when the window is closed, and a crash in it leaves the window whole; "
                "it takes some seconds to start. Automatic: for runs of more than two minutes."
            )
        )
        choices: tuple[tuple[Place, str], ...] = (
            ("automatic", self.tr("Automatic")),
            ("window", self.tr("This window")),
            ("process", self.tr("A process of its own")),
        )
        for place, text in choices:
            self.box.addItem(text, place)
        self.box.setCurrentIndex(max(0, self.box.findData(str(state.settings.value(RUNS_IN, "automatic")))))
        self.box.activated.connect(self._keep)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(text_label(self.tr("Runs in"), "second", "train_place_caption"))
        row.addWidget(self.box, 1)

    @property
    def place(self) -> Place:
        """What is chosen."""
        return cast(Place, self.box.currentData())

    @Slot()
    def _keep(self) -> None:
        self._state.settings.setValue(RUNS_IN, self.place)
        self.changed.emit()
