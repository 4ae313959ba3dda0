"""Colours, fonts, icons and the style sheet: how the studio looks, in light and in dark.

A widget says what it is through the dynamic property ``role`` (see `set_role`); how that looks is written once in
``resources/style/tlstudio.qss``, in which ``@name`` stands for a field of `Theme` or for a size of the system font.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QWidget


@dataclass(frozen=True)
class Theme:
    """The colours of one appearance, as ``#RRGGBB``.

    Attributes:
        name: ``"light"`` or ``"dark"``.
        ground: Behind everything.
        surface: Cards, fields, the rail and the bars.
        line: Hairlines.
        text: Text that matters.
        second: Text that explains. The faintest that text may be: 4.5 to 1 on ground and surface.
        faint: Marks and disabled things; too faint for text.
        accent: The one colour of action.
        accent_soft: Ground of what is chosen.
        accent_text: Text in the accent's colour, readable on `ground`, `surface` and `accent_soft`.
        good: All is well.
        caution: Look at this.
        bad: Wrong, or dangerous.
        on_accent: Text on `accent`.
        hover: Ground of what the pointer is on.
        curves: Colours of curves, which colour-blind people can tell apart (Okabe and Ito, 2008).
    """

    name: str
    ground: str
    surface: str
    line: str
    text: str
    second: str
    faint: str
    accent: str
    accent_soft: str
    accent_text: str
    good: str
    caution: str
    bad: str
    on_accent: str
    hover: str
    curves: tuple[str, ...]


LIGHT = Theme(
    name="light",
    ground="#F6F7F9",
    surface="#FFFFFF",
    line="#E4E7EC",
    text="#1A1F29",
    second="#667085",
    faint="#98A2B3",
    accent="#2F6FED",
    accent_soft="#EAF1FE",
    accent_text="#275FD3",
    good="#12805C",
    caution="#B25E09",
    bad="#C4320A",
    on_accent="#FFFFFF",
    hover="#F1F3F6",
    curves=("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"),
)
DARK = Theme(
    name="dark",
    ground="#12151A",
    surface="#1A1E25",
    line="#2A303A",
    text="#E8EBF1",
    second="#9BA5B4",
    faint="#667085",
    accent="#6B9DFF",
    accent_soft="#1E2B45",
    accent_text="#6B9DFF",
    good="#4CC38A",
    caution="#F0A94A",
    bad="#FF8A65",
    on_accent="#12151A",
    hover="#222730",
    curves=("#56B4E9", "#E69F00", "#2FD39B", "#E3A3C6", "#8CCBF2", "#FF8A4C"),
)

SYSTEM = "system"
_FONTS_THAT_SAY_NOTHING = {"", "sans", "sans serif", "sans-serif", "dejavu sans", "bitstream vera sans", "helvetica"}
_GOOD_FONTS = ("Inter", "Noto Sans", "Cantarell", "Ubuntu", "Open Sans", "Liberation Sans")


def resource_folder() -> Path:
    """Return the folder of icons, style and demo data."""
    return Path(import_module("tlstudio_resources").__path__[0])


def system_theme() -> Theme:
    """Return the appearance that the desktop asks for; light where it does not say."""
    dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
    return DARK if dark else LIGHT


def chosen_theme(choice: str) -> Theme:
    """Return the theme of a choice: ``"light"``, ``"dark"`` or ``"system"``."""
    return {"light": LIGHT, "dark": DARK}.get(choice) or system_theme()


def ui_font() -> QFont:
    """Return the system's own font, with figures that all have one width so that changing numbers stand still.

    A bare X server names no font; then the best one that is installed is taken.
    """
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    if font.family().casefold() in _FONTS_THAT_SAY_NOTHING:
        installed = set(QFontDatabase.families())
        family = next((name for name in _GOOD_FONTS if name in installed), "")
        if family:
            font.setFamily(family)
    font.setPixelSize(base_size(font))
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def mono_font() -> QFont:
    """Return the system's font of fixed width, one size below the text."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPixelSize(base_size(QGuiApplication.font()) - 1)
    return font


def base_size(font: QFont) -> int:
    """Return the size of ordinary text in pixels, from the size that the desktop asks for: 13 to 18."""
    pixels = font.pixelSize()
    if pixels <= 0:
        points = font.pointSizeF()
        pixels = round(points * 96 / 72) if points > 0 else 13
    return max(13, min(18, pixels))


