"""Names and colours of curves, drawn in one line that never asks for more room than there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from tlstudio.gui.theme import Theme


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One curve in the legend.

    Attributes:
        name: Its name.
        color: Its colour.
        style: Its line style.
        value: Its value under the crosshair; ``""``: none is shown.
    """

    name: str
    color: str
    style: Qt.PenStyle = Qt.PenStyle.SolidLine
    value: str = ""


class Legend(QWidget):
    """Draws entries from the right; what does not fit is left out and told in the tooltip."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._entries: tuple[LegendEntry, ...] = ()
        self._prefix = ""
        self._color = QColor("gray")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def text(self) -> str:
        """What is shown, as text."""
        parts = [f"{entry.name} {entry.value}".strip() for entry in self._entries]
        return ", ".join([self._prefix, *parts] if self._prefix else parts)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._color = QColor(theme.second)
        self.update()

    def show_entries(self, entries: Sequence[LegendEntry], prefix: str = "") -> None:
        """Show these curves, after a text such as the position of the crosshair."""
        self._entries = tuple(entries)
        self._prefix = prefix
        self.setAccessibleName(self.text)
        self.setToolTip(self.text.replace(", ", "\n"))
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802  Qt override
        """One line of text."""
        return QSize(60, self.fontMetrics().height() + 2)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802  Qt override
        """Draw as many entries as fit, from the right."""
        painter = QPainter(self)
        metrics = self.fontMetrics()
        right = self.width() - 2
        middle = self.height() // 2
        baseline = middle + (metrics.ascent() - metrics.descent()) // 2
        for entry in reversed(self._entries):
            text = f"{entry.name} {entry.value}".strip()
            width = metrics.horizontalAdvance(text)
            if right - width - 14 < 0:
                text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, max(0, right - 14))
                width = metrics.horizontalAdvance(text)
                if len(text) < 3:
                    return
            painter.setPen(self._color)
            painter.drawText(right - width, baseline, text)
            pen = QPen(QColor(entry.color), 2, entry.style)
            painter.setPen(pen)
            painter.drawLine(right - width - 12, middle, right - width - 5, middle)
            right -= width + 22
        if self._prefix and right > metrics.horizontalAdvance(self._prefix):
            painter.setPen(self._color)
            painter.drawText(right - metrics.horizontalAdvance(self._prefix), baseline, self._prefix)
