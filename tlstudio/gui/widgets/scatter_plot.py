"""Points on a card: predicted against true values, and what is left over."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QPen
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.plot_axes import SIDES, draw_axes
from tlstudio.gui.widgets.texts import text_label

_MOST_POINTS = 5000


class ScatterPlot(QFrame):
    """Shows points with a reference line; a click on a point opens its item.

    Args:
        name: Object name.
        title: Heading of the card.
        theme: Colours.
        x_title: What x is.
        y_title: What y is.
        slope: Slope of the reference line through the origin: 1 for equal values, 0 for none left over.
        parent: Parent widget.

    Signals:
        opened(str): A point was clicked; carries the id of its item.
    """

    opened = Signal(str)

    def __init__(
        self,
        name: str,
        title: str,
        theme: Theme,
        *,
        x_title: str,
        y_title: str,
        slope: float,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "card")
        self.setAccessibleName(title)
        self._slope = slope
        self._titles = (x_title, y_title)
        # As in the metric plot: it comes with the first plot and has no types.
        self._pg: Any = importlib.import_module("pyqtgraph")
        self._view: Any = self._pg.PlotWidget(self, antialias=False)
        self._view.setObjectName(f"{name}_view")
        self._view.setAccessibleName(title)
        self._view.setFrameShape(QFrame.Shape.NoFrame)
        self._view.setMinimumSize(160, 120)
        plot = self._view.getPlotItem()
        plot.hideButtons()
        plot.setMenuEnabled(False)
        plot.setMouseEnabled(x=False, y=False)
        for side in SIDES:
            axis = plot.getAxis(side)
            axis.setStyle(tickTextOffset=6)
            axis.enableAutoSIPrefix(False)
        self._line = self._pg.PlotCurveItem(antialias=False)
        self._points = self._pg.ScatterPlotItem(size=6, pxMode=True, antialias=True, hoverable=True)
        self._points.sigClicked.connect(self._on_clicked)
        for item in (self._line, self._points):
            plot.addItem(item, ignoreBounds=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 10, 10, 8)
        layout.setSpacing(6)
        layout.addWidget(text_label(title, "section", f"{name}_title"))
        layout.addWidget(self._view, 1)
        self.set_theme(theme)

    def show_points(self, x: NDArray[np.float64], y: NDArray[np.float64], ids: Sequence[str]) -> None:
        """Show points; of very many a regular part.

        Args:
            x: Their x, ``[N]``.
            y: Their y, ``[N]``.
            ids: Ids of their items, in the same order.
        """
        finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        keep = finite[:: max(1, -(-len(finite) // _MOST_POINTS))]
        self._points.setData(x=x[keep], y=y[keep], data=[ids[index] for index in keep])
        if not len(keep):
            self._line.setData([], [])
            return
        left, right = float(x[keep].min()), float(x[keep].max())
        margin = 0.04 * max(right - left, 1e-9)
        ends = np.array([left - margin, right + margin])
        self._line.setData(ends, self._slope * ends)
        low = min(float(y[keep].min()), float((self._slope * ends).min()))
        high = max(float(y[keep].max()), float((self._slope * ends).max()))
        space = 0.05 * max(high - low, 1e-9)
        self._view.getPlotItem().getViewBox().setRange(
            xRange=(float(ends[0]), float(ends[1])), yRange=(low - space, high + space), padding=0
        )
        told = self.tr("{0} points; {1} from left to right, {2} from bottom to top.")
        self.setAccessibleDescription(told.format(len(keep), *self._titles))

    @property
    def count(self) -> int:
        """Number of points that are shown."""
        return len(self._points.points())

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._view.setBackground(theme.surface)
        draw_axes(self._view, theme, max(9, self.fontInfo().pixelSize() - 2))
        for side, title in zip(("bottom", "left"), self._titles, strict=True):
            self._view.getAxis(side).setLabel(title, color=theme.second)
        dots = QColor(theme.curves[0])
        dots.setAlpha(150)
        self._points.setBrush(dots)
        self._points.setPen(None)
        line = QPen(QColor(theme.faint), 1, Qt.PenStyle.DashLine)
        line.setCosmetic(True)
        self._line.setPen(line)

    def _on_clicked(self, _item: Any, points: Any, _event: Any = None) -> None:  # noqa: ANN401  pyqtgraph has no types
        if len(points):
            self.opened.emit(str(points[0].data()))
