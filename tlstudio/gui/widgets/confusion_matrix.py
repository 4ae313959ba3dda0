"""The confusion matrix: counts and shares by true and predicted class, painted, with keyboard and mouse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetrics,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip, QWidget

from tlstudio.gui.theme import Theme

_LABEL_SHARE = 0.3
_SMALLEST = (18, 16)
_LARGEST = (104, 72)
_SHARES_FROM = (38, 38)
"""Width and height of a cell from which its share is written below its count."""


class ConfusionMatrix(QAbstractScrollArea):
    """Rows are true classes, columns are predicted ones; the shade is the share of the row.

    Only cells in sight are drawn, so a thousand classes scroll as well as three. The arrow keys move the chosen cell,
    Home and End go along the row, Enter opens it.

    Args:
        name: Object name.
        theme: Colours.
        parent: Parent widget.

    Signals:
        cell_opened(int, int): A cell was clicked or Enter was pressed on it: true class, predicted class.
    """

    cell_opened = Signal(int, int)

    def __init__(self, name: str, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("Confusion matrix"))
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.viewport().setMouseTracking(True)
        self.viewport().setAutoFillBackground(False)
        self._theme = theme
        self._counts: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
        self._shares: NDArray[np.float64] = np.zeros((0, 0))
        self._classes: tuple[str, ...] = ()
        self._current = (0, 0)
        self._hovered: tuple[int, int] | None = None
        self._width, self._height = _SMALLEST
        self._left = 0
        self._top = 0

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self.viewport().update()

    def show_counts(self, counts: NDArray[np.int64], classes: tuple[str, ...]) -> None:
        """Show a matrix.

        Args:
            counts: Items by true (row) and predicted (column) class, ``[K, K]``.
            classes: Names of the K classes.
        """
        self._counts = np.asarray(counts, dtype=np.int64)
        rows = self._counts.sum(axis=1, keepdims=True)
        self._shares = self._counts / np.maximum(rows, 1)
        self._classes = classes
        self._current = (0, 0)
        self._hovered = None
        self._arrange()
        self._tell()

    @property
    def current(self) -> tuple[int, int]:
        """The chosen cell: true class, predicted class."""
        return self._current

    def sentence(self, row: int, column: int) -> str:
        """Say in words what a cell holds."""
        total = int(self._counts[row].sum())
        count = int(self._counts[row, column])
        share = self._shares[row, column]
        if row == column:
            text = self.tr("{0} of {1} items of “{2}” were recognised ({3:.0%}).")
            return text.format(count, total, self._classes[row], share)
        text = self.tr("{0} of {1} items of “{2}” were taken for “{4}” ({3:.0%}).")
        return text.format(count, total, self._classes[row], share, self._classes[column])

    # -- geometry -------------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:  # Qt override
        """Room for all cells at a readable size, up to a limit."""
        side = min(560, max(240, len(self._classes) * 44))
        return QSize(side + 110, side + 90)

    def minimumSizeHint(self) -> QSize:  # Qt override
        """Small; the rest scrolls."""
        return QSize(220, 200)

    def _arrange(self) -> None:
        count = len(self._classes)
        if not count:
            return
        metrics = QFontMetrics(self._name_font())
        widest = max(metrics.horizontalAdvance(name) for name in self._classes)
        room = self.viewport().size()
        self._left = min(widest + 14, max(60, int(room.width() * _LABEL_SHARE)))
        self._width = max(_SMALLEST[0], min(_LARGEST[0], (room.width() - self._left - 2) // count))
        self._top = min(widest + 14, 96) if self._slanted(widest) else metrics.height() + 12
        self._height = max(_SMALLEST[1], min(_LARGEST[1], (room.height() - self._top - 2) // count))
        self._width = min(self._width, max(_SMALLEST[0], round(2.4 * self._height)))
        self._top = min(widest + 14, 96) if self._slanted(widest) else metrics.height() + 12
        for bar, need, have, step in (
            (self.horizontalScrollBar(), self._left + count * self._width, room.width(), self._width),
            (self.verticalScrollBar(), self._top + count * self._height, room.height(), self._height),
        ):
            bar.setRange(0, max(0, need - have + 2))
            bar.setPageStep(have)
            bar.setSingleStep(step)
        self.viewport().update()

    def _name_font(self) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(max(9, min(self.fontInfo().pixelSize(), self._height - 3)))
        return font

    def _slanted(self, widest: int) -> bool:
        return widest > self._width - 6

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt override
        """Fit the cells to the new size."""
        super().resizeEvent(event)
        self._arrange()

    def cell_rect(self, row: int, column: int) -> QRect:
        """Where a cell is in the viewport."""
        x = self._left + column * self._width - self.horizontalScrollBar().value()
        y = self._top + row * self._height - self.verticalScrollBar().value()
        return QRect(x, y, self._width, self._height)

    def _cell_at(self, point: QPoint) -> tuple[int, int] | None:
        if point.x() < self._left or point.y() < self._top:
            return None
        column = (point.x() - self._left + self.horizontalScrollBar().value()) // self._width
        row = (point.y() - self._top + self.verticalScrollBar().value()) // self._height
        count = len(self._classes)
        return (row, column) if row < count and column < count else None

    # -- painting -------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw the cells and names in sight."""
        if not self._classes:
            return
        painter = QPainter(self.viewport())
        count = len(self._classes)
        across, down = self.horizontalScrollBar().value(), self.verticalScrollBar().value()
        first_column = across // self._width
        last_column = min(count, (across + self.viewport().width() - self._left) // self._width + 1)
        first_row = down // self._height
        last_row = min(count, (down + self.viewport().height() - self._top) // self._height + 1)
        painter.save()
        painter.setClipRect(QRect(self._left, self._top, self.viewport().width(), self.viewport().height()))
        for row in range(first_row, last_row):
            for column in range(first_column, last_column):
                self._paint_cell(painter, row, column)
        self._paint_chosen(painter)
        painter.restore()
        self._paint_names(painter, range(first_row, last_row), range(first_column, last_column))

    def _paint_cell(self, painter: QPainter, row: int, column: int) -> None:
        theme = self._theme
        area = self.cell_rect(row, column).adjusted(1, 1, -1, -1)
        share = float(self._shares[row, column])
        number = int(self._counts[row, column])
        base = QColor(theme.accent if row == column else theme.bad)
        ground = QColor(theme.hover)
        if number:
            strength = 0.10 + 0.90 * share
            ground = _blend(QColor(theme.surface), base, strength)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ground)
        painter.drawRoundedRect(area, 3, 3)
        if not number:
            return
        painter.setPen(_readable(ground, QColor(theme.text), QColor(theme.on_accent)))
        font = QFont(self.font())
        if self._width >= _SHARES_FROM[0] and self._height >= _SHARES_FROM[1]:
            painter.setFont(font)
            upper = QRect(area.x(), area.y() + area.height() // 2 - 16, area.width(), 17)
            painter.drawText(upper, Qt.AlignmentFlag.AlignCenter, f"{number:,}")
            font.setPixelSize(max(9, self.fontInfo().pixelSize() - 3))
            painter.setFont(font)
            lower = QRect(area.x(), area.y() + area.height() // 2, area.width(), 16)
            painter.drawText(lower, Qt.AlignmentFlag.AlignCenter, f"{share:.0%}")
        else:
            font.setPixelSize(max(8, min(self.fontInfo().pixelSize() - 1, self._height - 5)))
            painter.setFont(font)
            if painter.fontMetrics().horizontalAdvance(str(number)) <= area.width():
                painter.drawText(area, Qt.AlignmentFlag.AlignCenter, str(number))

    def _paint_chosen(self, painter: QPainter) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._hovered is not None:
            painter.setPen(QPen(QColor(self._theme.second), 1))
            painter.drawRoundedRect(self.cell_rect(*self._hovered).adjusted(1, 1, -2, -2), 3, 3)
        if self.hasFocus():
            painter.setPen(QPen(QColor(self._theme.text), 2))
            painter.drawRoundedRect(self.cell_rect(*self._current).adjusted(2, 2, -2, -2), 3, 3)

    def _paint_names(self, painter: QPainter, rows: range, columns: range) -> None:
        metrics = QFontMetrics(self._name_font())
        painter.setFont(self._name_font())
        lit = self._hovered or (self._current if self.hasFocus() else None)
        painter.save()
        painter.setClipRect(QRect(0, self._top, self._left, self.viewport().height()))
        for row in rows:
            area = self.cell_rect(row, 0)
            painter.setPen(QColor(self._theme.text if lit and lit[0] == row else self._theme.second))
            name = metrics.elidedText(self._classes[row], Qt.TextElideMode.ElideMiddle, self._left - 10)
            painter.drawText(
                QRect(0, area.y(), self._left - 8, area.height()),
                int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
                name,
            )
        painter.restore()
        painter.save()
        painter.setClipRect(QRect(self._left, 0, self.viewport().width(), self._top))
        slanted = self._slanted(max(metrics.horizontalAdvance(name) for name in self._classes))
        for column in columns:
            area = self.cell_rect(0, column)
            painter.setPen(QColor(self._theme.text if lit and lit[1] == column else self._theme.second))
            if slanted:
                name = metrics.elidedText(self._classes[column], Qt.TextElideMode.ElideMiddle, self._top - 10)
                painter.save()
                painter.translate(QPointF(area.center().x() + metrics.ascent() / 2 - 1, self._top - 6))
                painter.rotate(-90)
                painter.drawText(0, 0, name)
                painter.restore()
            else:
                painter.drawText(
                    QRect(area.x(), 0, area.width(), self._top - 4),
                    int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom),
                    self._classes[column],
                )
        painter.restore()

    # -- mouse and keyboard ---------------------------------------------------------------------------------

    def viewportEvent(self, event: QEvent) -> bool:  # Qt override
        """Tell the sentence of the cell under the pointer."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            cell = self._cell_at(event.pos())
            QToolTip.showText(event.globalPos(), self.sentence(*cell) if cell else "", self.viewport())
            return True
        if event.type() == QEvent.Type.Leave:
            self._hovered = None
            self.viewport().update()
        return super().viewportEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Light up the cell under the pointer."""
        cell = self._cell_at(event.position().toPoint())
        if cell != self._hovered:
            self._hovered = cell
            opens = cell is not None and self._counts[cell] > 0
            self.viewport().setCursor(Qt.CursorShape.PointingHandCursor if opens else Qt.CursorShape.ArrowCursor)
            self.viewport().update()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Take the click; the cell opens when the button is let go."""
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Open the cell that was clicked."""
        cell = self._cell_at(event.position().toPoint())
        if cell is not None and event.button() == Qt.MouseButton.LeftButton:
            self._choose(*cell)
            self.cell_opened.emit(*cell)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt override
        """Move the chosen cell, or open it."""
        row, column = self._current
        last = len(self._classes) - 1
        moves = {
            Qt.Key.Key_Left.value: (row, column - 1),
            Qt.Key.Key_Right.value: (row, column + 1),
            Qt.Key.Key_Up.value: (row - 1, column),
            Qt.Key.Key_Down.value: (row + 1, column),
            Qt.Key.Key_Home.value: (row, 0),
            Qt.Key.Key_End.value: (row, last),
        }
        if last < 0:
            super().keyPressEvent(event)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.cell_opened.emit(row, column)
        elif event.key() in moves:
            to_row, to_column = moves[event.key()]
            self._choose(max(0, min(last, to_row)), max(0, min(last, to_column)))
        else:
            super().keyPressEvent(event)

    def _choose(self, row: int, column: int) -> None:
        self._current = (row, column)
        area = self.cell_rect(row, column)
        for bar, low, high, start, end in (
            (self.horizontalScrollBar(), area.left(), area.right(), self._left, self.viewport().width()),
            (self.verticalScrollBar(), area.top(), area.bottom(), self._top, self.viewport().height()),
        ):
            if low < start:
                bar.setValue(bar.value() - (start - low))
            elif high > end:
                bar.setValue(bar.value() + high - end + 2)
        self._tell()
        self.viewport().update()

    def _tell(self) -> None:
        self.setAccessibleDescription(self.sentence(*self._current) if self._classes else "")


def _blend(ground: QColor, color: QColor, strength: float) -> QColor:
    def mix(low: int, high: int) -> int:
        return round(low + (high - low) * strength)

    return QColor(mix(ground.red(), color.red()), mix(ground.green(), color.green()), mix(ground.blue(), color.blue()))


def _readable(ground: QColor, *candidates: QColor) -> QColor:
    """The candidate with the highest contrast on a ground (WCAG 2.2 relative luminance)."""

    def luminance(color: QColor) -> float:
        parts = (color.redF(), color.greenF(), color.blueF())
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(color: QColor) -> float:
        light, dark = sorted((luminance(color), luminance(ground)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    return max(candidates, key=contrast)
