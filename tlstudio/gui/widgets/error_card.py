"""A failure as a card: the sentence, what to do, and the traceback folded away with a copy button."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QApplication, QHBoxLayout, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.dialogs import text_box
from tlstudio.gui.widgets.fold import Fold
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.privacy import without_secrets


class ErrorCard(Card):
    """Hidden until there is something to tell.

    Args:
        name: Object name.
        state: Where the theme is.
        title: Heading.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, title: str, parent: QWidget | None = None) -> None:
        super().__init__(name, parent)
        self.setAccessibleName(title)
        self._traceback = ""
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(IconLabel(state, "error", "bad", 18))
        head.addWidget(text_label(title, "section", f"{name}_title"), 1)
        self._sentence = text_label("", "", f"{name}_sentence", wrap=True)
        self._box = text_box("", f"{name}_traceback", self.tr("Report"), mono=True)
        self._box.setFixedHeight(150)
        copy = push_button(self.tr("&Copy report"), "secondary", f"{name}_copy")
        copy.clicked.connect(self._copy)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._box)
        row = QHBoxLayout()
        row.addWidget(copy)
        row.addStretch(1)
        column.addLayout(row)
        self._fold = Fold(f"{name}_report", self.tr("Report for the developers"), inside)
        self.column.addLayout(head)
        self.column.addWidget(self._sentence)
        self.column.addWidget(self._fold)
        self.hide()

    @property
    def sentence(self) -> str:
        """What is told."""
        return self._sentence.text()

    def show_error(self, sentence: str, traceback: str = "") -> None:
        """Tell a failure; with a traceback it is a bug and can be copied."""
        self._traceback = traceback = without_secrets(traceback)  # runs of older versions have kept it as it was
        self._sentence.setText(sentence)
        self._box.setPlainText(traceback)
        self._fold.setVisible(bool(traceback))
        self._fold.set_opened(False)
        self.setAccessibleDescription(sentence)
        self.show()

    @Slot()
    def _copy(self) -> None:
        QApplication.clipboard().setText(f"{self.sentence}\n\n{self._traceback}")
