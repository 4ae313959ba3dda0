"""A picture as large as it fits, with classes over it: coloured pixels, or boxes with their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QHelpEvent, QImage, QPainter, QPainterPath, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from tlstudio.api import Box
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme, class_colour

_MOST_TAGS = 40  # boxes beyond which names would only cover each other


@dataclass(frozen=True)
class BoxLayer:
    """Boxes of one kind.

    Attributes:
        boxes: The boxes, in pixels of the whole image.
        dashed: Whether their lines are: those that were expected.
        named: Whether each has its name at its corner.
    """

    boxes: tuple[Box, ...]
    dashed: bool = False
    named: bool = True


@dataclass(frozen=True)
class Marks:
    """What stands over a picture.

    Attributes:
        classes: All classes in their order, by which each has its colour.
        size: Width and height of the whole image, in whose pixels boxes are.
        pixels: Classes of the pixels, as an image of indices; `None`: none.
        layers: Boxes.
    """

    classes: tuple[str, ...] = ()
    size: tuple[int, int] = (1, 1)
    pixels: QImage | None = None
    layers: tuple[BoxLayer, ...] = field(default=())


class Picture(QWidget):
    """Draws an image in the middle, as large as there is room, with round corners.

    Args:
        name: Object name.
        state: Gives the theme.
        height: Fixed height; 0: it takes what there is.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, *, height: int = 0, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        if height:
            self.setFixedHeight(height)
            self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._state = state
        self._pixmap = QPixmap()
        self._overlay = QPixmap()
        self._marks = Marks()
        self._message = ""
        self._strength = 0.5
        state.theme_changed.connect(self._recolour)

    @property
    def marks(self) -> Marks:
        """What stands over the picture."""
        return self._marks

    @property
    def loaded(self) -> bool:
        """Whether there is a picture."""
        return not self._pixmap.isNull()

    def show_picture(self, image: QImage | None, accessible: str, *, message: str = "") -> None:
        """Show an image without marks.

        Args:
            image: The image; `None` or a null one shows nothing.
            accessible: What a screen reader says.
            message: Stands in its place where there is none.
        """
        self._pixmap = QPixmap() if image is None else QPixmap.fromImage(image)
        self._message = message
        self.setAccessibleName(accessible)
        self.show_marks(Marks())

    def show_marks(self, marks: Marks) -> None:
        """Put other marks over the picture."""
        self._marks = marks
        self._recolour()

    def set_strength(self, strength: float) -> None:
        """Say how much of the colours of classes covers the picture, in 0..1."""
        self._strength = strength
        self.update()

    def sizeHint(self) -> QSize:  # Qt override
        """A fair size; it takes what it gets."""
        return QSize(320, 220)

    def _recolour(self) -> None:
        pixels = self._marks.pixels
        self._overlay = QPixmap()
        if pixels is not None:
            coloured = QImage(pixels)
            coloured.setColorTable(colour_table(self._marks.classes, self._state.theme))
            self._overlay = QPixmap.fromImage(coloured)
        self.update()

    def _place(self) -> QRectF:
        """Where the picture lies."""
        fitted = self._pixmap.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        place = QRectF(0, 0, fitted.width(), fitted.height())
        place.moveCenter(QRectF(self.rect()).center())
        return place

    def _on_screen(self, box: Box, place: QRectF) -> QRectF:
        across, down = place.width() / self._marks.size[0], place.height() / self._marks.size[1]
        top_left = QPointF(place.left() + box.left * across, place.top() + box.top * down)
        return QRectF(top_left, QPointF(place.left() + box.right * across, place.top() + box.bottom * down))

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw the picture, then what stands over it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if self._pixmap.isNull():
            if self._message:
                painter.setPen(QColor(self._state.theme.second))
                middle = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
                painter.drawText(self.rect(), middle, self._message)
            painter.end()
            return
        place = self._place()
        corners = QPainterPath()
        corners.addRoundedRect(place, 8, 8)
        painter.setClipPath(corners)
        painter.drawPixmap(place.toRect(), self._pixmap)
        if not self._overlay.isNull():
            painter.setOpacity(self._strength)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
            painter.drawPixmap(place.toRect(), self._overlay)
            painter.setOpacity(1.0)
        count = sum(len(layer.boxes) for layer in self._marks.layers)
        for layer in self._marks.layers:
            self._draw_boxes(painter, layer, place, named=layer.named and count <= _MOST_TAGS)
        painter.end()

    def _draw_boxes(self, painter: QPainter, layer: BoxLayer, place: QRectF, *, named: bool) -> None:
        font = QFont(self.font())
        font.setPixelSize(max(10, self.fontInfo().pixelSize() - 2))
        painter.setFont(font)
        for box in layer.boxes:
            colour = QColor(class_colour(self._state.theme, class_place(self._marks.classes, box.name)))
            area = self._on_screen(box, place)
            # A white line below it: a colour of the picture can then not hide the box.
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(255, 255, 255, 170), 4 if not layer.dashed else 3))
            painter.drawRect(area)
            style = Qt.PenStyle.DashLine if layer.dashed else Qt.PenStyle.SolidLine
            painter.setPen(QPen(colour, 2, style))
            painter.drawRect(area)
        if named:
            for box in layer.boxes:
                self._draw_tag(painter, box, self._on_screen(box, place), place)

    def _draw_tag(self, painter: QPainter, box: Box, area: QRectF, place: QRectF) -> None:
        text = _tag(box)
        metrics = painter.fontMetrics()
        width = metrics.horizontalAdvance(text) + 8
        height = metrics.height() + 2
        left = max(place.left(), min(area.left() - 1, place.right() - width))
        above = area.top() - height
        top = above if above >= place.top() else area.top()
        tag = QRectF(left, top, width, height)
        colour = class_colour(self._state.theme, class_place(self._marks.classes, box.name))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colour))
        painter.drawRoundedRect(tag, 3, 3)
        painter.setPen(QColor(readable_on(colour)))
        painter.drawText(tag, int(Qt.AlignmentFlag.AlignCenter), text)

    def event(self, event: QEvent) -> bool:
        """Tell what is under the pointer."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            told = "" if self._pixmap.isNull() else self._under(QPointF(event.pos()))
            if told:
                QToolTip.showText(event.globalPos(), told, self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def _under(self, point: QPointF) -> str:
        place = self._place()
        boxes = [box for layer in self._marks.layers for box in layer.boxes]
        names = [_tag(box) for box in boxes if self._on_screen(box, place).contains(point)]
        pixels = self._marks.pixels
        if pixels is not None and place.contains(point):
            x = int((point.x() - place.left()) / place.width() * pixels.width())
            y = int((point.y() - place.top()) / place.height() * pixels.height())
            index = pixels.pixelIndex(min(x, pixels.width() - 1), min(y, pixels.height() - 1))
            names += self._marks.classes[index : index + 1]
        return "\n".join(names)


def _tag(box: Box) -> str:
    return box.name if box.score >= 1 else f"{box.name} {box.score * 100:.0f} %"


def is_ground(name: str) -> bool:
    """Whether a class is what lies behind everything: colour over it would only hide the picture."""
    return name.strip("_ ").casefold() in ("background", "bg")


def colour_table(classes: Sequence[str], theme: Theme) -> list[int]:
    """Colours of the values of a mask: each class has its own, the ground and what is unknown have none."""
    table = [0] * 256
    for place, name in enumerate(classes[:255]):
        if not is_ground(name):
            table[place] = QColor(class_colour(theme, place)).rgba()
    return table


def colour_names(classes: Sequence[str], theme: Theme) -> tuple[str, ...]:
    """Colour of each class, and one more for a class that is none of them."""
    return tuple(class_colour(theme, place) for place in range(len(classes) + 1))


def readable_on(colour: str) -> str:
    """Black or white, whichever reads better on a colour (WCAG 2.1, relative luminance)."""
    parts = (QColor(colour).redF(), QColor(colour).greenF(), QColor(colour).blueF())
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#FFFFFF"


def class_place(classes: Sequence[str], name: str) -> int:
    """Place of a class among all of them; behind the last if it is none of them."""
    return classes.index(name) if name in classes else len(classes)
