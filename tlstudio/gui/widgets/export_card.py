"""Taking a trained model elsewhere: a folder of its own, checked before it counts as done."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QWidget

from tlstudio.gui.run_export import ask_export, export
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.texts import push_button, text_label


class ExportCard(Card):
    """Exports one run and tells what was written.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("predict_export_card", parent, margins=(15, 10, 15, 12), spacing=8)
        self._state = state
        self._run = ""
        text = self.tr(
            "A folder with weights, labels and preprocessing that works without this project. It is read back and "
            "compared with the run before it counts as done."
        )
        self.result = text_label("", "good", "predict_export_result", wrap=True)
        self.result.hide()
        self.button = push_button(self.tr("E&xport…"), "secondary", "predict_export")
        self.button.clicked.connect(self._ask)
        self.column.addWidget(text_label(self.tr("EXPORT"), "caption", "predict_export_caption"))
        self.column.addWidget(text_label(text, "second", "predict_export_text", wrap=True))
        self.column.addWidget(self.result)
        self.column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)

    def set_run(self, run_id: str) -> None:
        """Offer to export this run; ``""``: there is none to export."""
        self._run = run_id
        self.result.hide()
        self.setVisible(bool(run_id))

    @Slot()
    def _ask(self) -> None:
        ask_export(self._state, self, self._run, self.export)

    def export(self, folder: Path) -> None:
        """Write the run's best model into a folder of its own."""
        run_id = self._run

        def tell(text: str, _folder: Path) -> None:
            self.result.setText(text)
            self.result.setVisible(run_id == self._run)  # another may have been chosen meanwhile

        job = export(self._state, run_id, folder, tell) if run_id else None
        if job is not None:
            self.button.setEnabled(False)
            job.ended.connect(lambda _: self.button.setEnabled(True))
