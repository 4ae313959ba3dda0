"""Taking a trained model elsewhere: a folder of its own, checked before it counts as done."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import size_text
from tlstudio.gui.widgets.file_dialogs import ask_output_folder
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext


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
        title = self.tr("Export into a new folder")
        ask_output_folder(self._state, self, "export", title, self.export, suggested=self._run)

    def export(self, folder: Path) -> None:
        """Write the run's best model into a folder of its own."""
        project, registry, run_id = self._state.project, self._state.registry, self._run
        if project is None or not run_id:
            return
        self.button.setEnabled(False)

        def work(context: JobContext) -> str:
            from tlstudio.engine.export import export_run

            report = export_run(
                project.run(run_id),
                folder,
                registry,
                project=project,
                on_progress=lambda done, total: context.progress(done, total),
            )
            text = self.tr("{0} written to {1}. Checked on {2} items: same outputs (largest difference {3}).")
            return text.format(
                size_text(report.size_bytes), report.folder, report.checked_samples, f"{report.max_difference:.2g}"
            )

        def done(text: str) -> None:
            self.button.setEnabled(True)
            self.result.setText(text)
            self.result.show()

        def failed(error: Exception) -> None:
            self.button.setEnabled(True)
            self._state.show_error(error)

        self._state.jobs.start(work, self.tr("Exporting"), done, failed)
