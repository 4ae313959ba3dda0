"""The painted confusion matrix: geometry, keyboard, mouse, words."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from tlstudio.gui.theme import DARK, LIGHT
from tlstudio.gui.widgets.confusion_matrix import ConfusionMatrix, _readable

CLASSES = ("bird", "bug", "哺乳动物")
COUNTS = np.array([[8, 2, 0], [1, 9, 0], [0, 5, 5]])


@pytest.fixture
def matrix(qtbot: QtBot) -> ConfusionMatrix:
    made = ConfusionMatrix("confusion", LIGHT)
    qtbot.addWidget(made)
    made.resize(420, 360)
    made.show_counts(COUNTS, CLASSES)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_a_cell_is_told_in_words(matrix: ConfusionMatrix) -> None:
    assert matrix.sentence(0, 0) == "8 of 10 items of “bird” were recognised (80%)."
    assert matrix.sentence(2, 1) == "5 of 10 items of “哺乳动物” were taken for “bug” (50%)."


def test_a_click_opens_the_cell_under_the_pointer(matrix: ConfusionMatrix, qtbot: QtBot) -> None:
    place = matrix.cell_rect(2, 1).center()
    with qtbot.waitSignal(matrix.cell_opened) as opened:
        qtbot.mouseClick(matrix.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert opened.args == [2, 1]
    assert matrix.current == (2, 1)


def test_a_click_on_the_names_opens_nothing(matrix: ConfusionMatrix, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(matrix.cell_opened):
        qtbot.mouseClick(matrix.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(3, 3))


def test_the_keyboard_moves_within_the_matrix_and_opens(matrix: ConfusionMatrix, qtbot: QtBot) -> None:
    matrix.setFocus()
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Right):
        qtbot.keyClick(matrix, key)
    assert matrix.current == (1, 2)
    qtbot.keyClick(matrix, Qt.Key.Key_Home)
    assert matrix.accessibleDescription() == matrix.sentence(1, 0)
    with qtbot.waitSignal(matrix.cell_opened) as opened:
        qtbot.keyClick(matrix, Qt.Key.Key_Return)
    assert opened.args == [1, 0]


def test_many_classes_scroll_and_the_chosen_cell_is_kept_in_sight(matrix: ConfusionMatrix, qtbot: QtBot) -> None:
    count = 300
    matrix.show_counts(np.eye(count, dtype=np.int64), tuple(f"class {i}" for i in range(count)))
    qtbot.keyClick(matrix, Qt.Key.Key_End)
    area = matrix.cell_rect(*matrix.current)
    assert matrix.current == (0, count - 1)
    assert matrix.viewport().rect().contains(area.center())
    assert not matrix.grab().isNull()


def test_a_class_without_items_has_a_share_of_nought(matrix: ConfusionMatrix) -> None:
    matrix.show_counts(np.array([[0, 0], [0, 3]]), ("a", "b"))
    assert "(0%)" in matrix.sentence(0, 1)


def test_the_diagonal_is_drawn_in_the_accent_of_the_theme(matrix: ConfusionMatrix) -> None:
    for theme in (LIGHT, DARK):
        matrix.set_theme(theme)
        matrix.show_counts(np.array([[4, 0], [0, 4]]), ("a", "b"))
        image = matrix.viewport().grab().toImage()
        corner = matrix.cell_rect(0, 0).topLeft()
        ratio = image.devicePixelRatio()
        found = image.pixelColor(round((corner.x() + 6) * ratio), round((corner.y() + 6) * ratio))
        assert found.name().upper() == theme.accent


def test_figures_are_written_in_the_colour_that_stands_out() -> None:
    assert _readable(QColor("#FFFFFF"), QColor("#000000"), QColor("#FFFFFF")) == QColor("#000000")
    assert _readable(QColor("#103060"), QColor("#000000"), QColor("#FFFFFF")) == QColor("#FFFFFF")
