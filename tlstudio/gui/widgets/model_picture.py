"""A picture of a model from input to output: how much of each part learns, and what was put in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFont,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.figures import count_text, setting_text

if TYPE_CHECKING:
    from tlstudio.engine.preflight import GroupPlan

_BLOCK = 52
"""Height of a block."""
_GAP = 8
_LEAST = 4
"""Height of what learns, where it is too little to be seen otherwise."""
_NAMED = 56
"""Blocks at least so wide bear their names."""


class ModelPicture(QWidget):
    """Draws each part as a block, filled from below by the share of its parameters that learns.

    The block under the pointer, or chosen with the arrow keys, is told in the line below.

    Args:
        name: Object name.
        state: Where the theme is.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("What learns, from input to output"))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._state = state
        self._parts: tuple[GroupPlan, ...] = ()
        self._looked_at: int | None = None
        state.theme_changed.connect(self.update)

    @property
    def parts(self) -> tuple[GroupPlan, ...]:
        """What is shown."""
        return self._parts

    def show_parts(self, parts: Sequence[GroupPlan]) -> None:
        """Show the parts of a model, from input to output."""
        self._parts = tuple(parts)
        self._look_at(None)

    def told(self) -> str:
        """The line below: what the block that is looked at is, or what the colours mean."""
        if self._looked_at is None:
            return ""
        part = self._parts[self._looked_at]
        text = self.tr("{0}: {1} of {2} parameters learn").format(
            part.name, count_text(part.trainable), count_text(part.total)
        )
        if not part.trainable:
            text = self.tr("{0}: stays as it is ({1} parameters)").format(part.name, count_text(part.total))
        if part.added:
            text += self.tr(", {0} of them put in by the strategy").format(count_text(part.added))
        if part.trainable:
            text += self.tr(", at a rate of {0}").format(setting_text(float(f"{part.learning_rate:.3g}")))
        if part.perhaps:
            text += self.tr(", if it is in the block that is chosen when the run begins")
        return text

    def sizeHint(self) -> QSize:  # Qt override
        """Blocks, their names, and the line below."""
        line = self.fontMetrics().height()
        return QSize(400, _BLOCK + 2 * line + 14)

    def minimumSizeHint(self) -> QSize:  # Qt override
        """Any width will do."""
        return QSize(120, self.sizeHint().height())

    # -- drawing --------------------------------------------------------------------------------------------

    def _blocks(self) -> list[QRectF]:
        count = len(self._parts)
        if not count:
            return []
        gap = min(float(_GAP), self.width() / (4 * count))
        width = min(120.0, (self.width() - 2 - gap * (count - 1)) / count)
        return [QRectF(1 + number * (width + gap), 1, width, _BLOCK) for number in range(count)]

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw the blocks, their names, and the line below."""
        theme = self._state.theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        blocks, line = self._blocks(), self.fontMetrics().height()
        for number, (block, part) in enumerate(zip(blocks, self._parts, strict=True)):
            if number:
                before = blocks[number - 1]
                painter.setPen(QPen(QColor(theme.faint), 1))
                painter.drawLine(QPointF(before.right(), _BLOCK / 2), QPointF(block.left(), _BLOCK / 2))
            self._paint_block(painter, block, part, looked_at=number == self._looked_at)
        painter.setFont(self.font())
        painter.setPen(QColor(theme.second))
        for number, (block, part) in enumerate(zip(blocks, self._parts, strict=True)):
            if name := self._name_below(number, part, block):
                area = QRectF(block.left(), _BLOCK + 4, block.width(), line)
                centre = int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter)
                if block.width() < _NAMED:  # the ends of a long row
                    at_end = number == len(self._parts) - 1
                    side = Qt.AlignmentFlag.AlignRight if at_end else Qt.AlignmentFlag.AlignLeft
                    centre = int(side | Qt.AlignmentFlag.AlignVCenter)
                    area.setLeft(block.right() - 160 if at_end else block.left())
                    area.setWidth(160)
                painter.drawText(area, centre, name)
        self._paint_line(painter, QRectF(0, _BLOCK + line + 12, self.width(), line), theme)

    def _name_below(self, number: int, part: GroupPlan, block: QRectF) -> str:
        if block.width() >= _NAMED:
            return self.fontMetrics().elidedText(part.name, Qt.TextElideMode.ElideRight, int(block.width()))
        return part.name if number in (0, len(self._parts) - 1) else ""

    def _paint_block(self, painter: QPainter, block: QRectF, part: GroupPlan, *, looked_at: bool) -> None:
        theme = self._state.theme
        shape = QPainterPath()
        round_by = min(6.0, block.width() / 4)
        shape.addRoundedRect(block, round_by, round_by)
        painter.fillPath(shape, QColor(theme.hover))
        painter.save()
        painter.setClipPath(shape)
        added, own = self._height(part, part.added), self._height(part, part.trainable - part.added)
        at = block.bottom()
        for height, color in ((own, theme.accent), (added, added_color(theme))):
            filled = perhaps_color(color) if part.perhaps else QColor(color)
            painter.fillRect(QRectF(block.left(), at - height, block.width(), height), filled)
            at -= height
        painter.restore()
        painter.setPen(QPen(QColor(theme.text if looked_at else theme.line), 1.5 if looked_at else 1))
        painter.drawPath(shape)
        if block.width() >= _NAMED:
            font = QFont(self.font())
            font.setWeight(QFont.Weight.DemiBold)
            painter.setFont(font)
            full = own >= _BLOCK / 2 + painter.fontMetrics().height() / 2 and not part.perhaps
            painter.setPen(QColor(theme.on_accent if full else theme.text if part.trainable else theme.second))
            painter.drawText(block, int(Qt.AlignmentFlag.AlignCenter), count_text(part.trainable))

    def _height(self, part: GroupPlan, learning: int) -> float:
        return max(_LEAST, _BLOCK * learning / part.total) if learning and part.total else 0.0

    def _paint_line(self, painter: QPainter, area: QRectF, theme: Theme) -> None:
        middle = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        metrics = painter.fontMetrics()
        if told := self.told():
            painter.setPen(QColor(theme.text))
            painter.drawText(area, middle, metrics.elidedText(told, Qt.TextElideMode.ElideRight, int(area.width())))
            return
        entries = [(self.tr("learns"), QColor(theme.accent)), (self.tr("stays as it is"), QColor(theme.hover))]
        if any(part.added for part in self._parts):
            entries.insert(1, (self.tr("put in by the strategy, and learns"), QColor(added_color(theme))))
        if any(part.perhaps for part in self._parts):
            entries.insert(1, (self.tr("learns if it is in the block that is chosen"), perhaps_color(theme.accent)))
        x = area.left()
        for text, color in entries:
            mark = QRectF(x + 0.5, area.center().y() - 5, 10, 10)
            painter.setPen(QPen(QColor(theme.line), 1))
            painter.setBrush(color)
            painter.drawRoundedRect(mark, 3, 3)
            painter.setPen(QColor(theme.second))
            painter.drawText(QRectF(x + 16, area.top(), area.width(), area.height()), middle, text)
            x += 16 + metrics.horizontalAdvance(text) + 18

    # -- looking at one -------------------------------------------------------------------------------------

    def _look_at(self, number: int | None) -> None:
        self._looked_at = number
        self.setAccessibleDescription(self.told())
        self.update()

    def _at(self, x: float, y: float) -> int | None:
        blocks = enumerate(self._blocks())
        return next((number for number, block in blocks if block.contains(QPointF(x, y))), None)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Tell the block under the pointer."""
        found = self._at(event.position().x(), event.position().y())
        if found != self._looked_at:
            self._look_at(found)

    def leaveEvent(self, event: QEvent) -> None:  # Qt override
        """Tell what the colours mean again."""
        self._look_at(None)

    def focusInEvent(self, event: QFocusEvent) -> None:  # Qt override
        """Begin with the first block."""
        super().focusInEvent(event)
        self._look_at(0 if self._parts else None)

    def focusOutEvent(self, event: QFocusEvent) -> None:  # Qt override
        """Tell what the colours mean again."""
        super().focusOutEvent(event)
        self._look_at(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt override
        """Go from block to block with the arrow keys."""
        step = {Qt.Key.Key_Left.value: -1, Qt.Key.Key_Right.value: 1}.get(event.key())
        if step is None or not self._parts:
            super().keyPressEvent(event)
            return
        before = -1 if self._looked_at is None else self._looked_at
        self._look_at(max(0, min(len(self._parts) - 1, before + step)))

    def event(self, event: QEvent) -> bool:  # Qt override
        """Show the name of a block that is too narrow for it."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            found = self._at(event.pos().x(), event.pos().y())
            QToolTip.showText(event.globalPos(), self._parts[found].name if found is not None else "", self)
            return True
        return super().event(event)


def added_color(theme: Theme) -> str:
    """The colour of what a strategy has put in."""
    return theme.curves[1]


def perhaps_color(color: str) -> QColor:
    """The fainter colour of what learns only if it is chosen."""
    faint = QColor(color)
    faint.setAlphaF(0.3)
    return faint
