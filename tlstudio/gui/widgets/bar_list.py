"""Names with horizontal bars: classes with their counts, predictions with their confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QAbstractScrollArea, QWidget

from tlstudio.gui.state import AppState


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        name: What it is of.
        share: Its length, in 0..1.
        text: The figure at its end.
        strong: Whether it is the one that matters.
        other: Length of a thin bar below it, of what it is compared with; `None`: of nothing.
    """

    name: str
    share: float
    text: str
    strong: bool = False
    other: float | None = None


class BarList(QAbstractScrollArea):
    """Draws only the bars in sight; long lists go into columns where the width allows it, then scroll.

    Args:
        name: Object name.
        state: Where the theme is.
        accessible: What a screen reader says; the figures follow as its description.
        row_height: Height of a bar with its name, in device-independent pixels.
        columns: Most columns that are made.
        parent: Parent widget.
    """

    def __init__(
        self,
        name: str,
        state: AppState,
        accessible: str,
        *,
        row_height: int = 24,
        columns: int = 3,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        self._state = state
        self._row = row_height
        self._most_columns = columns
        self._bars: tuple[Bar, ...] = ()
        state.theme_changed.connect(self.viewport().update)

    @property
    def bars(self) -> tuple[Bar, ...]:
        """What is shown."""
        return self._bars

    def show_bars(self, bars: Sequence[Bar]) -> None:
        """Show other bars, in their order."""
        self._bars = tuple(bars)
        told = ", ".join(_told(bar) for bar in self._bars[:20])
        self.setAccessibleDescription(told)
        self._arrange()
        self.updateGeometry()
        self.viewport().update()

    def sizeHint(self) -> QSize:  # Qt override
        """Room for all bars in the columns that fit, up to a limit."""
        rows = -(-max(1, len(self._bars)) // self._columns())
        return QSize(240, min(rows, 14) * self._row + 4)

    def minimumSizeHint(self) -> QSize:  # Qt override
        """A few bars; the rest scrolls."""
        rows = -(-max(1, len(self._bars)) // self._columns())
        return QSize(160, min(rows, 4) * self._row + 4)

    def _columns(self) -> int:
        if len(self._bars) <= 6:
            return 1
        return max(1, min(self._most_columns, self.viewport().width() // 250))

    def _arrange(self) -> None:
        rows = -(-len(self._bars) // self._columns())
        bar = self.verticalScrollBar()
        bar.setRange(0, max(0, rows * self._row - self.viewport().height()))
        bar.setPageStep(self.viewport().height())
        bar.setSingleStep(self._row)

    def resizeEvent(self, event: object) -> None:  # Qt override
        """Share the room out anew."""
        self._arrange()

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw the bars in sight."""
        if not self._bars:
            return
        theme = self._state.theme
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        columns = self._columns()
        rows = -(-len(self._bars) // columns)
        gap = 28
        width = (self.viewport().width() - gap * (columns - 1)) // columns
        strong_font = QFont(self.font())
        strong_font.setWeight(QFont.Weight.DemiBold)
        widest = QFontMetrics(strong_font)
        names = max(widest.horizontalAdvance(bar.name) for bar in self._bars) + 12
        names = min(names, max(60, int(width * 0.42)))
        figures = max(widest.horizontalAdvance(bar.text) for bar in self._bars) + 10
        offset = self.verticalScrollBar().value()
        for number, bar in enumerate(self._bars):
            x = (number // rows) * (width + gap)
            y = (number % rows) * self._row - offset
            if y > self.viewport().height() or y + self._row < 0:
                continue
            painter.setFont(strong_font if bar.strong else self.font())
            painter.setPen(QColor(theme.text if bar.strong else theme.second))
            name = painter.fontMetrics().elidedText(bar.name, Qt.TextElideMode.ElideRight, names - 8)
            line = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
            painter.drawText(QRectF(x, y, names, self._row), line, name)
            room = max(8, width - names - figures)
            thick = 6.0 if self._row < 30 else 10.0
            track = QRectF(x + names, y + (self._row - thick) / 2, room, thick)
            if bar.other is not None:
                track.translate(0, -2)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.hover))
            painter.drawRoundedRect(track, thick / 2, thick / 2)
            # Cut by the track and not drawn from its edge: so a share of 1 % looks smaller than one of 3 %, which a
            # bar with two round ends cannot.
            inside = QPainterPath()
            inside.addRoundedRect(track, thick / 2, thick / 2)
            painter.save()
            painter.setClipPath(inside)
            painter.setBrush(QColor(theme.accent))
            width_now = track.width() * min(1.0, bar.share)
            painter.drawRoundedRect(track.adjusted(-thick, 0, width_now - track.width(), 0), thick / 2, thick / 2)
            painter.restore()
            if bar.other is not None:
                painter.setBrush(QColor(theme.second))
                below = QRectF(track.left(), track.bottom() + 2, track.width() * min(1.0, bar.other), 3)
                painter.drawRoundedRect(below, 1.5, 1.5)
            painter.setPen(QColor(theme.text))
            line = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight)
            painter.drawText(QRectF(x + width - figures, y, figures, self._row), line, bar.text)


def _told(bar: Bar) -> str:
    return f"{bar.name} {bar.text}" if bar.other is None else f"{bar.name} {bar.text} ({bar.other:.1%})"
