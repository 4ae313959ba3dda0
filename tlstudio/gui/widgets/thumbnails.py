"""Small pictures of image files, made off the window's thread and kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QImage, QPixmap

from tlstudio.api import TLStudioError
from tlstudio.api.images import open_image

KEPT = 1500
"""Thumbnails that are kept: at 2x and 120 px about 350 MB at most, at 1x a quarter of that."""
AT_ONCE = 2


def load_picture(path: Path, edge: int) -> QImage:
    """Read an image file at a size of at most so many pixels a side; a null image if it cannot be read."""
    try:
        picture = open_image(path, at_most=edge)
    except TLStudioError:
        return QImage()
    picture.thumbnail((edge, edge))
    data = picture.tobytes("raw", "RGB")
    # copy(): the image must own its pixels, `data` goes when this function ends.
    return QImage(data, picture.width, picture.height, 3 * picture.width, QImage.Format.Format_RGB888).copy()


class ThumbnailLoader(QObject):
    """Makes thumbnails in the background; what is wanted last is made first.

    Args:
        edge: Longest side in pixels of the screen.
        parent: Parent.

    Signals:
        ready(object): The path (a `Path`) whose thumbnail has arrived.
    """

    ready = Signal(object)
    _made = Signal(object)

    def __init__(self, edge: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._edge = edge
        self._cache: OrderedDict[Path, QPixmap] = OrderedDict()
        self._lock = threading.Lock()
        self._wanted: list[Path] = []
        self._working: set[Path] = set()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="thumbnails")
        self._made.connect(self._keep)

    def get(self, path: Path) -> QPixmap | None:
        """Return a thumbnail that is there (a null one if the file cannot be read), or `None`."""
        pixmap = self._cache.get(path)
        if pixmap is not None:
            self._cache.move_to_end(path)
        return pixmap

    def want(self, paths: Sequence[Path]) -> None:
        """Ask for these, the first ones first, and forget what was asked for before."""
        with self._lock:
            wanted = [path for path in paths if path not in self._cache and path not in self._working]
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
        """End the threads; takes as long as one image at most."""
        with self._lock:
            self._wanted.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self) -> None:
        with self._lock:
            if not self._wanted:
                return
            path = self._wanted.pop()
            self._working.add(path)
        self._made.emit((path, load_picture(path, self._edge)))

    @Slot(object)
    def _keep(self, made: object) -> None:
        path, image = cast(tuple[Path, QImage], made)
        with self._lock:
            self._working.discard(path)
        self._cache[path] = QPixmap.fromImage(image)
        while len(self._cache) > KEPT:
            self._cache.popitem(last=False)
        self.ready.emit(path)
