"""The look: contrast, icons, style sheet, fonts, live switching."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPalette
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import (
    DARK,
    LIGHT,
    Theme,
    base_size,
    icon_pixmap,
    resource_folder,
    set_role,
    stylesheet,
    ui_font,
)

TEXT_ON_GROUND = [
    (text, ground) for text in ("text", "second", "accent_text", "bad", "good") for ground in ("ground", "surface")
] + [("accent_text", "accent_soft"), ("text", "accent_soft"), ("on_accent", "accent"), ("text", "hover")]


def luminance(colour: str) -> float:
    shade = QColor(colour)
    parts = [part / 255 for part in (shade.red(), shade.green(), shade.blue())]
    red, green, blue = (p / 12.92 if p <= 0.03928 else float(((p + 0.055) / 1.055) ** 2.4) for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(theme: Theme, text: str, ground: str) -> None:
    light, dark = sorted((luminance(getattr(theme, text)), luminance(getattr(theme, ground))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_icon_draws_something_in_the_colour_asked_for(qapp: QApplication) -> None:
    names = [path.stem for path in (resource_folder() / "icons").glob("*.svg") if path.stem != "tlstudio"]
    assert len(names) > 20
    for name in names:
        image = icon_pixmap(name, "#FF0000", 32).toImage()
        pixels = [image.pixelColor(x, y) for x in range(32) for y in range(32)]
        drawn = [pixel for pixel in pixels if pixel.alpha() > 200]
        assert drawn, name
        assert all(pixel.red() > 200 and pixel.green() < 60 for pixel in drawn), name


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_the_style_sheet_is_filled_and_its_images_are_there(theme: Theme) -> None:
    sheet = stylesheet(theme, 14)
    assert "@" not in re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    images = [Path(match) for match in re.findall(r'url\("([^"]+)"\)', sheet)]
    assert images
    assert all(path.is_file() for path in images)


def test_the_size_of_text_follows_the_system_within_limits() -> None:
    font = QFont()
    for asked, given in ((8, 13), (15, 15), (40, 18)):
        font.setPixelSize(asked)
        assert base_size(font) == given


def test_figures_have_one_width_also_under_the_style_sheet(state: AppState, qtbot: QtBot) -> None:
    assert [bytes(tag.toString().data()) for tag in ui_font().featureTags()] == [b"tnum"]
    label = QLabel("1")
    qtbot.addWidget(label)
    set_role(label, "figure")
    label.ensurePolished()
    widths = [QFontMetricsF(label.font()).horizontalAdvance(digit) for digit in "0123456789"]
    assert max(widths) - min(widths) < 0.1


def test_the_theme_switches_while_the_window_is_open(state: AppState, qtbot: QtBot) -> None:
    with qtbot.waitSignal(state.theme_changed):
        state.set_theme_choice("dark")
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    assert app.palette().color(QPalette.ColorRole.Window) == QColor(DARK.ground)
    state.set_theme_choice("light")
    assert app.palette().color(QPalette.ColorRole.Window) == QColor(LIGHT.ground)
    assert state.theme_choice == "light"
