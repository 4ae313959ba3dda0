"""Icons that change colour with the theme."""

from __future__ import annotations

from PySide6.QtCore import QObject, QSize, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractButton, QLabel, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import icon, icon_pixmap


class _IconKeeper(QObject):
    """Redraws the icon of a button or action when the theme changes; lives as long as that does."""

    def __init__(self, owner: QAbstractButton | QAction, state: AppState, name: str, color: str, size: int) -> None:
        super().__init__(owner)
        self._owner = owner
        self._state = state
        self._name = name
        self._color = color
        self._size = size
        state.theme_changed.connect(self.redraw)
        self.redraw()

    @Slot()
    def redraw(self) -> None:
        """Draw it in the colour of the theme now."""
        self._owner.setIcon(icon(self._name, str(getattr(self._state.theme, self._color)), self._size))


def keep_icon(
    owner: QAbstractButton | QAction, state: AppState, name: str, color: str = "second", size: int = 16
) -> None:
    """Give a button or action an icon in a colour of the theme, now and after each change of the theme.

    Args:
        owner: The button or action.
        state: Where the theme is.
        name: Name of the icon.
        color: A field of `Theme`.
        size: Edge in device-independent pixels.
    """
    _IconKeeper(owner, state, name, color, size)
    if isinstance(owner, QAbstractButton):
        owner.setIconSize(QSize(size, size))


class IconLabel(QLabel):
    """A line icon in a colour of the theme.

    Args:
        state: Where the theme is.
        name: Name of the icon.
        color: A field of `Theme`.
        size: Edge in device-independent pixels.
        parent: Parent widget.
    """

    def __init__(
        self, state: AppState, name: str, color: str = "second", size: int = 18, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._name = name
        self._color = color
        self._size = size
        self.setFixedSize(size, size)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        state.theme_changed.connect(self.redraw)
        self.redraw()

    def set_icon(self, name: str, color: str) -> None:
        """Show another icon."""
        self._name, self._color = name, color
        self.redraw()

    @Slot()
    def redraw(self) -> None:
        """Draw it in the colour of the theme now."""
        color = str(getattr(self._state.theme, self._color))
        self.setPixmap(icon_pixmap(self._name, color, self._size, max(1.0, self.devicePixelRatioF())))
