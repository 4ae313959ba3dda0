"""How a sample looks small: an image with its marks, a sound as its waveform, a series as its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage

from tlstudio.api import Box, DataError, Label, Mask, Sample
from tlstudio.data.cells import cells_from
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.image_view import mask_indices
from tlstudio.gui.widgets.picture import class_place, colour_names, is_ground
from tlstudio.gui.widgets.series_view import series_of
from tlstudio.gui.widgets.sound_view import envelope
from tlstudio.gui.widgets.thumbnails import Thumb, as_image, file_thumb

if TYPE_CHECKING:
    from PIL import Image

    from tlstudio.data.revision import Revision

_BARS = 48
_MASK_OPACITY = 128


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
        names, colours = tuple(classes), colour_names(classes, theme)
        return Thumb(f"{path} {key} {theme.name}", lambda edge: marked_picture(path, edge, marks(), names, colours))
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


def marked_picture(path: Path, edge: int, label: Label, classes: Sequence[str], colours: Sequence[str]) -> QImage:
    """Read an image file and draw a mask or boxes over it; a null image if it cannot be read. Needs no window.

    Args:
        path: The image file.
        edge: Longest side in pixels.
        label: The mask or boxes.
        classes: All classes in their order.
        colours: Their colours, and one more for a class that is none of them.
    """
    from PIL import ImageDraw

    from tlstudio.api.images import image_size, open_image

    try:
        picture = open_image(path, at_most=edge)
    except DataError:
        return QImage()
    picture.thumbnail((edge, edge))
    if isinstance(label, Mask) and (values := mask_indices(label, classes)) is not None:
        return as_image(_covered(picture, values, classes, colours))
    if isinstance(label, tuple):
        width, height = image_size(path)
        across, down = picture.width / width, picture.height / height
        draw = ImageDraw.Draw(picture)
        for box in label:
            if isinstance(box, Box):
                area = (box.left * across, box.top * down, box.right * across, box.bottom * down)
                colour = colours[class_place(classes, box.name)]
                draw.rectangle(area, outline=colour, width=max(2, edge // 80))
    return as_image(picture)


def _covered(
    picture: Image.Image, values: NDArray[np.uint8], classes: Sequence[str], colours: Sequence[str]
) -> Image.Image:
    """Lay the colours of a mask over a picture."""
    from PIL import Image, ImageColor

    table = np.zeros((256, 4), dtype=np.uint8)
    for place, (name, colour) in enumerate(zip(classes[:255], colours, strict=False)):
        if not is_ground(name):
            table[place] = (*ImageColor.getrgb(colour)[:3], _MASK_OPACITY)
    layer = Image.fromarray(table[values], "RGBA").resize(picture.size, Image.Resampling.NEAREST)
    picture.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    return picture


def sound_picture(path: Path, edge: int, theme: Theme) -> QImage:
    """Draw the waveform of a sound file; a null image if it cannot be read. Needs no window."""
    from PIL import ImageDraw

    from tlstudio.api.sounds import open_sound

    try:
        sound, _ = open_sound(path, at_most=60.0)
    except DataError:
        return QImage()
    low, high = envelope(sound, _BARS)
    reach = max(float(np.maximum(-low, high).max()), 1e-3)
    picture = _canvas(edge)
    draw = ImageDraw.Draw(picture)
    middle, step = picture.height / 2, picture.width / len(low)
    for number, (down, up) in enumerate(zip(low / reach, high / reach, strict=True)):
        x, half = (number + 0.5) * step, step * 0.3
        top, bottom = middle - up * middle * 0.85, middle - down * middle * 0.85
        area = (x - half, min(top, middle - half), x + half, max(bottom, middle + half))
        draw.rounded_rectangle(area, half, fill=theme.accent)
    return _finished(picture)


def line_picture(values: Sequence[float], edge: int, theme: Theme) -> QImage:
    """Draw a series as a line; a null image if it has no numbers. Needs no window."""
    from PIL import ImageDraw

    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(numbers))
    if not len(finite):
        return QImage()
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    spread = (high - low) or 1.0
    picture = _canvas(edge)
    margin = 8.0
    across = (picture.width - 2 * margin) / max(1, len(numbers) - 1)
    room = picture.height - 2 * margin
    heights = picture.height - margin - (numbers[finite] - low) / spread * room
    points = list(zip((margin + finite * across).tolist(), heights.tolist(), strict=True))
    ImageDraw.Draw(picture).line(points, fill=theme.accent, width=max(2, picture.width // 100), joint="curve")
    return _finished(picture)


def _canvas(edge: int) -> Image.Image:
    """An empty picture of the proportions of a cell, twice as large as it will be: so its lines become smooth."""
    from PIL import Image

    return Image.new("RGBA", (2 * edge, max(2, 2 * edge * 3 // 4)), (0, 0, 0, 0))


def _finished(picture: Image.Image) -> QImage:
    from PIL import Image

    size = (picture.width // 2, picture.height // 2)
    # Weighted by opacity: else the colour of what is transparent, which is black, would fray the lines.
    return as_image(picture.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA"))