def palette(theme: Theme) -> QPalette:
    """Return the palette that goes with the style sheet, for everything that the sheet does not name."""
    roles = QPalette.ColorRole
    colours = {
        roles.Window: theme.ground,
        roles.WindowText: theme.text,
        roles.Base: theme.surface,
        roles.AlternateBase: theme.hover,
        roles.Text: theme.text,
        roles.PlaceholderText: theme.second,
        roles.Button: theme.surface,
        roles.ButtonText: theme.text,
        roles.BrightText: theme.bad,
        roles.ToolTipBase: theme.text,
        roles.ToolTipText: theme.surface,
        roles.Highlight: theme.accent,
        roles.HighlightedText: theme.on_accent,
        roles.Accent: theme.accent,
        roles.Link: theme.accent_text,
        roles.LinkVisited: theme.accent_text,
        roles.Light: theme.surface,
        roles.Midlight: theme.line,
        roles.Mid: theme.line,
        roles.Dark: theme.faint,
        roles.Shadow: theme.faint,
    }
    result = QPalette()
    for role, colour in colours.items():
        result.setColor(role, QColor(colour))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        result.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme.faint))
    return result


def stylesheet(theme: Theme, base: int = 13) -> str:
    """Fill the style sheet with a theme's colours and with sizes around that of ordinary text.

    Args:
        theme: The colours.
        base: Size of ordinary text in pixels.
    """
    folder = resource_folder() / "style"
    words = {field.name: str(getattr(theme, field.name)) for field in fields(theme) if field.name != "curves"}
    words |= {
        "size": f"{base}px",
        "small": f"{base - 1}px",
        "tiny": f"{base - 2}px",
        "section_size": f"{base}px",
        "mark_size": f"{base + 2}px",
        "heading_size": f"{base + 3}px",
        "title_size": f"{base + 7}px",
        "figure_size": f"{base + 9}px",
        "images": (folder / theme.name).as_posix(),
    }
    text = (folder / "tlstudio.qss").read_text(encoding="utf-8")
    return re.sub(r"@([a-z_]+)", lambda match: words[match.group(1)], text)


def mixed(one: str, other: str, share: float) -> str:
    """Mix two colours.

    Args:
        one: A colour.
        other: Another one.
        share: Part of the first, in 0..1.
    """
    a, b = QColor(one), QColor(other)
    pairs = ((a.red(), b.red()), (a.green(), b.green()), (a.blue(), b.blue()))
    return QColor(*(round(share * x + (1 - share) * y) for x, y in pairs)).name()


def class_colour(theme: Theme, place: int) -> str:
    """Return the colour of a class by its place: one of the curves, and beyond these the same ones stronger or paler.

    Args:
        theme: The appearance.
        place: Its place among the classes, from 0.
    """
    turn, colour = divmod(place, len(theme.curves))
    if turn == 0:
        return theme.curves[colour]
    return mixed(theme.curves[colour], theme.text if turn % 2 else theme.surface, 0.6 if turn < 3 else 0.4)


@lru_cache(maxsize=512)
def icon(name: str, color: str, size: int = 18) -> QIcon:
    """Return a line icon of ``resources/icons`` in a colour, sharp at every scale.

    Args:
        name: File name without ``.svg``.
        color: The colour of its lines.
        size: Edge in device-independent pixels.
    """
    result = QIcon()
    for scale in (1, 2, 3):
        result.addPixmap(icon_pixmap(name, color, size, scale))
    return result


def icon_pixmap(name: str, color: str, size: int, scale: float = 1.0) -> QPixmap:
    """Draw a line icon.

    Args:
        name: File name without ``.svg``.
        color: The colour of its lines.
        size: Edge in device-independent pixels.
        scale: Device pixels to one of these.
    """
    source = (resource_folder() / "icons" / f"{name}.svg").read_bytes().replace(b"currentColor", color.encode())
    renderer = QSvgRenderer(QByteArray(source))
    edge = max(1, round(size * scale))
    pixmap = QPixmap(QSize(edge, edge))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    renderer.render(painter, QRectF(0, 0, edge, edge))
    painter.end()
    pixmap.setDevicePixelRatio(scale)
    return pixmap


def set_role(widget: QWidget, role: str) -> None:
    """Say what a widget is, and let the style sheet draw it accordingly.

    Labels: ``title``, ``section``, ``caption``, ``figure``, ``second``, ``small``, ``good``, ``caution``, ``bad``.
    Buttons: ``primary``, ``secondary``, ``quiet``, ``link``, ``danger``. Frames: ``card``, ``rail``, ``topbar``,
    ``statusbar``, ``chip``, ``sheet``.
    """
    if widget.property("role") == role:
        return
    widget.setProperty("role", role)
    style = widget.style()
    style.unpolish(widget)
    style.polish(widget)
