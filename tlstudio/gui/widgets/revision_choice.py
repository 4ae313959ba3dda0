"""The head of the Data page: which data set and revision are shown, and the way to more data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.texts import ElidedBox, push_button, text_label

if TYPE_CHECKING:
    from tlstudio.store.project import Project


class RevisionChoice(QWidget):
    """Chooses the data that all pages talk about.

    Args:
        state: What the pages share.
        parent: Parent widget.

    Signals:
        import_wanted(): 'Import data' was pressed.
        labels_wanted(): 'Label next' was pressed.
    """

    import_wanted = Signal()
    labels_wanted = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.dataset_box = ElidedBox()
        self.dataset_box.setObjectName("data_dataset")
        self.dataset_box.setAccessibleName(self.tr("Data set"))
        self.dataset_box.setMinimumWidth(180)
        self.dataset_box.activated.connect(self._choose_dataset)
        self.revision_box = ElidedBox()
        self.revision_box.setObjectName("data_revision")
        self.revision_box.setAccessibleName(self.tr("Revision"))
        self.revision_box.setMinimumWidth(128)
        self.revision_box.activated.connect(self._choose_revision)
        self.import_button = push_button(
            " " + self.tr("Import data"), "primary", "data_import", accessible=self.tr("Import data")
        )
        keep_icon(self.import_button, state, "plus", "on_accent", 15)
        self.import_button.clicked.connect(self.import_wanted)
        self.label_button = push_button(
            self.tr("&Label next…"),
            "secondary",
            "data_label_next",
            hint=self.tr("A finished run says which unlabelled items would teach it the most; you label them here"),
        )
        self.label_button.clicked.connect(self.labels_wanted)
        self.label_button.hide()
        head = QHBoxLayout(self)
        head.setContentsMargins(0, 0, 0, 0)
        head.setSpacing(8)
        head.addWidget(text_label(self.tr("Data"), "title", "data_title"))
        head.addSpacing(12)
        head.addWidget(self.dataset_box)
        head.addWidget(self.revision_box)
        head.addStretch()
        head.addWidget(self.label_button)
        head.addWidget(self.import_button)

    def show_choices(self, project: Project, name: str, revision_id: str) -> None:
        """Offer the data sets and revisions of a project."""
        with QSignalBlocker(self.dataset_box), QSignalBlocker(self.revision_box):
            self.dataset_box.clear()
            self.dataset_box.addItems(project.datasets())
            self.dataset_box.setCurrentText(name)
            self.revision_box.clear()
            for each in reversed(project.revisions(name) if name else []):
                self.revision_box.addItem(self.tr("Revision {0}").format(each.removeprefix("r")), each)
            self.revision_box.setCurrentIndex(self.revision_box.findData(revision_id))
        self.import_button.setEnabled(project.writable)

    @Slot(int)
    def _choose_dataset(self, _index: int) -> None:
        self._state.select_dataset(self.dataset_box.currentText())

    @Slot(int)
    def _choose_revision(self, _index: int) -> None:
        self._state.select_dataset(self.dataset_box.currentText(), str(self.revision_box.currentData()))
