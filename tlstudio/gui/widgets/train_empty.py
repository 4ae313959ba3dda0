"""What the Train page shows while there is nothing to train on."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.empty_state import EmptyState


class TrainEmpty(EmptyState):
    """Leads to the page where what is missing can be had.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("train_empty", state, "train", "", "", parent=parent)
        self._state = state
        self._goes = "project"
        self.activated.connect(lambda: state.navigate.emit(self._goes))

    def show_missing(self) -> bool:
        """Say what is missing; returns whether anything is."""
        project = self._state.project
        if project is None:
            self._goes = "project"
            self.set_texts(
                self.tr("No project is open"),
                self.tr("A project is a folder that keeps data sets and runs. Open one, make one, or try the demo."),
                self.tr("Go to &Project"),
            )
            return True
        if not project.datasets():
            self._goes = "data"
            self.set_texts(
                self.tr("Nothing to learn from yet"),
                self.tr("Bring in a folder of images or a table of texts; then choose here what shall learn from it."),
                self.tr("Go to &Data"),
            )
            return True
        return False
