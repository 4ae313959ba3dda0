"""Something that is wrong with a recipe, as a link to where it can be mended."""

from __future__ import annotations

import html
from typing import NamedTuple

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

from tlstudio.gui.theme import Theme

_LINKS = (
    Qt.TextInteractionFlag.TextSelectableByMouse
    | Qt.TextInteractionFlag.LinksAccessibleByMouse
    | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
)


class ListedProblem(NamedTuple):
    """A problem as it is listed.

    Attributes:
        where: Its place in the recipe; empty: it cannot be mended on this page.
        place: Its place in the words of the page.
        sentence: What it is, and what to do.
    """

    where: str
    place: str
    sentence: str

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.place}: {self.sentence}"


class ProblemLabel(QLabel):
    """Tells a problem in as many lines as it needs; all of it is the link.

    Signals:
        opened(str): It was clicked, or Enter was pressed on it; carries its place in the recipe.
    """

    opened = Signal(str)

    def __init__(self, name: str, problem: ListedProblem, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        if not problem.where:
            self.setTextFormat(Qt.TextFormat.PlainText)
            self.setText(problem.text)
            self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            return
        where, place, sentence = (html.escape(part) for part in problem)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setText(
            f'<a href="{where}" style="color: {theme.text}; text-decoration: none">'
            f'<span style="color: {theme.accent_text}; text-decoration: underline">{place}</span>: {sentence}</a>'
        )
        self.setAccessibleName(problem.text)
        self.setTextInteractionFlags(_LINKS)
        self.linkActivated.connect(self.opened)

    def focusInEvent(self, event: QFocusEvent) -> None:  # Qt override
        """Stand on the link at once: Qt would take another press of Tab for that."""
        super().focusInEvent(event)
        if event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason):
            self.focusNextPrevChild(event.reason() == Qt.FocusReason.TabFocusReason)
