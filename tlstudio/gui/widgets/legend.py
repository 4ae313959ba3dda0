"""Names and colours of curves, drawn in one line that never asks for more room than there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

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


_MARKS = {Qt.PenStyle.DashLine: "╍╍", Qt.PenStyle.DotLine: "┅┅"}
"""How lines that are not solid look in a text."""


class Legend(QWidget):
    """Draws entries at the right end; what does not fit is counted, and told in the tooltip."""

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
        self.setToolTip(self._listed())
        self.update()

    def _listed(self) -> str:
        """All entries below each other, each with its line."""
        lines = [escape(self._prefix)] if self._prefix else []
        for entry in self._entries:
            mark = f'<span style="color:{entry.color}"><b>{_MARKS.get(entry.style, "━━")}</b></span>'
            lines.append(f"{mark}&nbsp; {escape(f'{entry.name} {entry.value}'.strip())}")
        return f'<p style="white-space:pre">{"<br>".join(lines)}</p>' if lines else ""

    def sizeHint(self) -> QSize:  # Qt override
        """One line of text."""
        return QSize(60, self.fontMetrics().height() + 2)

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw as many of the first entries as fit, at the right end."""
        painter = QPainter(self)
        metrics = self.fontMetrics()
        texts = [f"{entry.name} {entry.value}".strip() for entry in self._entries]
        widths = [metrics.horizontalAdvance(text) + 22 for text in texts]
        prefix = metrics.horizontalAdvance(self._prefix) + 12 if self._prefix else 0
        shown = len(texts)
        more = ""
        while shown > 1 and sum(widths[:shown]) + prefix + metrics.horizontalAdvance(more) + 6 > self.width():
            shown -= 1
            more = f"+{len(texts) - shown}"
        x = self.width() - sum(widths[:shown]) - prefix - (metrics.horizontalAdvance(more) + 6 if more else 0)
        middle = self.height() // 2
        baseline = middle + (metrics.ascent() - metrics.descent()) // 2
        painter.setPen(self._color)
        if prefix and x >= 0:
            painter.drawText(x, baseline, self._prefix)
        x = max(0, x + prefix)
        for entry, text, width in zip(self._entries[:shown], texts, widths, strict=False):
            painter.setPen(QPen(QColor(entry.color), 2, entry.style))
            painter.drawLine(x + 4, middle, x + 11, middle)
            painter.setPen(self._color)
            room = self.width() - x - 16
            painter.drawText(x + 16, baseline, metrics.elidedText(text, Qt.TextElideMode.ElideRight, room))
            x += width
        if more:
            painter.drawText(x + 4, baseline, more)
