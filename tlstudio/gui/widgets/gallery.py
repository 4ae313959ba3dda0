"""A grid of samples, pictures or texts. Only what is seen is drawn, so a million scroll as smoothly as ten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetrics,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.texts import draw_lines
from tlstudio.gui.widgets.thumbnails import Thumb, ThumbnailLoader

Indices = npt.NDArray[np.int64]

GAP = 12
IMAGE_CELL = QSize(132, 132)
TEXT_CELL = QSize(264, 116)
MARGIN = 15


@dataclass(frozen=True)
class Tile:
    """What one cell shows.

    Attributes:
        thumb: Its small picture, or `None` for a text.
        text: The text of a text sample (its beginning will do).
        caption: Line below: the label.
        corner: Short mark at the end of that line: the split.
    """

    thumb: Thumb | None
    text: str
    caption: str
    corner: str = ""


class Gallery(QAbstractScrollArea):
    """A virtual grid with selection by mouse and keyboard.

    Args:
        name: Object name.
        state: Where the theme is.
        parent: Parent widget.

    Signals:
        current_changed(int): Position of the item that is now current, -1 for none.
        activated(int): Position of an item that was double-clicked or had Enter pressed on it.
    """

    current_changed = Signal(int)
    activated = Signal(int)

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("Gallery"))
        self.setProperty("role", "bare")
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setMouseTracking(True)
        self.viewport().setAutoFillBackground(False)
        self._state = state
        self._count = 0
        self._tile: Callable[[int], Tile] | None = None
        self._images = True
        self._current = -1
        self._selected: set[int] = set()
        self._hover = -1
        self._anchor = -1
        self._loader = ThumbnailLoader(self._edge(), self)
        self._loader.ready.connect(self._picture_ready)
        self.verticalScrollBar().valueChanged.connect(self._scrolled)
        state.theme_changed.connect(self.viewport().update)

    def set_items(self, count: int, tile: Callable[[int], Tile], *, images: bool) -> None:
        """Show other items.

        Args:
            count: Number of items.
            tile: Gives the content of a cell by position; called only for cells that are seen.
            images: Whether cells are made for pictures, else for texts.
        """
        self._count, self._tile, self._images = count, tile, images
        self._selected.clear()
        self._current = self._anchor = self._hover = -1
        self.verticalScrollBar().setValue(0)
        self._measure()
        self.viewport().update()
        self.current_changed.emit(-1)

    @property
    def count(self) -> int:
        """Number of items."""
        return self._count

    @property
    def current(self) -> int:
        """Position of the current item, -1 for none."""
        return self._current

    @property
    def selected(self) -> list[int]:
        """Positions of the selected items, in order."""
        return sorted(self._selected)

    def set_current(self, position: int, *, extend: bool = False, toggle: bool = False) -> None:
        """Make an item current, select it, and scroll to it.

        Args:
            position: Its position; -1 selects nothing.
            extend: Select everything between it and the anchor.
            toggle: Add it to the selection or take it out.
        """
        if not -1 <= position < self._count:
            return
        if toggle and position >= 0:
            self._selected ^= {position}
            self._anchor = position
        elif extend and self._anchor >= 0:
            low, high = sorted((self._anchor, position))
            self._selected = set(range(low, high + 1))
        else:
            self._selected = {position} if position >= 0 else set()
            self._anchor = position
        self._current = position
        if position >= 0:
            self._scroll_to(position)
        self.viewport().update()
        self.current_changed.emit(position)

    def close_loader(self) -> None:
        """End the threads that make thumbnails."""
        self._loader.close()

    # Geometry ---------------------------------------------------------------------------------------------------

    def _edge(self) -> int:
        return round(IMAGE_CELL.width() * 1.25 * self.devicePixelRatioF())

    def _columns(self) -> int:
        least = (IMAGE_CELL if self._images else TEXT_CELL).width()
        return max(1, (self.viewport().width() - 2 * MARGIN + GAP) // (least + GAP))

    def _cell(self) -> QSize:
        """Size of a cell: as wide as the columns allow; a picture is square and has its caption below."""
        columns = self._columns()
        width = (self.viewport().width() - 2 * MARGIN + GAP) // columns - GAP
        if not self._images:
            return QSize(width, TEXT_CELL.height())
        side = min(width, round(IMAGE_CELL.width() * 1.25))
        return QSize(width, side * 3 // 4 + self.fontMetrics().height() + 8)

    def _measure(self) -> None:
        rows = -(-self._count // self._columns())
        height = rows * (self._cell().height() + GAP) - GAP + 2 * MARGIN
        bar = self.verticalScrollBar()
        bar.setRange(0, max(0, height - self.viewport().height()))
        bar.setPageStep(self.viewport().height())
        bar.setSingleStep(self._cell().height() // 2)

    def _rect(self, position: int) -> QRect:
        cell = self._cell()
        row, column = divmod(position, self._columns())
        x = MARGIN + column * (cell.width() + GAP)
        y = MARGIN + row * (cell.height() + GAP) - self.verticalScrollBar().value()
        return QRect(QPoint(x, y), cell)

    def _visible(self) -> range:
        step = self._cell().height() + GAP
        top = self.verticalScrollBar().value() - MARGIN
        first = max(0, top // step) * self._columns()
        last = ((top + self.viewport().height()) // step + 1) * self._columns()
        return range(first, min(self._count, last))

    def _position_at(self, point: QPoint) -> int:
        return next((position for position in self._visible() if self._rect(position).contains(point)), -1)

    def _scroll_to(self, position: int) -> None:
        rect, bar = self._rect(position), self.verticalScrollBar()
        if rect.top() < MARGIN:
            bar.setValue(bar.value() + rect.top() - MARGIN)
        elif rect.bottom() > self.viewport().height() - MARGIN:
            bar.setValue(bar.value() + rect.bottom() - self.viewport().height() + MARGIN)

    # Events -----------------------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt override
        """Break the lines anew."""
        super().resizeEvent(event)
        self._loader.set_edge(self._edge())
        self._measure()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Select."""
        if event.button() == Qt.MouseButton.LeftButton:
            keys = event.modifiers()
            self.set_current(
                self._position_at(event.position().toPoint()),
                extend=bool(keys & Qt.KeyboardModifier.ShiftModifier),
                toggle=bool(keys & Qt.KeyboardModifier.ControlModifier),
            )

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Activate."""
        position = self._position_at(event.position().toPoint())
        if position >= 0:
            self.activated.emit(position)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # Qt override
        """Mark what the pointer is on."""
        hover = self._position_at(event.position().toPoint())
        if hover != self._hover:
            self._hover = hover
            self.viewport().update()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt override
        """Go by arrows, pages, Home and End; Enter activates; Ctrl+A selects all; Escape nothing."""
        columns = self._columns()
        page = columns * max(1, self.viewport().height() // (self._cell().height() + GAP))
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -columns,
            Qt.Key.Key_Down: columns,
            Qt.Key.Key_PageUp: -page,
            Qt.Key.Key_PageDown: page,
            Qt.Key.Key_Home: -self._count,
            Qt.Key.Key_End: self._count,
        }
        key = Qt.Key(event.key())
        if self._count and key in steps:
            target = 0 if self._current < 0 else self._current + steps[key]
            extend = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.set_current(max(0, min(self._count - 1, target)), extend=extend)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._current >= 0:
            self.activated.emit(self._current)
        elif key == Qt.Key.Key_A and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._selected = set(range(self._count))
            self.viewport().update()
        elif key == Qt.Key.Key_Escape:
            self.set_current(-1)
        else:
            super().keyPressEvent(event)

    @Slot()
    def _scrolled(self) -> None:
        self.viewport().update()

    @Slot(object)
    def _picture_ready(self, _thumb: object) -> None:
        self.viewport().update()

    # Drawing ----------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw the cells that are seen, and ask for the pictures that are not there yet."""
        if self._tile is None:
            return
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        wanted: list[Thumb] = []
        for position in self._visible():
            tile = self._tile(position)
            rect = self._rect(position)
            if self._images:
                if tile.thumb is not None and self._loader.get(tile.thumb) is None:
                    wanted.append(tile.thumb)
                self._draw_picture(painter, rect, tile, position)
            else:
                self._draw_text(painter, rect, tile, position)
        painter.end()
        self._loader.want(wanted)

    def _frame(self, painter: QPainter, rect: QRectF, position: int, *, white: bool = False) -> None:
        theme = self._state.theme
        chosen = position in self._selected
        line = theme.accent if chosen else theme.faint if position == self._hover else theme.line
        if white and theme.name == "dark" and not chosen and position != self._hover:
            # A picture's ground is white: a dark line around it would only fray its corners.
            return
        width = 2.0 if chosen else 1.0
        inset = width / 2
        painter.setPen(QPen(QColor(line), width))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(rect.adjusted(inset, inset, -inset, -inset), 8, 8)
        if chosen and position == self._current and self.hasFocus() and len(self._selected) > 1:
            painter.setPen(QPen(QColor(theme.accent), 1, Qt.PenStyle.DotLine))
            painter.drawRoundedRect(rect.adjusted(4, 4, -4, -4), 6, 6)

    def _draw_picture(self, painter: QPainter, rect: QRect, tile: Tile, position: int) -> None:
        theme, metrics = self._state.theme, self.fontMetrics()
        foot = metrics.height() + 8
        box = QRectF(rect.x(), rect.y(), rect.width(), rect.height() - foot)
        path = QPainterPath()
        path.addRoundedRect(box, 8, 8)
        # Photographs stand on white in both themes: most have a white ground of their own.
        white = tile.thumb is None or tile.thumb.white
        painter.fillPath(path, QColor("#FFFFFF" if white else theme.ground))
        pixmap = self._loader.get(tile.thumb) if tile.thumb is not None else None
        if pixmap is not None and not pixmap.isNull():
            inner = box.adjusted(6, 6, -6, -6)
            size = QSize(pixmap.width(), pixmap.height()).scaled(
                inner.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio
            )
            target = QRectF(0, 0, size.width(), size.height())
            target.moveCenter(inner.center())
            painter.drawPixmap(target.toRect(), pixmap)
        elif pixmap is not None:
            painter.setPen(QColor(theme.bad))
            painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), self.tr("cannot be read"))
        self._frame(painter, box, position, white=white)
        line = QRect(rect.x() + 2, rect.bottom() - foot + 5, rect.width() - 4, metrics.height())
        self._draw_caption(painter, line, tile, metrics)

    def _draw_text(self, painter: QPainter, rect: QRect, tile: Tile, position: int) -> None:
        theme, metrics = self._state.theme, self.fontMetrics()
        box = QRectF(rect)
        path = QPainterPath()
        path.addRoundedRect(box, 8, 8)
        painter.fillPath(path, QColor(theme.surface))
        self._frame(painter, box, position)
        inner = rect.adjusted(12, 10, -12, -10)
        font = painter.font()
        strong = QFont(font)
        strong.setWeight(QFont.Weight.DemiBold)
        painter.setFont(strong)
        line = QRect(inner.topLeft(), QSize(inner.width(), metrics.height()))
        self._draw_caption(painter, line, tile, QFontMetrics(strong))
        painter.setFont(font)
        top = inner.top() + metrics.height() + 6
        painter.setPen(QColor(theme.second))
        draw_lines(painter, tile.text, QRect(inner.left(), top, inner.width(), inner.bottom() - top), metrics)

    def _draw_caption(self, painter: QPainter, line: QRect, tile: Tile, metrics: QFontMetrics) -> None:
        theme = self._state.theme
        corner_width = metrics.horizontalAdvance(tile.corner) if tile.corner else 0
        painter.setPen(QColor(theme.second))
        if tile.corner:
            strong = painter.font()
            painter.setFont(self.font())
            painter.drawText(line, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), tile.corner)
            painter.setFont(strong)
        room = line.width() - corner_width - (8 if corner_width else 0)
        painter.setPen(QColor(theme.text))
        text = metrics.elidedText(tile.caption, Qt.TextElideMode.ElideRight, room)
        painter.drawText(line, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)
