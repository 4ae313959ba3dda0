"""An image with what was marked in it: expected and predicted masks or boxes, a legend, and a slider."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from tlstudio.api import UNLABELLED, Box, Label, Mask
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import class_colour
from tlstudio.gui.widgets.picture import BoxLayer, Marks, Picture, is_ground
from tlstudio.gui.widgets.texts import text_label
from tlstudio.gui.widgets.thumbnails import load_picture
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EDGE = 1200  # pixels of the longest side that is shown
_STRENGTH = 55
_LEAST_SCORE = 30
_MOST_NAMED = 24  # classes of a legend


@dataclass(frozen=True)
class Layers:
    """What was read for an image.

    Attributes:
        picture: The image; null if it cannot be read.
        size: Its whole width and height.
        expected: The mask that was expected, as indices of classes.
        predicted: The mask that was predicted.
        wrong: Where the two differ: 0 there, else nothing.
    """

    picture: QImage
    size: tuple[int, int]
    expected: QImage | None = None
    predicted: QImage | None = None
    wrong: QImage | None = None


class ImageView(QWidget):
    """Shows an image, and masks or boxes over it.

    Args:
        name: Object name.
        state: What the pages share.
        height: Fixed height of the picture; 0: it takes what there is.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, *, height: int = 0, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._state = state
        self._path: Path | None = None
        self._labels: tuple[Label, Label] = (None, None)
        self._classes: tuple[str, ...] = ()
        self._layers: Layers | None = None
        self.picture = Picture(f"{name}_picture", state, height=height)
        self.which = QComboBox()
        self.which.setObjectName(f"{name}_which")
        self.which.setAccessibleName(self.tr("Which mask"))
        for title, key in (
            (self.tr("Predicted"), "predicted"),
            (self.tr("Expected"), "expected"),
            (self.tr("Where they differ"), "wrong"),
        ):
            self.which.addItem(title, key)
        self.which.currentIndexChanged.connect(self._show_marks)
        self._slider_title = text_label("", "small", f"{name}_slider_title")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setObjectName(f"{name}_slider")
        self.slider.setRange(0, 100)
        self.slider.setMinimumWidth(72)
        self.slider.valueChanged.connect(self._slide)
        self.legend = QLabel()
        self.legend.setObjectName(f"{name}_legend")
        self.legend.setProperty("role", "small")
        self.legend.setWordWrap(True)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self._controls = QWidget()
        row = QHBoxLayout(self._controls)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(self.which)
        row.addWidget(self._slider_title)
        row.addWidget(self.slider, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.picture, 0 if height else 1)
        column.addWidget(self._controls)
        column.addWidget(self.legend)
        if height:
            column.addStretch(1)  # the room that is left stays below
        state.theme_changed.connect(self._show_legend)
        self._arrange()

    def show_image(
        self, path: Path, expected: Label = None, predicted: Label = None, classes: Sequence[str] = ()
    ) -> None:
        """Show an image file; it and its masks are read off the window's thread.

        Args:
            path: The file.
            expected: Its label, of which masks and boxes are shown.
            predicted: What was predicted, in the same way.
            classes: All classes in their order.
        """
        same = path == self._path and self._layers is not None
        self._path, self._labels, self._classes = path, (expected, predicted), tuple(classes)
        if not same:
            self.picture.show_picture(None, path.name)
        self._layers = None
        self._arrange()
        names = self._classes

        def read(_context: JobContext) -> Layers:
            return read_layers(path, expected, predicted, names)

        title = self.tr("Opening {0}").format(path.name)
        self._state.jobs.start(read, title, lambda layers: self._take(path, layers), key=self.objectName())

    def clear(self) -> None:
        """Show nothing."""
        self._path, self._layers, self._labels = None, None, (None, None)
        self.picture.show_picture(None, "")
        self._arrange()

    def _take(self, path: Path, layers: Layers) -> None:
        if path == self._path:
            self._layers = layers
            unreadable = self.tr("{0} cannot be read").format(path.name) if layers.picture.isNull() else ""
            self.picture.show_picture(layers.picture, path.name, message=unreadable)
            self._show_marks()

    # What stands over it ----------------------------------------------------------------------------------------

    @property
    def _masks(self) -> bool:
        return any(isinstance(label, Mask) for label in self._labels)

    @property
    def _boxes(self) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
        expected, predicted = (
            tuple(part for part in label if isinstance(part, Box)) if isinstance(label, tuple) else ()
            for label in self._labels
        )
        return expected, predicted

    def _arrange(self) -> None:
        """Show the controls that this kind of label needs."""
        masks, (expected, predicted) = self._masks, self._boxes
        both = masks and all(isinstance(label, Mask) for label in self._labels)
        scored = any(box.score < 1 for box in predicted)
        self.which.setVisible(both)
        self._controls.setVisible(masks or scored)
        title = self.tr("Opacity") if masks else self.tr("Least score")
        self._slider_title.setText(title)
        self.slider.setAccessibleName(title)
        if self.slider.property("of") != title:
            self.slider.setProperty("of", title)
            self.slider.setValue(_STRENGTH if masks else _LEAST_SCORE)
        self.legend.setVisible(masks or bool(expected or predicted))
        self._show_legend()

    def _slide(self) -> None:
        if self._masks:
            self.picture.set_strength(self.slider.value() / 100)
        else:
            self._show_marks()

    def _show_marks(self) -> None:
        layers = self._layers
        if layers is None:
            return
        if self._masks:
            chosen = str(self.which.currentData()) if not self.which.isHidden() else ""
            masks = {"expected": layers.expected, "wrong": layers.wrong}
            shown = masks.get(chosen, layers.predicted or layers.expected)
            classes = (self.tr("wrong"),) if chosen == "wrong" else self._classes
            self.picture.set_strength(self.slider.value() / 100)
            self.picture.show_marks(Marks(classes, layers.size, shown))
        else:
            expected, predicted = self._boxes
            found = self._good_enough(predicted)
            parts = [BoxLayer(expected, dashed=predicted != () or self._labels[1] is not None, named=not found)]
            if found:
                parts.append(BoxLayer(found))
            self.picture.show_marks(Marks(self._classes, layers.size, None, tuple(parts)))
        self._show_legend()

    def _good_enough(self, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
        if all(box.score >= 1 for box in boxes):
            return boxes
        return tuple(box for box in boxes if box.score * 100 >= self.slider.value())

    def _show_legend(self) -> None:
        theme = self._state.theme
        parts = []
        expected, predicted = self._boxes
        if self._masks and not self.which.isHidden() and self.which.currentData() == "wrong":
            names: list[str] = []
            parts.append(_entry(class_colour(theme, 0), self.tr("where the two differ")))
        elif self._masks:
            present = {name for label in self._labels if isinstance(label, Mask) for name in label.names}
            names = [name for name in self._classes if name in present and not is_ground(name)]
        else:
            found = {box.name for box in (*expected, *self._good_enough(predicted))}
            names = [name for name in self._classes if name in found]
        parts += [_entry(class_colour(theme, self._classes.index(name)), name) for name in names[:_MOST_NAMED]]
        if len(names) > _MOST_NAMED:
            parts.append(html.escape(self.tr("and {0} more").format(len(names) - _MOST_NAMED)))
        if self._labels[1] is not None and not self._masks:
            shown = len(self._good_enough(predicted))
            parts.append(self.tr("— predicted ({0} of {1})").format(shown, len(predicted)))
            if self._labels[0] is not None:
                parts.append(self.tr("- - expected ({0})").format(len(expected)))
        # No-break spaces hold a name and its mark together: lines break between two classes only.
        self.legend.setText(" &nbsp; ".join(part.replace(" ", "&nbsp;") if "<" not in part else part for part in parts))
        self.legend.setAccessibleName(", ".join(names))


def _entry(colour: str, name: str) -> str:
    return f'<span style="color:{colour}">&#9632;</span>&nbsp;{html.escape(name).replace(" ", "&nbsp;")}'


def read_layers(path: Path, expected: Label, predicted: Label, classes: Sequence[str]) -> Layers:
    """Read an image and its masks; of what cannot be read there is nothing. Needs no window.

    Args:
        path: The image file.
        expected: Its label.
        predicted: What was predicted.
        classes: All classes in their order.
    """
    from tlstudio.api.images import image_size

    picture = load_picture(path, _EDGE)
    if picture.isNull():
        return Layers(picture, (1, 1))
    size = image_size(path)
    one = mask_indices(expected, classes) if isinstance(expected, Mask) else None
    other = mask_indices(predicted, classes) if isinstance(predicted, Mask) else None
    wrong = None
    if one is not None and other is not None and one.shape == other.shape:
        differs = (one != other) & (one != UNLABELLED)
        wrong = index_image((~differs * UNLABELLED).astype(one.dtype), _EDGE)
    images = [None if values is None else index_image(values, _EDGE) for values in (one, other)]
    return Layers(picture, size, images[0], images[1], wrong)


def mask_indices(mask: Mask, classes: Sequence[str]) -> NDArray[np.uint8] | None:
    """Classes of the pixels of a mask by their place among all, ``[height, width]``; `None` if it is damaged."""
    import numpy as np

    from tlstudio.api import DataError
    from tlstudio.api.masks import mask_values

    try:
        values = mask_values(mask)
    except DataError:
        return None
    place = {name: number for number, name in enumerate(classes[:UNLABELLED])}
    table = np.full(256, UNLABELLED, dtype=np.uint8)
    for value, name in enumerate(mask.names):
        table[value] = place.get(name, UNLABELLED)
    return table[values]


def index_image(values: NDArray[np.uint8], edge: int) -> QImage:
    """Make an image of indices, scaled down to an edge without mixing them.

    Args:
        values: The indices, ``[height, width]``.
        edge: Longest side of the result in pixels.
    """
    import numpy as np

    step = max(1, -(-max(values.shape) // edge))
    part = np.ascontiguousarray(values[::step, ::step])
    height, width = part.shape
    data = part.tobytes()
    return QImage(data, width, height, width, QImage.Format.Format_Indexed8).copy()  # the bytes go with `data`
