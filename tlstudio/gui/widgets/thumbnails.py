"""Small pictures of samples, made off the window's thread and kept while there is room."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QImage, QPixmap

from tlstudio.api import TLStudioError
from tlstudio.api.images import open_image

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

KEPT = 1500
"""Thumbnails that are kept: at 2x and 120 px about 350 MB at most, at 1x a quarter of that."""
AT_ONCE = 2


@dataclass(frozen=True)
class Thumb:
    """A small picture that can be made.

    Attributes:
        key: Two of the same key look the same.
        make: Makes it with so many pixels a side at most, in any thread; a null image if it cannot.
        white: Whether it lies on white in both themes, as photographs and drawings do.
    """

    key: str
    make: Callable[[int], QImage] = field(compare=False)
    white: bool = True


def load_picture(path: Path, edge: int) -> QImage:
    """Read an image file at a size of at most so many pixels a side; a null image if it cannot be read."""
    try:
        picture = open_image(path, at_most=edge)
    except TLStudioError:
        return QImage()
    picture.thumbnail((edge, edge))
    return as_image(picture)


def as_image(picture: Image.Image) -> QImage:
    """Turn a picture with or without transparency into one of Qt; no painter, so it may be done in any thread."""
    clear = picture.mode == "RGBA"
    data = picture.tobytes()
    kind = QImage.Format.Format_RGBA8888 if clear else QImage.Format.Format_RGB888
    # copy(): the image must own its pixels, `data` goes when this function ends.
    return QImage(data, picture.width, picture.height, (4 if clear else 3) * picture.width, kind).copy()


def file_thumb(path: Path) -> Thumb:
    """The small picture of an image file."""
    return Thumb(str(path), lambda edge: load_picture(path, edge))


class ThumbnailLoader(QObject):
    """Makes thumbnails in the background; what is wanted last is made first.

    Args:
        edge: Longest side in pixels of the screen.
        parent: Parent.

    Signals:
        ready(object): The `Thumb` whose picture has arrived.
    """

    ready = Signal(object)
    _made = Signal(object)

    def __init__(self, edge: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._edge = edge
        self._cache: OrderedDict[Thumb, QPixmap] = OrderedDict()
        self._lock = threading.Lock()
        self._wanted: list[Thumb] = []
        self._working: set[Thumb] = set()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="thumbnails")
        self._made.connect(self._keep)

    def get(self, thumb: Thumb) -> QPixmap | None:
        """Return a picture that is there (a null one if it cannot be made), or `None`."""
        pixmap = self._cache.get(thumb)
        if pixmap is not None:
            self._cache.move_to_end(thumb)
        return pixmap

    def want(self, thumbs: Sequence[Thumb]) -> None:
        """Ask for these, the first ones first, and forget what was asked for before."""
        with self._lock:
            wanted = [thumb for thumb in thumbs if thumb not in self._cache and thumb not in self._working]
            fresh = len(wanted) - len(self._wanted)
            self._wanted = list(reversed(wanted))
        for _ in range(max(0, fresh)):
            self._pool.submit(self._work)

    def set_edge(self, edge: int) -> None:
        """Make them at another size from now on."""
        if edge != self._edge:
            self._edge = edge
            self._cache.clear()

    def close(self) -> None:
        """End the threads; takes as long as one picture at most."""
        with self._lock:
            self._wanted.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self) -> None:
        with self._lock:
            if not self._wanted:
                return
            thumb = self._wanted.pop()
            self._working.add(thumb)
        try:
            image = thumb.make(self._edge)
        except Exception:  # of whatever kind: its cell says that it cannot be read, and the others go on
            log.exception("thumbnail %s", thumb.key)
            image = QImage()
        self._made.emit((thumb, image))

    @Slot(object)
    def _keep(self, made: object) -> None:
        thumb, image = cast(tuple[Thumb, QImage], made)
        with self._lock:
            self._working.discard(thumb)
        self._cache[thumb] = QPixmap.fromImage(image)
        while len(self._cache) > KEPT:
            self._cache.popitem(last=False)
        self.ready.emit(thumb)
