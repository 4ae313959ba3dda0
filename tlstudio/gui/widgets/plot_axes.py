"""The axes of all plots: their colours, the size of their numbers, and room for the outermost of these."""

from __future__ import annotations

from typing import Any

from PySide6.QtGui import QColor, QFont, QFontMetrics, QPen

from tlstudio.gui.theme import Theme

SIDES = ("left", "bottom")


def draw_axes(view: Any, theme: Theme, size: int, *, tick: int = 0) -> None:  # noqa: ANN401  pyqtgraph has no types
    """Draw the axes of a plot at its left and below it.

    Args:
        view: A plot of pyqtgraph.
        theme: The colours.
        size: Height of the numbers in pixels.
        tick: Length of the ticks in pixels; below 0 they point outwards.
    """
    font = QFont(view.font())
    font.setPixelSize(size)
    pen = QPen(QColor(theme.line), 1)
    pen.setCosmetic(True)
    for side in SIDES:
        axis = view.getAxis(side)
        axis.setPen(pen)
        axis.setTextPen(QColor(theme.second))
        axis.setStyle(tickLength=tick, tickFont=font)
    # A number is centred at its tick: of one at the end of an axis, half stands beyond it.
    metrics = QFontMetrics(font)
    view.getPlotItem().setContentsMargins(0, metrics.height() // 2 + 1, metrics.horizontalAdvance("000") // 2, 0)
