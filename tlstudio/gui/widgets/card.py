"""A surface on the ground: the frame that everything else stands in."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget


class Card(QFrame):
    """A frame with a hairline, round corners and a column layout.

    Args:
        name: Object name.
        parent: Parent widget.
        margins: Left, top, right and bottom space inside.
        spacing: Space between two things in it.
    """

    def __init__(
        self,
        name: str,
        parent: QWidget | None = None,
        *,
        margins: tuple[int, int, int, int] = (16, 12, 16, 14),
        spacing: int = 6,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "card")
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(*margins)
        self.column.setSpacing(spacing)


class Clickable(QFrame):
    """A frame that is a button: by mouse, by Enter and by Space.

    Args:
        name: Object name.
        accessible: What a screen reader says.
        role: ``"card"`` or ``"row"``.
        parent: Parent widget.

    Signals:
        clicked(): It was pressed.
    """

    clicked = Signal()

    def __init__(self, name: str, accessible: str, role: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setProperty("role", role)
        self.set_clickable(True)

    def set_clickable(self, clickable: bool) -> None:
        """Say whether it can be pressed."""
        self.setProperty("clickable", clickable)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus if clickable else Qt.FocusPolicy.NoFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor if clickable else Qt.CursorShape.ArrowCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Press it."""
        inside = self.rect().contains(event.position().toPoint())
        if self.property("clickable") and inside and event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt override
        """Press it by keyboard."""
        pressed = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)
        if self.property("clickable") and pressed:
            self.clicked.emit()
        else:
            super().keyPressEvent(event)


class ClickCard(Clickable):
    """A card that is a button, with a column layout.

    Args:
        name: Object name.
        accessible: What a screen reader says.
        parent: Parent widget.
    """

    def __init__(self, name: str, accessible: str, parent: QWidget | None = None) -> None:
        super().__init__(name, accessible, "card", parent)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(16, 14, 16, 14)
        self.column.setSpacing(6)
