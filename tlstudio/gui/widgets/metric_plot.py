"""A card with curves: cheap to feed while a run goes, with a crosshair that tells the values."""

from __future__ import annotations

import importlib
import math
from typing import Any, Protocol

from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPen
from PySide6.QtWidgets import QApplication, QFrame, QHBoxLayout, QMenu, QVBoxLayout, QWidget

from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.curve import Curve
from tlstudio.gui.widgets.figures import number_text
from tlstudio.gui.widgets.legend import Legend, LegendEntry
from tlstudio.gui.widgets.plot_axes import SIDES, draw_axes
from tlstudio.gui.widgets.texts import text_label

_FEW_POINTS = 128
"""Curves of at most so many points are drawn smooth and a little stronger."""
_FINE_WIDTH = 1.6


class Pointed(Protocol):
    """A point as Qt gives it."""

    def x(self) -> float:
        """Its x."""

    def y(self) -> float:
        """Its y."""


class MetricPlot(QFrame):
    """Plots curves over a common x.

    Points may be added at any rate: nothing is drawn before `flush`, which redraws only curves that have changed
    and moves the axes only when the data leave them.

    Args:
        name: Object name.
        title: Heading of the card.
        theme: Colours.
        x_title: What x is, for the crosshair and the accessible description; else epochs, which are whole numbers.
        parent: Parent widget.

    Signals:
        pointed(object): The x under the crosshair, or `None` when the pointer has left.
    """

    pointed = Signal(object)

    def __init__(
        self, name: str, title: str, theme: Theme, *, x_title: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "card")
        self.setAccessibleName(title)
        self._theme = theme
        self._x_title = x_title or self.tr("epoch")
        self._least_step = 0.0 if x_title else 1.0
        self._curves: dict[str, Curve] = {}
        self._styles: dict[str, tuple[int | str, Qt.PenStyle]] = {}
        self._items: dict[str, Any] = {}
        self._changed: set[str] = set()
        self._range: tuple[float, float, float, float] | None = None
        self._growing = False
        self._best: tuple[float, float] | None = None
        self._logarithmic = False
        self._ceiling: float | None = None
        self._cross_x: float | None = None

        self.title_label = text_label(title, "section", f"{name}_title")
        self._legend = Legend(f"{name}_legend")
        self.head = QHBoxLayout()
        self.head.setContentsMargins(0, 0, 0, 0)
        self.head.addWidget(self.title_label)
        self.head.addWidget(self._legend, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 10, 10, 8)
        layout.setSpacing(6)
        layout.addLayout(self.head)

        # pyqtgraph takes half a second to import and has no types: it comes with the first plot.
        self._pg: Any = importlib.import_module("pyqtgraph")
        self._view: Any = self._make_view()
        self._empty = text_label(self.tr("No values yet"), "second", f"{name}_empty")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout.addWidget(self._view, 1)
        layout.addWidget(self._empty, 1)
        self._show_emptiness()
        self.set_theme(theme)

    def _make_view(self) -> Any:  # noqa: ANN401  pyqtgraph has no types
        pg = self._pg
        view = pg.PlotWidget(self, antialias=False)
        view.setObjectName(f"{self.objectName()}_view")
        view.setAccessibleName(self.title_label.text())
        view.setFrameShape(QFrame.Shape.NoFrame)
        view.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        view.setMinimumSize(120, 90)
        plot = view.getPlotItem()
        plot.hideButtons()
        plot.setMenuEnabled(False)
        plot.setMouseEnabled(x=False, y=False)
        box = plot.getViewBox()
        box.disableAutoRange()
        box.setDefaultPadding(0.0)
        for side in SIDES:
            axis = plot.getAxis(side)
            axis.setStyle(tickTextOffset=6, autoExpandTextSpace=True)
            axis.enableAutoSIPrefix(False)
        self._line = pg.InfiniteLine(angle=90, movable=False)
        self._best_line = pg.InfiniteLine(angle=90, movable=False)
        self._best_dot = pg.ScatterPlotItem(size=8, antialias=True)
        for item in (self._best_line, self._best_dot, self._line):
            item.setVisible(False)
            item.setZValue(10)
            plot.addItem(item, ignoreBounds=True)
        view.scene().sigMouseMoved.connect(self._on_mouse)
        view.installEventFilter(self)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._open_menu)
        return view

    # -- data -----------------------------------------------------------------------------------------------

    def add_curve(self, key: str, *, color: int | str, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> None:
        """Announce a curve; does nothing if it is there.

        Args:
            key: Its name in the legend.
            color: Index into the theme's curve colours, or a colour of its own.
            style: Line style.
        """
        if key not in self._curves:
            self._curves[key] = Curve()
            self._styles[key] = (color, style)
            self._items[key] = self._pg.PlotCurveItem(antialias=False, skipFiniteCheck=True)
            self._view.getPlotItem().addItem(self._items[key], ignoreBounds=True)
            self._items[key].setPen(self._pen(key))
            self._show_legend()

    def append(self, key: str, x: float, y: float) -> None:
        """Add a point to an announced curve; drawn at the next `flush`."""
        self._curves[key].append(x, y)
        self._changed.add(key)

    def set_points(self, key: str, x: Any, y: Any) -> None:  # noqa: ANN401  whatever numpy takes
        """Replace all points of an announced curve."""
        self.replace_curve(key, Curve(x, y))

    def replace_curve(self, key: str, curve: Curve) -> None:
        """Draw other points for an announced curve, kept by somebody else; also said when these have changed."""
        self._curves[key] = curve
        self._changed.add(key)

    def curve(self, key: str) -> Curve:
        """Return the points of a curve."""
        return self._curves[key]

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the curves in the order of the legend."""
        return tuple(self._curves)

    def set_growing(self, growing: bool) -> None:
        """Leave some room at the end of x, so that the axis need not move with each new point, or none."""
        self._growing = growing
        self._range = None
        self._changed.update(self._curves)

    def mark_best(self, x: float, y: float) -> None:
        """Mark the best point with a dot and a dashed line."""
        self._best = (x, y)
        self._place_best()

    def clear(self) -> None:
        """Forget all curves and marks."""
        for item in self._items.values():
            self._view.getPlotItem().removeItem(item)
        self._curves.clear()
        self._items.clear()
        self._styles.clear()
        self._changed.clear()
        self._range, self._best, self._cross_x = None, None, None
        for item in (self._best_line, self._best_dot, self._line):
            item.setVisible(False)
        self._show_legend()
        self._show_emptiness()

    def flush(self) -> bool:
        """Draw what has changed since the last call; returns whether anything had."""
        if not self._changed:
            return False
        columns = max(64, min(600, int(self._view.width())))
        for key in self._changed:
            x, y = self._curves[key].thinned(columns)
            if self._logarithmic:
                positive = y > 0
                x, y = x[positive], y[positive]
                y = _log10(y)
            self._items[key].setPen(self._pen(key))
            self._items[key].setData(x, y, antialias=self._is_short(key))
        self._changed.clear()
        self._show_emptiness()
        self._fit()
        return True

    def _show_emptiness(self) -> None:
        """Say that there is nothing instead of drawing axes of nothing."""
        filled = any(len(curve) for curve in self._curves.values())
        self._view.setVisible(filled)
        self._empty.setHidden(filled)

    # -- looks ----------------------------------------------------------------------------------------------

    def set_title(self, title: str, ceiling: float | None = None) -> None:
        """Change the heading.

        Args:
            title: The heading.
            ceiling: What y cannot exceed, such as 1 for a share: the axis has no numbers above it.
        """
        self._ceiling = ceiling
        self.title_label.setText(title)
        self.setAccessibleName(title)
        self._view.setAccessibleName(title)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self._view.setBackground(theme.surface)
        draw_axes(self._view, theme, max(9, self.fontInfo().pixelSize() - 2))
        for key, item in self._items.items():
            item.setPen(self._pen(key))
        self._line.setPen(self._cosmetic(theme.faint))
        self._best_line.setPen(self._cosmetic(theme.faint, Qt.PenStyle.DashLine))
        self._best_dot.setBrush(QColor(theme.caution))
        self._best_dot.setPen(self._cosmetic(theme.surface))
        self._legend.set_theme(theme)
        self._show_legend()

    def set_logarithmic(self, logarithmic: bool) -> None:
        """Draw y on a logarithmic axis or not."""
        self._logarithmic = logarithmic
        self._view.getPlotItem().getAxis("left").setLogMode(logarithmic)
        self._range = None
        self._changed.update(self._curves)
        self.flush()
        self._place_best()

    def values_text(self) -> str:
        """All points as tab-separated text, one row a point."""
        rows = [f"curve\t{self._x_title}\tvalue"]
        for key, curve in self._curves.items():
            rows += [f"{key}\t{x:.6g}\t{y:.6g}" for x, y in zip(curve.x, curve.y, strict=True)]
        return "\n".join(rows)

    def _cosmetic(self, color: str, style: Qt.PenStyle = Qt.PenStyle.SolidLine, width: float = 1.0) -> QPen:
        pen = QPen(QColor(color), width, style)
        pen.setCosmetic(True)
        return pen

    def _color(self, key: str) -> str:
        color = self._styles[key][0]
        return self._theme.curves[color % len(self._theme.curves)] if isinstance(color, int) else color

    def _pen(self, key: str) -> QPen:
        # More than one device pixel is many times slower to draw: that is for curves of few points alone.
        width = _FINE_WIDTH * self.devicePixelRatioF() if self._is_short(key) else 1.0
        return self._cosmetic(self._color(key), self._styles[key][1], width)

    def _is_short(self, key: str) -> bool:
        return len(self._curves[key]) <= _FEW_POINTS

    def _show_legend(self) -> None:
        entries = []
        for key, curve in self._curves.items():
            value = ""
            if self._cross_x is not None and len(curve):
                value = number_text(float(curve.y[curve.nearest(self._cross_x)]))
            entries.append(LegendEntry(key, self._color(key), self._styles[key][1], value))
        prefix = "" if self._cross_x is None else f"{self._x_title} {self._cross_x:.4g}"
        self._legend.show_entries(entries, prefix)

    def _fit(self) -> None:
        filled = [curve for curve in self._curves.values() if len(curve)]
        if not filled:
            return
        left = min(float(curve.x[0]) for curve in filled)
        right = max(float(curve.x[-1]) for curve in filled)
        low = min(curve.low for curve in filled)
        high = max(curve.high for curve in filled)
        if self._logarithmic:
            positive = [float(curve.y[curve.y > 0].min()) for curve in filled if bool((curve.y > 0).any())]
            low, high = (math.log10(min(positive)), math.log10(max(high, min(positive)))) if positive else (0.0, 1.0)
        if self._range is not None:
            was_left, was_right, was_low, was_high = self._range
            roomy = (was_high - was_low) < 2.5 * max(high - low, 1e-12)
            if was_left <= left and right <= was_right and was_low <= low and high <= was_high and roomy:
                return
        end = right + 0.15 * max(right - left, 1e-3) if self._growing else right
        self._range = self._set_range(left, end, low, high)

    def _set_range(self, left: float, right: float, low: float, high: float) -> tuple[float, float, float, float]:
        """Let the axes show this much and a little around it; returns what y and x then reach."""
        if right - left < 1e-3 * max(abs(right), 1.0):  # a single point stands in the middle
            left, right = left - 0.5, right + 0.5
        if high - low < 1e-3 * max(abs(high), 1e-6):
            half = 0.1 * max(abs(high), 1e-6)
            low, high = low - half, high + half
        if self._ceiling is not None and not self._logarithmic:
            high = min(high, self._ceiling)
        span_x, span_y = right - left, high - low
        result = (left, right, low - 0.06 * span_y, high + 0.06 * span_y)
        self._view.getPlotItem().getViewBox().setRange(
            xRange=(left - 0.02 * span_x, right + 0.02 * span_x), yRange=result[2:], padding=0, disableAutoRange=True
        )
        # Between two epochs there is nothing to read off: no more numbers than there are, or than have room.
        decade = 10 ** math.floor(math.log10(max(span_x, 1.0) / 10))
        steps = (decade * factor for factor in (1, 2, 5, 10))
        step = max(self._least_step, next(step for step in steps if span_x / step <= 10))
        self._view.getPlotItem().getAxis("bottom").setTickSpacing(levels=[(step, 0)])
        return result

    def _place_best(self) -> None:
        if self._best is None:
            return
        x, y = self._best
        drawn = math.log10(y) if self._logarithmic and y > 0 else y
        self._best_line.setPos(x)
        self._best_dot.setData([x], [drawn])
        self._best_line.setVisible(True)
        self._best_dot.setVisible(True)

    # -- crosshair ------------------------------------------------------------------------------------------

    def point_at(self, x: float | None) -> None:
        """Put the crosshair at x and tell the values there; `None` takes it away."""
        filled = [curve for curve in self._curves.values() if len(curve)]
        if x is None or not filled:
            self._cross_x = None
        else:
            longest = max(filled, key=len)
            self._cross_x = float(longest.x[longest.nearest(x)])
            self._line.setPos(self._cross_x)
        self._line.setVisible(self._cross_x is not None)
        self._show_legend()
        self.pointed.emit(self._cross_x)

    def _on_mouse(self, position: Pointed) -> None:
        box = self._view.getPlotItem().getViewBox()
        point = QPointF(position.x(), position.y())
        inside = bool(box.sceneBoundingRect().contains(point))
        self.point_at(float(box.mapSceneToView(point).x()) if inside else None)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt override
        """Move the crosshair with the arrow keys; take it away when pointer or focus leave."""
        if event.type() in (QEvent.Type.Leave, QEvent.Type.FocusOut) and self._cross_x is not None:
            self.point_at(None)
        elif event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            step = {Qt.Key.Key_Left.value: -1, Qt.Key.Key_Right.value: 1}.get(event.key())
            filled = [curve for curve in self._curves.values() if len(curve)]
            if step is not None and filled:
                longest = max(filled, key=len)
                at = len(longest) - 1 if self._cross_x is None else longest.nearest(self._cross_x) + step
                self.point_at(float(longest.x[max(0, min(len(longest) - 1, at))]))
                return True
        return super().eventFilter(watched, event)

    def _open_menu(self, position: Any) -> None:  # noqa: ANN401  a QPoint, from an untyped signal
        menu = QMenu(self)
        logarithmic = menu.addAction(self.tr("&Logarithmic axis"))
        logarithmic.setCheckable(True)
        logarithmic.setChecked(self._logarithmic)
        logarithmic.toggled.connect(self.set_logarithmic)
        menu.addAction(self.tr("&Copy the values"), lambda: QApplication.clipboard().setText(self.values_text()))
        menu.addAction(self.tr("Copy the &picture"), lambda: QApplication.clipboard().setPixmap(self.grab()))
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self._view.mapToGlobal(position))


def _log10(values: Any) -> Any:  # noqa: ANN401  an array of positive numbers, [N]
    import numpy as np

    return np.log10(values)
