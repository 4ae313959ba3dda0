"""The rail at the left: the pages, and help."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import icon
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.texts import text_label

WIDTH = 168


class Rail(QFrame):
    """One button a page, with icon and word.

    Args:
        state: Where the theme is.
        pages: ``(name, title, icon, shortcut)`` of each page.
        parent: Parent widget.

    Signals:
        chosen(str): The page of this name was clicked.
        help_wanted(): Help was clicked.
    """

    chosen = Signal(str)
    help_wanted = Signal()

    def __init__(
        self, state: AppState, pages: Sequence[tuple[str, str, str, str]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("rail")
        self.setProperty("role", "rail")
        self.setFixedWidth(WIDTH)
        self._state = state
        self._icons = {name: icon_name for name, _, icon_name, _ in pages}
        self._buttons: dict[str, QToolButton] = {}
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)

        self.menu_button = QToolButton()
        self.menu_button.setObjectName("rail_menu")
        self.menu_button.setAccessibleName(self.tr("Menu"))
        self.menu_button.setToolTip(self.tr("Menu (F10)"))
        self.menu_button.setProperty("role", "quiet")
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        keep_icon(self.menu_button, state, "menu", "second", 16)

        head = QHBoxLayout()
        head.setContentsMargins(12, 0, 0, 0)
        head.addWidget(text_label("TL Studio", "wordmark", "rail_wordmark"))
        head.addStretch()
        head.addWidget(self.menu_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 8)
        layout.setSpacing(4)
        layout.addLayout(head)
        layout.addSpacing(10)
        for name, title, _, shortcut in pages:
            button = self._make(name, title, f"{title} ({shortcut})")
            button.setCheckable(True)
            self._group.addButton(button)
            self._buttons[name] = button
            layout.addWidget(button)
        layout.addStretch()
        help_button = self._make("help", self.tr("Help"), self.tr("Help (F1)"))
        keep_icon(help_button, state, "help", "second", 18)
        help_button.clicked.connect(self.help_wanted)
        layout.addWidget(help_button)
        self._group.buttonClicked.connect(self._clicked)
        state.theme_changed.connect(self._redraw)
        self._redraw()

    def set_current(self, name: str) -> None:
        """Mark a page as the one that is shown."""
        self._buttons[name].setChecked(True)
        self._redraw()

    def _make(self, name: str, title: str, hint: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName(f"rail_{name}")
        button.setAccessibleName(title)
        button.setText("  " + title)
        button.setToolTip(hint)
        button.setProperty("role", "rail")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setIconSize(QSize(18, 18))
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        return button

    @Slot(object)
    def _clicked(self, button: QWidget) -> None:
        self.chosen.emit(button.objectName().removeprefix("rail_"))

    @Slot()
    def _redraw(self) -> None:
        theme = self._state.theme
        for name, button in self._buttons.items():
            button.setIcon(icon(self._icons[name], theme.accent_text if button.isChecked() else theme.second, 18))
