"""A quiet line above the pages: something to know, what can be done about it, and a cross."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.icons import IconLabel, keep_icon
from tlstudio.gui.widgets.texts import push_button, text_label


@dataclass(frozen=True)
class Action:
    """Something that can be done about a notice.

    Attributes:
        text: Text of its button.
        do: Does it.
        closes: Whether the notice is done with then.
    """

    text: str
    do: Callable[[], object]
    closes: bool = False


@dataclass(frozen=True)
class Notice:
    """Something to know.

    Attributes:
        name: Such as ``"crash"``; its buttons are ``notice_crash_0`` and so on, and ``notice_crash_dismiss``.
        text: One sentence or two.
        actions: What can be done.
        on_gone: Called once it was dismissed or done with.
    """

    name: str
    text: str
    actions: Sequence[Action] = ()
    on_gone: Callable[[], None] = lambda: None


class NoticeBar(QWidget):
    """Shows one notice at a time; hidden while there is none.

    Args:
        state: Where the theme is.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice_bar")
        self._state = state
        self._waiting: deque[Notice] = deque()
        self._buttons: list[QPushButton] = []
        self.notice: Notice | None = None
        frame = QFrame()
        frame.setObjectName("notice")
        frame.setProperty("role", "notice")
        self._row = QHBoxLayout(frame)
        self._row.setContentsMargins(16, 6, 10, 6)
        self._row.setSpacing(8)
        self._row.addWidget(IconLabel(state, "info", "accent_text", 18))
        self._text = text_label("", "", "notice_text", elide=True)
        self._row.addWidget(self._text, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 10, 20, 0)
        layout.addWidget(frame)
        self.hide()

    def show_notice(self, notice: Notice) -> None:
        """Show a notice now, or after the one that is shown; one of the same name is replaced."""
        self.take_back(notice.name)
        self._waiting.append(notice)
        if self.notice is None:
            self._show_next()

    def renew(self, name: str, notice: Notice | None) -> None:
        """Say anew what the notice of this name says, if there is one, or show it no more."""
        if notice is None:
            self.take_back(name)
        elif self.notice is not None and self.notice.name == name:
            self._waiting.appendleft(notice)
            self._show_next()
        else:
            self._waiting = deque(notice if other.name == name else other for other in self._waiting)

    def has(self, name: str) -> bool:
        """Whether there is a notice of this name, shown or waiting."""
        return any(notice is not None and notice.name == name for notice in (self.notice, *self._waiting))

    def take_back(self, name: str) -> None:
        """Show a notice no more: it speaks of what is no longer so."""
        self._waiting = deque(notice for notice in self._waiting if notice.name != name)
        if self.notice is not None and self.notice.name == name:
            self._show_next()

    @Slot()
    def dismiss(self) -> None:
        """The notice was read."""
        if self.notice is not None:
            self.notice.on_gone()
            self._show_next()

    def _show_next(self) -> None:
        for button in self._buttons:
            button.hide()
            button.deleteLater()
        self._buttons.clear()
        self.notice = notice = self._waiting.popleft() if self._waiting else None
        self.setVisible(notice is not None)
        if notice is None:
            return
        self._text.setText(notice.text)
        self.setAccessibleName(notice.text)
        for number, action in enumerate(notice.actions):
            self._add(push_button(action.text, "link", f"notice_{notice.name}_{number}"), self._doer(action))
        cross = push_button("", "quiet", f"notice_{notice.name}_dismiss", accessible=self.tr("Dismiss"))
        cross.setToolTip(self.tr("Dismiss"))
        keep_icon(cross, self._state, "close")
        self._add(cross, self.dismiss)

    def _doer(self, action: Action) -> Callable[[], None]:
        def do() -> None:
            if action.closes:
                self.dismiss()
            action.do()

        return do

    def _add(self, button: QPushButton, pressed: Callable[[], None]) -> None:
        button.clicked.connect(lambda _checked=False: pressed())
        self._row.addWidget(button)
        self._buttons.append(button)
