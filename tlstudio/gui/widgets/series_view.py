"""A series: what was, how it went on, and how it was said to go on."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPen
from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.api import Cell
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.legend import Legend, LegendEntry
from tlstudio.gui.widgets.plot_axes import SIDES, draw_axes


class SeriesView(QWidget):
    """Draws the series of a sample; what is expected and what is predicted stand behind their end.

    Args:
        name: Object name.
        state: Gives the theme.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("Series"))
        self._state = state
        self._shown: tuple[dict[str, tuple[float, ...]], Sequence[float], Sequence[float]] = ({}, (), ())
        # pyqtgraph has no types, and takes half a second to import: it comes with the first plot.
        self._pg: Any = importlib.import_module("pyqtgraph")
        self._view: Any = self._pg.PlotWidget(background=None)
        self._view.setObjectName(f"{name}_plot")
        self._view.setAccessibleName(self.tr("Series"))
        self._view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._view.setMenuEnabled(False)
        self._view.setMouseEnabled(x=False, y=False)
        self._view.hideButtons()
        self._view.setStyleSheet("background: transparent; border: 0;")
        self._view.setMinimumHeight(110)
        self._now: Any = self._pg.InfiniteLine(pos=0, angle=90)
        self.legend = Legend(f"{name}_legend")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.legend)
        column.addWidget(self._view, 1)
        state.theme_changed.connect(self._draw)

    def show_series(
        self, series: Mapping[str, Sequence[float]], expected: Sequence[float] = (), predicted: Sequence[float] = ()
    ) -> None:
        """Show series.

        Args:
            series: Numbers in the order of time, by name; all end at the same time.
            expected: How the first of them went on.
            predicted: How it was said to go on.
        """
        self._shown = ({name: tuple(values) for name, values in series.items()}, tuple(expected), tuple(predicted))
        self._draw()

    def _draw(self) -> None:
        series = self._shown[0]
        expected, predicted = (tuple(values) for values in self._shown[1:])
        theme = self._state.theme
        plot = self._view.getPlotItem()
        plot.clear()
        plot.addItem(self._now, ignoreBounds=True)
        self._now.setPen(self._pg.mkPen(theme.line))
        self._now.setVisible(bool(expected or predicted))
        entries = []
        last: tuple[float, ...] = ()
        for place, (name, values) in enumerate(series.items()):
            color = theme.second if place == 0 else theme.curves[(place + 1) % len(theme.curves)]
            steps = np.arange(1 - len(values), 1, dtype=np.float64)
            self._curve(steps, values, color, Qt.PenStyle.SolidLine)
            entries.append(LegendEntry(name, color))
            last = last or values[-1:]
        for title, values, color, style in (
            (self.tr("expected"), expected, theme.curves[0], Qt.PenStyle.SolidLine),
            (self.tr("predicted"), predicted, theme.curves[5], Qt.PenStyle.DashLine),
        ):
            if values:
                steps = np.arange(1 - len(last), len(values) + 1, dtype=np.float64)
                self._curve(steps, (*last, *values), color, style)
                entries.append(LegendEntry(title, color, style))
        self.legend.set_theme(theme)
        self.legend.show_entries(entries)
        before = max(map(len, series.values()), default=0)
        told = self.tr("{0} steps before, {1} after").format(before, len(predicted or expected))
        self._view.setAccessibleDescription(told)
        draw_axes(self._view, theme, max(10, self.fontInfo().pixelSize() - 3))
        for side in SIDES:
            self._view.getAxis(side).enableAutoSIPrefix(False)
        plot.enableAutoRange()

    def _curve(self, steps: Any, values: Sequence[float], color: str, style: Qt.PenStyle) -> None:  # noqa: ANN401
        pen = QPen(QColor(color), 1.5 if style == Qt.PenStyle.SolidLine else 2, style)
        pen.setCosmetic(True)
        self._view.plot(steps, np.asarray(values, dtype=np.float64), pen=pen, connect="finite", antialias=True)


def series_of(values: Mapping[str, Cell]) -> dict[str, tuple[float, ...]]:
    """The columns of a row that hold numbers in the order of time."""
    return {name: cell for name, cell in values.items() if isinstance(cell, tuple)}
