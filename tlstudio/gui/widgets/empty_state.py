"""What a page shows when it has nothing to show: why, and the one thing to do about it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.texts import push_button, text_label


class EmptyState(QWidget):
    """An icon, a heading, a sentence and one button, in the middle of the room that there is.

    Args:
        name: Object name; the button is ``<name>_action``.
        state: Where the theme is.
        icon: Name of the icon.
        title: Heading.
        sentence: What this page is for, or why it is empty.
        action: Text of the button; empty: none.
        parent: Parent widget.

    Signals:
        activated(): The button was pressed.
    """

    activated = Signal()

    def __init__(
        self,
        name: str,
        state: AppState,
        icon: str,
        title: str,
        sentence: str,
        action: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        picture = IconLabel(state, icon, "faint", 40)
        self._title = text_label(title, "section", f"{name}_title")
        self._sentence = text_label(sentence, "second", f"{name}_sentence", wrap=True)
        self._sentence.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._sentence.setFixedWidth(400)
        self.button = push_button(action, "primary", f"{name}_action")
        self.button.setVisible(bool(action))
        self.button.clicked.connect(self.activated)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 24, 24, 24)
        layout.setSpacing(8)
        layout.addStretch(2)
        for widget, after in ((picture, 8), (self._title, 0), (self._sentence, 12)):
            row = QHBoxLayout()
            row.addStretch()
            row.addWidget(widget)
            row.addStretch()
            layout.addLayout(row)
            layout.addSpacing(after)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self.button)
        row.addStretch()
        layout.addLayout(row)
        layout.addStretch(3)

    def set_texts(self, title: str, sentence: str, action: str = "") -> None:
        """Say something else."""
        self._title.setText(title)
        self._sentence.setText(sentence)
        self.button.setText(action)
        self.button.setAccessibleName(action.replace("&", ""))
        self.button.setVisible(bool(action))
