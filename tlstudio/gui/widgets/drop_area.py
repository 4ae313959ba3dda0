"""A frame that takes files by drop, by click and by keyboard."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.texts import push_button, text_label


class DropArea(QFrame):
    """Asks for a file or folder.

    Args:
        name: Object name; the button is ``<name>_choose``.
        state: Where the theme is.
        icon: Name of the icon.
        title: What may be dropped.
        button: Text of the button that opens a dialog.
        parent: Parent widget.

    Signals:
        dropped(object): A path was dropped.
        choose_requested(): The button was pressed.
    """

    dropped = Signal(object)
    choose_requested = Signal()

    def __init__(
        self, name: str, state: AppState, icon: str, title: str, button: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "drop")
        self.setAccessibleName(title)
        self.setAcceptDrops(True)
        self._title = text_label(title, "second", f"{name}_title", wrap=True)
        self._title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.button = push_button(button, "secondary", f"{name}_choose")
        self.button.clicked.connect(self.choose_requested)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 14)
        layout.setSpacing(8)
        layout.addStretch(1)
        for widget in (IconLabel(state, icon, "faint", 28), None, self.button):
            if widget is None:
                layout.addWidget(self._title)
                continue
            row = QHBoxLayout()
            row.addStretch(1)
            row.addWidget(widget)
            row.addStretch(1)
            layout.addLayout(row)
        layout.addStretch(1)

    def set_title(self, title: str) -> None:
        """Say what may be dropped."""
        self._title.setText(title)
        self.setAccessibleName(title)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # Qt override
        """Welcome local files."""
        if _path_in(event) is not None:
            event.acceptProposedAction()
            self._set_hot(True)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # Qt override
        """Calm down."""
        self._set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:  # Qt override
        """Take the first path."""
        self._set_hot(False)
        path = _path_in(event)
        if path is not None:
            event.acceptProposedAction()
            self.dropped.emit(path)

    def _set_hot(self, hot: bool) -> None:
        self.setProperty("hot", hot)
        self.style().unpolish(self)
        self.style().polish(self)


def _path_in(event: QDropEvent) -> Path | None:
    urls = [url for url in event.mimeData().urls() if url.isLocalFile()]
    return Path(urls[0].toLocalFile()) if urls else None
