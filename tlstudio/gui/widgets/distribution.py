"""How many samples have which size: a small histogram."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.plot_axes import draw_axes

BINS = 30
HEIGHT = 132


class Distribution(QWidget):
    """A histogram of numbers; where they span more than two decades the axis is logarithmic.

    Args:
        name: Object name.
        state: Where the theme is.
        accessible: What a screen reader says.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, accessible: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setFixedHeight(HEIGHT)
        self._state = state
        # pyqtgraph has no types, and takes half a second to import: it comes with the first plot.
        self._pg: Any = importlib.import_module("pyqtgraph")
        self._plot: Any = self._pg.PlotWidget(background=None)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setMenuEnabled(False)
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.hideButtons()
        # Else its viewport is filled with the colour of the window, not of the card.
        self._plot.setStyleSheet("background: transparent; border: 0;")
        self._bars: Any = self._pg.BarGraphItem(x=[], height=[], width=1)
        self._plot.addItem(self._bars)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        state.theme_changed.connect(self._recolour)
        self._recolour()

    def set_values(self, values: npt.NDArray[np.float64]) -> None:
        """Show how these are distributed."""
        if not values.size:
            self._bars.setOpts(x=[], height=[], width=1)
            return
        low, high = float(values.min()), float(values.max())
        logarithmic = low > 0 and high / low > 100
        shown = np.log10(values) if logarithmic else values
        bins = min(BINS, max(1, len(np.unique(shown))))
        heights, edges = np.histogram(shown, bins=bins)
        self._plot.getAxis("bottom").setLogMode(logarithmic)
        width = float(edges[1] - edges[0])
        self._bars.setOpts(x=(edges[:-1] + edges[1:]) / 2, height=heights, width=width * 0.86)
        self._plot.setRange(
            xRange=(float(edges[0]) - width / 2, float(edges[-1]) + width / 2),
            yRange=(0, float(heights.max()) * 1.05),
            padding=0,
        )

    @Slot()
    def _recolour(self) -> None:
        theme = self._state.theme
        self._bars.setOpts(brush=QColor(theme.accent), pen=self._pg.mkPen(None))
        draw_axes(self._plot, theme, max(10, self.font().pixelSize() - 2), tick=-4)
        self._plot.getAxis("left").setWidth(36)
