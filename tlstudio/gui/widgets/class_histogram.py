"""How many samples each class has in each split: one bar a class, as tall as the list needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QLocale, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from tlstudio.api import SPLITS, Split
from tlstudio.gui.state import AppState

ROW = 24
LEGEND = 24


@dataclass(frozen=True)
class ClassBar:
    """One class.

    Attributes:
        name: Its name.
        counts: Samples in train, validation and test.
    """

    name: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Samples in all splits."""
        return sum(self.counts)


class ClassHistogram(QWidget):
    """A stacked bar a class. A click on one asks for its items.

    Signals:
        class_chosen(str): The class whose bar was clicked.
    """

    class_chosen = Signal(str)

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("Samples by class and split"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self._state = state
        self._bars: tuple[ClassBar, ...] = ()
        self._hover = -1
        self._current = -1
        self._titles = {"train": self.tr("train"), "validation": self.tr("validation"), "test": self.tr("test")}
        state.theme_changed.connect(self.update)

    @property
    def bars(self) -> tuple[ClassBar, ...]:
        """What is shown."""
        return self._bars

    def set_counts(self, counts: Mapping[Split, Mapping[str, int]], classes: Sequence[str]) -> None:
        """Show the counts of these classes, in their order."""
        self._bars = tuple(ClassBar(name, tuple(counts[split].get(name, 0) for split in SPLITS)) for name in classes)
        self._hover = self._current = -1
        self.setAccessibleDescription("; ".join(f"{bar.name}: {bar.total}" for bar in self._bars[:100]))
        self.updateGeometry()
        self.update()

    def split_colours(self) -> tuple[QColor, ...]:
        """Colours of train, validation and test: the accent in three strengths."""
        theme = self._state.theme
        accent, ground = QColor(theme.accent), QColor(theme.surface)

        def mixed(share: float) -> QColor:
            return QColor(
                *(
                    round(share * a + (1 - share) * b)
                    for a, b in zip(accent.getRgb()[:3], ground.getRgb()[:3], strict=True)  # type: ignore[index]
                )
            )

        return (accent, mixed(0.55), mixed(0.28))

    def sizeHint(self) -> QSize:  # Qt override
        """A line a class and one for the legend."""
        return QSize(200, LEGEND + ROW * len(self._bars))

    def minimumSizeHint(self) -> QSize:  # Qt override
        """As tall as the hint."""
        return QSize(120, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw legend and the bars that are seen."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme, metrics = self._state.theme, self.fontMetrics()
        colours = self.split_colours()
        self._draw_legend(painter, colours)
        widest = max((metrics.horizontalAdvance(bar.name) for bar in self._bars), default=0)
        names = min(self.width() * 2 // 5, widest + 4)  # glyphs may stand out of what they advance
        locale = QLocale()
        most = max((bar.total for bar in self._bars), default=0) or 1
        figures = metrics.horizontalAdvance(locale.toString(most)) + 4
        room = self.width() - names - figures - 16
        first = max(0, (event.rect().top() - LEGEND) // ROW)
        last = min(len(self._bars), (event.rect().bottom() - LEGEND) // ROW + 1)
        for index in range(first, last):
            bar = self._bars[index]
            y = LEGEND + index * ROW
            if index in (self._hover, self._current if self.hasFocus() else -1):
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(theme.hover))
                painter.drawRoundedRect(QRectF(-4, y, self.width() + 8, ROW), 4, 4)
            painter.setPen(QColor(theme.text))
            label = metrics.elidedText(bar.name, Qt.TextElideMode.ElideRight, names)
            painter.drawText(QRect(0, y, names, ROW), int(Qt.AlignmentFlag.AlignVCenter), label)
            x = float(names + 8)
            painter.setPen(Qt.PenStyle.NoPen)
            for count, colour in zip(bar.counts, colours, strict=True):
                width = room * count / most
                painter.setBrush(colour)
                painter.drawRect(QRectF(x, y + 7, width, ROW - 14))
                x += width
            painter.setPen(QColor(theme.second))
            painter.drawText(
                QRect(self.width() - figures, y, figures, ROW),
                int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
                locale.toString(bar.total),
            )
        painter.end()

    def _draw_legend(self, painter: QPainter, colours: Sequence[QColor]) -> None:
        metrics, x = self.fontMetrics(), 0
        for split, colour in zip(SPLITS, colours, strict=True):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawEllipse(QPointF(x + 4, LEGEND / 2 - 2), 4, 4)
            painter.setPen(QColor(self._state.theme.second))
            title = self._titles[split]
            width = metrics.horizontalAdvance(title)
            painter.drawText(QRect(x + 13, 0, width + 4, LEGEND - 4), int(Qt.AlignmentFlag.AlignVCenter), title)
            x += 13 + width + 16

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Mark the bar under the pointer."""
        self._mark(self._at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:  # Qt override
        """Mark none."""
        self._mark(-1)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Ask for the items of a class."""
        index = self._at(event.position())
        if index >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self._current = index
            self.class_chosen.emit(self._bars[index].name)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt override
        """Go by arrows; Enter asks for the items."""
        key = event.key()
        if key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and self._bars:
            step = 1 if key == Qt.Key.Key_Down else -1
            self._current = max(0, min(len(self._bars) - 1, self._current + step))
            self.update()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and 0 <= self._current < len(self._bars):
            self.class_chosen.emit(self._bars[self._current].name)
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Tell the counts of the bar under the pointer."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            index = self._at(QPointF(event.pos()))
            if index >= 0:
                bar = self._bars[index]
                parts = (f"{self._titles[split]} {count}" for split, count in zip(SPLITS, bar.counts, strict=True))
                QToolTip.showText(event.globalPos(), f"{bar.name}: {', '.join(parts)}", self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def _at(self, point: QPointF) -> int:
        index = int((point.y() - LEGEND) // ROW)
        return index if 0 <= index < len(self._bars) and point.y() >= LEGEND else -1

    def _mark(self, index: int) -> None:
        if index != self._hover:
            self._hover = index
            self.setCursor(Qt.CursorShape.PointingHandCursor if index >= 0 else Qt.CursorShape.ArrowCursor)
            self.update()
