"""A heading that folds away what is below it."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

_BESIDE = 14
"""Between the arrow and the heading, and beside them, in pixels."""


class Fold(QWidget):
    """Holds a widget that is shown only when its heading is open.

    Args:
        name: Object name; the heading is ``<name>_toggle``.
        title: Text of the heading.
        content: What is folded away.
        opened: Whether it starts open.
        parent: Parent widget.

    Signals:
        toggled(bool): It was opened or closed.
    """

    toggled = Signal(bool)

    def __init__(
        self, name: str, title: str, content: QWidget, *, opened: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._content = content
        self.button = QToolButton()
        self.button.setObjectName(f"{name}_toggle")
        self.button.setProperty("role", "quiet")
        self.button.setCheckable(True)
        self.button.setChecked(opened)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setIconSize(QSize(10, 10))
        self.button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.button.setStyleSheet("QToolButton { border: none; background: transparent; padding: 4px 0; }")
        self.button.setCursor(Qt.CursorShape.PointingHandCursor)
        self._title = ""
        self.set_title(title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.button)
        layout.addWidget(content)
        self.button.toggled.connect(self._show)
        self._show(opened)

    @property
    def opened(self) -> bool:
        """Whether the content is shown."""
        return self.button.isChecked()

    def set_opened(self, opened: bool) -> None:
        """Open or close it."""
        self.button.setChecked(opened)

    def set_title(self, title: str) -> None:
        """Change the heading; where there is no room for it, it ends in an ellipsis, and the tooltip tells it."""
        self._title = title
        self.button.setAccessibleName(title)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt override
        """Show as much of the heading as there is room for."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        room = self.width() - self.button.iconSize().width() - _BESIDE
        shown = self.button.fontMetrics().elidedText(self._title, Qt.TextElideMode.ElideRight, room)
        self.button.setText(shown)
        self.button.setToolTip(self._title if shown != self._title else "")

    def _show(self, opened: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self._content.setVisible(opened)
        self.toggled.emit(opened)
