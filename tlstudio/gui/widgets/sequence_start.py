"""Where learning several data sets one after another begins on the Train page."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QWidget

from tlstudio.gui.recipe_draft import RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.sequence_dialog import SequenceDialog
from tlstudio.gui.widgets.texts import push_button


class SequenceStart(QWidget):
    """A link that opens the dialog; shown while the project has several data sets.

    Args:
        state: What the pages share.
        draft: The recipe.
        place: Gives the words of the page for the place of a problem.
        parent: Parent widget.

    Signals:
        requested(object): The user wants this `SequencePlan` to be carried out.
        go_on_requested(str): The user wants to go on with the sequence that this run is the last one of so far.
    """

    requested = Signal(object)
    go_on_requested = Signal(str)

    def __init__(
        self, state: AppState, draft: RecipeDraft, place: Callable[[str], str], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("train_sequence_row")
        self._state = state
        self._draft = draft
        self._place = place
        self._free = True
        self._writable = False
        self.button = push_button(
            self.tr("Learn several &one after another…"),
            "link",
            "train_sequence",
            hint=self.tr("Continual learning: one model learns data sets in turn, and what it forgets is measured"),
        )
        self.button.clicked.connect(self.open)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 6, 0)
        row.addWidget(self.button, 0, Qt.AlignmentFlag.AlignRight)
        draft.changed.connect(self._show_state)
        draft.checked.connect(self._show_state)
        state.project_changed.connect(self._look)
        state.datasets_changed.connect(self._look)
        self._look()

    def set_free(self, free: bool) -> None:
        """Say whether nothing else is under way."""
        self._free = free
        self._show_state()

    @Slot()
    def _look(self) -> None:
        project = self._state.project
        self._writable = project is not None and project.writable
        self.setVisible(project is not None and len(project.datasets()) > 1)
        self._show_state()

    @Slot()
    def _show_state(self) -> None:
        known = not self._draft.pending and self._draft.result.revision is not None
        self.button.setEnabled(self._free and known and self._writable)

    @Slot()
    def open(self) -> None:
        """Open the dialog."""
        dialog = SequenceDialog(self._state, self._draft, self._place, self.window())
        dialog.start_requested.connect(self.requested)
        dialog.go_on_requested.connect(self.go_on_requested)
        dialog.open()
