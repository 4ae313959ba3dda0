"""The gallery draws only what is seen; thumbnails come from threads and are kept while there is room."""

from __future__ import annotations

import time
from pathlib import Path

from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.gallery import Gallery, Tile
from tlstudio.gui.widgets.thumbnails import Thumb, ThumbnailLoader, file_thumb, load_picture


def test_a_million_items_are_drawn_by_asking_only_for_those_that_are_seen(state: AppState, qtbot: QtBot) -> None:
    gallery = Gallery("gallery", state)
    qtbot.addWidget(gallery, before_close_func=lambda each: each.close_loader())
    gallery.resize(800, 600)
    asked: list[int] = []

    def tile(position: int) -> Tile:
        asked.append(position)
        return Tile(None, f"text {position}", "label")

    gallery.set_items(1_000_000, tile, images=False)
    gallery.show()
    qtbot.waitUntil(lambda: bool(asked))
    start = time.perf_counter()
    gallery.verticalScrollBar().setValue(gallery.verticalScrollBar().maximum())
    gallery.grab()
    assert max(asked) == 999_999
    assert len(set(asked)) < 200
    assert time.perf_counter() - start < 2


def test_the_gallery_is_walked_and_selected_by_keyboard_and_mouse(state: AppState, qtbot: QtBot) -> None:
    gallery = Gallery("gallery", state)
    qtbot.addWidget(gallery, before_close_func=lambda each: each.close_loader())
    gallery.resize(620, 400)
    gallery.set_items(10, lambda position: Tile(None, str(position), ""), images=True)
    gallery.show()
    for key, current in (
        (Qt.Key.Key_Right, 0),
        (Qt.Key.Key_Right, 1),
        (Qt.Key.Key_Down, 5),
        (Qt.Key.Key_End, 9),
        (Qt.Key.Key_Home, 0),
    ):
        qtbot.keyClick(gallery, key)
        assert gallery.current == current
    qtbot.keyClick(gallery, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert gallery.selected == [0, 1]
    qtbot.keyClick(gallery, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert len(gallery.selected) == 10
    qtbot.keyClick(gallery, Qt.Key.Key_Escape)
    assert gallery.selected == []
    with qtbot.waitSignal(gallery.activated) as activated:
        qtbot.mouseDClick(gallery.viewport(), Qt.MouseButton.LeftButton, pos=gallery._rect(2).center())
    assert activated.args == [2]


def test_a_picture_that_cannot_be_made_is_told_and_the_next_one_comes(qtbot: QtBot) -> None:
    def fail(_edge: int) -> QImage:
        raise KeyError("its label is damaged")

    thumbs = [Thumb("damaged", fail), Thumb("whole", lambda edge: QImage(edge, edge, QImage.Format.Format_RGB888))]
    loader = ThumbnailLoader(8)
    loader.want(thumbs)
    qtbot.waitUntil(lambda: all(loader.get(thumb) is not None for thumb in thumbs))
    pictures = [loader.get(thumb) for thumb in thumbs]
    assert [picture is not None and picture.isNull() for picture in pictures] == [True, False]
    loader.close()


def test_thumbnails_are_made_in_the_background_newest_wish_first(qtbot: QtBot, tmp_path: Path) -> None:
    thumbs = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (300, 200), (number * 20, 0, 0)).save(path)
        thumbs.append(file_thumb(path))
    loader = ThumbnailLoader(64)
    assert loader.get(thumbs[0]) is None
    loader.want(thumbs)
    qtbot.waitUntil(lambda: all(loader.get(thumb) is not None for thumb in thumbs))
    pixmap = loader.get(thumbs[3])
    assert pixmap is not None
    assert (pixmap.width(), pixmap.height()) == (64, 43)
    loader.close()


def test_a_file_that_cannot_be_read_gives_an_empty_picture(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert load_picture(tmp_path / "bad.png", 64).isNull()
    assert load_picture(tmp_path / "gone.png", 64).isNull()
