"""How a sample looks small: an image with its marks, a sound as its waveform, a series as its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QPolygonF

from tlstudio.api import Box, DataError, Label, Mask, Sample
from tlstudio.data.cells import cells_from
from tlstudio.gui.theme import Theme, class_colour
from tlstudio.gui.widgets.image_view import index_image, mask_indices
from tlstudio.gui.widgets.picture import class_place, colour_table
from tlstudio.gui.widgets.series_view import series_of
from tlstudio.gui.widgets.sound_view import envelope
from tlstudio.gui.widgets.thumbnails import Thumb, file_thumb, load_picture

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

_BARS = 48
_MASK_STRENGTH = 0.5


def sample_thumb(
    sample: Sample,
    theme: Theme,
    *,
    marks: Callable[[], Label] | None = None,
    classes: Sequence[str] = (),
    key: str = "",
) -> Thumb | None:
    """Return how a sample looks small, or `None` where its words tell more.

    Args:
        sample: The sample; its label does not matter.
        theme: Colours.
        marks: Gives the mask or boxes to be drawn over an image, in any thread; `None`: there are none.
        classes: All classes in their order.
        key: Tells the marks of this sample from others over the same image.
    """
    if sample.image is not None:
        path = sample.image
        if marks is None:
            return file_thumb(path)
        names = tuple(classes)
        return Thumb(f"{path} {key} {theme.name}", lambda edge: marked_picture(path, edge, marks(), names, theme))
    if sample.audio is not None:
        sound = sample.audio
        return Thumb(f"{sound} {theme.name}", lambda edge: sound_picture(sound, edge, theme), white=False)
    series = next(iter(series_of(sample.values or {}).values()), ())
    if series:
        return Thumb(f"{key or sample.id} {theme.name}", lambda edge: line_picture(series, edge, theme), white=False)
    return None


def row_thumb(revision: Revision, index: int, theme: Theme) -> Thumb | None:
    """Return how a row of a revision looks small; its label is read only where its picture is made.

    Args:
        revision: The revision.
        index: The row.
        theme: Colours.
    """
    cells = {name: revision.table.column(name)[index].as_py() for name in ("id", "image", "audio", "values")}
    image, audio, values = (cells[name] for name in ("image", "audio", "values"))
    sample = Sample(
        cells["id"],
        image=None if image is None else revision.folder / image,
        audio=None if audio is None else revision.folder / audio,
        values=None if values is None else cells_from(values),
    )
    marked = revision.label_kind in ("mask", "boxes")
    key = f"{revision.folder} {index}"
    marks = (lambda: revision.label(index)) if marked else None
    return sample_thumb(sample, theme, marks=marks, classes=revision.classes, key=key)


def marked_picture(path: Path, edge: int, label: Label, classes: Sequence[str], theme: Theme) -> QImage:
    """Read an image file and draw a mask or boxes over it; a null image if it cannot be read. Needs no window."""
    picture = load_picture(path, edge)
    if picture.isNull():
        return picture
    picture = picture.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)
    painter = QPainter(picture)
    area = QRectF(0, 0, picture.width(), picture.height())
    if isinstance(label, Mask) and (values := mask_indices(label, classes)) is not None:
        overlay = index_image(values, edge)
        overlay.setColorTable(colour_table(classes, theme))
        painter.setOpacity(_MASK_STRENGTH)
        painter.drawImage(area, overlay)
    elif isinstance(label, tuple):
        from tlstudio.api.images import image_size

        width, height = image_size(path)
        across, down = picture.width() / width, picture.height() / height
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for box in label:
            if isinstance(box, Box):
                colour = QColor(class_colour(theme, class_place(classes, box.name)))
                painter.setPen(QPen(colour, max(1.5, edge / 90)))
                corner = QPointF(box.left * across, box.top * down)
                painter.drawRect(QRectF(corner, QPointF(box.right * across, box.bottom * down)))
    painter.end()
    return picture


def sound_picture(path: Path, edge: int, theme: Theme) -> QImage:
    """Draw the waveform of a sound file; a null image if it cannot be read. Needs no window."""
    from tlstudio.api.sounds import open_sound

    try:
        sound, _ = open_sound(path)
    except DataError:
        return QImage()
    low, high = envelope(sound, _BARS)
    reach = max(float(np.maximum(-low, high).max()), 1e-3)
    picture, painter = _canvas(edge)
    painter.setPen(QPen(QColor(theme.accent), edge / _BARS * 0.55, cap=Qt.PenCapStyle.RoundCap))
    middle, step = picture.height() / 2, edge / len(low)
    for number, (down, up) in enumerate(zip(low / reach, high / reach, strict=True)):
        x = (number + 0.5) * step
        painter.drawLine(QPointF(x, middle - up * middle * 0.85), QPointF(x, middle - down * middle * 0.85))
    painter.end()
    return picture


def line_picture(values: Sequence[float], edge: int, theme: Theme) -> QImage:
    """Draw a series as a line; a null image if it has no numbers. Needs no window."""
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(numbers))
    if not len(finite):
        return QImage()
    picture, painter = _canvas(edge)
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    spread = (high - low) or 1.0
    height, margin = picture.height(), 4.0
    across = (edge - 2 * margin) / max(1, len(numbers) - 1)
    line = QPolygonF(
        [
            QPointF(margin + place * across, height - margin - (numbers[place] - low) / spread * (height - 2 * margin))
            for place in finite.tolist()
        ]
    )
    painter.setPen(QPen(QColor(theme.accent), max(1.5, edge / 110)))
    painter.drawPolyline(line)
    painter.end()
    return picture


def _canvas(edge: int) -> tuple[QImage, QPainter]:
    """An empty picture of the proportions of a cell, and a painter on it."""
    picture = QImage(edge, max(1, edge * 3 // 4), QImage.Format.Format_ARGB32_Premultiplied)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    return picture, painter
