"""Taking a trained model elsewhere: a folder of its own, checked before it counts as done."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QComboBox, QWidget

from tlstudio.api import TLStudioError
from tlstudio.engine.adapter_facts import adapter_size, has_adapter
from tlstudio.gui.run_export import ask_export, export, export_adapter
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import size_text
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
        self.what = QComboBox()
        self.what.setObjectName("predict_export_what")
        self.what.setAccessibleName(self.tr("What to export"))
        self.what.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.what.currentIndexChanged.connect(lambda _: self._show_what())
        self._about = text_label("", "second", "predict_export_text", wrap=True)
        self.result = text_label("", "good", "predict_export_result", wrap=True)
        self.result.hide()
        self.button = push_button(self.tr("E&xport…"), "secondary", "predict_export")
        self.button.clicked.connect(self._ask)
        self.column.addWidget(text_label(self.tr("EXPORT"), "caption", "predict_export_caption"))
        self.column.addWidget(self.what)
        self.column.addWidget(self._about)
        self.column.addWidget(self.result)
        self.column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)

    def set_run(self, run_id: str) -> None:
        """Offer to export this run; ``""``: there is none to export."""
        self._run = run_id
        self.what.clear()
        self.what.addItem(self.tr("Whole model"), False)
        found, size = self._find_adapter()
        if found:
            alone = self.tr("Adapter alone (PEFT)")
            told = self.tr("{0}, about {1}").format(alone, size_text(size)) if size is not None else alone
            self.what.addItem(told, True)
        self.what.setVisible(found)
        self._show_what()
        self.setVisible(bool(run_id))

    def _find_adapter(self) -> tuple[bool, int | None]:
        """Whether the run has an adapter that can be exported, and about how large it is, if that is known."""
        project = self._state.project
        try:
            run = project.run(self._run) if project is not None and self._run else None
            found = run is not None and has_adapter(run.summary().strategy, self._state.registry)
        except TLStudioError:  # who loads it says so
            return False, None
        return found, adapter_size(run) if run is not None and found else None

    @property
    def adapter_alone(self) -> bool:
        """Whether the adapter is chosen, without the network that it is for."""
        return bool(self.what.currentData())

    @Slot()
    def _show_what(self) -> None:
        self.result.hide()
        self._about.setText(
            self.tr(
                "What the run has put into the network, in the format of PEFT, with the head beside it. Who uses it "
                "needs the same backbone."
            )
            if self.adapter_alone
            else self.tr(
                "A folder with weights, labels and preprocessing that works without this project. It is read back and "
                "compared with the run before it counts as done."
            )
        )

    @Slot()
    def _ask(self) -> None:
        ask_export(self._state, self, self._run, self.export)

    def export(self, folder: Path) -> None:
        """Write the run's best model, or its adapter alone, into a folder of its own."""
        run_id, write = self._run, export_adapter if self.adapter_alone else export

        def tell(text: str, _folder: Path) -> None:
            self.result.setText(text)
            self.result.setVisible(run_id == self._run)  # another may have been chosen meanwhile

        job = write(self._state, run_id, folder, tell) if run_id else None
        if job is not None:
            self.button.setEnabled(False)
            job.ended.connect(lambda _: self.button.setEnabled(True))
