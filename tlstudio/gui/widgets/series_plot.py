"""A card with curves of one thing or another, chosen in its heading: rates, gradients, what methods have to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PySide6.QtCore import QSignalBlocker, Qt, Slot
from PySide6.QtWidgets import QComboBox, QWidget

from tlstudio.engine.events import StepLogged
from tlstudio.gui.step_values import told_by
from tlstudio.gui.theme import Theme, set_role
from tlstudio.gui.widgets.curve import Curve
from tlstudio.gui.widgets.metric_plot import MetricPlot
from tlstudio.gui.widgets.texts import ElidedBox

Style = tuple[int, Qt.PenStyle]

_FIRST_COLOR = 2  # the two before it are those of train and validation
_COLORS = 6
_LINES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)


def series_style(place: int) -> Style:
    """Colour and line style of the so-manyth curve of a thing, from 0: where colours come again, lines are others."""
    return (_FIRST_COLOR + place) % _COLORS, _LINES[place // _COLORS % len(_LINES)]


@dataclass
class _Series:
    curves: dict[str, Curve] = field(default_factory=dict)
    styles: dict[str, Style] = field(default_factory=dict)


class SeriesPlot(MetricPlot):
    """Keeps the curves of several things, and draws those of the one that is chosen.

    What has no points is not offered; where there is only one thing, its name is a heading as on any other card.

    Args:
        name: Object name.
        title_of: Gives the heading of a thing.
        theme: Colours.
        first: What is shown while nobody has chosen.
        parent: Parent widget.
    """

    def __init__(
        self, name: str, title_of: Callable[[str], str], theme: Theme, *, first: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(name, title_of(first), theme, parent=parent)
        self._title_of = title_of
        self._series: dict[str, _Series] = {}
        self._wanted = first  # and shown as soon as it is there
        self.chooser = ElidedBox()
        self.chooser.setObjectName(f"{name}_chooser")
        self.chooser.setAccessibleName(self.tr("What is plotted"))
        self.chooser.setToolTip(self.tr("What is plotted"))
        self.chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.chooser.setMinimumContentsLength(18)
        set_role(self.chooser, "title")
        self.chooser.currentIndexChanged.connect(self._on_chosen)
        self.chooser.hide()
        self.head.insertWidget(0, self.chooser, 3)
        self.head.setStretch(2, 2)

    @property
    def things(self) -> tuple[str, ...]:
        """What there is to choose from."""
        return tuple(self._series)

    @property
    def shown(self) -> str:
        """What is drawn."""
        return self._wanted if self._wanted in self._series else next(iter(self._series), self._wanted)

    def choose(self, thing: str) -> None:
        """Draw another thing; what is not there yet is drawn when it comes."""
        self._wanted = thing
        self._show()

    def forget(self) -> None:
        """Forget all points; what was chosen is shown again when it comes."""
        self._series.clear()
        with QSignalBlocker(self.chooser):
            self.chooser.clear()
        self._show()

    def add_point(self, thing: str, curve: str, x: float, y: float) -> None:
        """Add a point to a curve of a thing, which may be new; drawn at the next `flush`."""
        before = self.shown
        series = self._of(thing)
        if curve not in series.curves:
            series.curves[curve] = Curve()
            series.styles[curve] = series_style(len(series.styles))
        series.curves[curve].append(x, y)
        if before != self.shown:
            self._show()
        elif thing == self.shown:
            self._take(thing, curve)

    def set_curve(self, thing: str, curve: str, x: object, y: object, style: Style | None = None) -> None:
        """Give all points of a curve of a thing at once; drawn at the next `flush`."""
        series = self._of(thing)
        series.curves[curve] = Curve(x, y)
        series.styles[curve] = style or series.styles.get(curve) or series_style(len(series.styles))
        self._show()

    def take_step(self, event: StepLogged) -> None:
        """Add everything that a step tells."""
        for thing, values in told_by(event).items():
            for curve, value in values.items():
                self.add_point(thing, curve, event.epoch, value)

    def _of(self, thing: str) -> _Series:
        if thing not in self._series:
            self._series[thing] = _Series()
            with QSignalBlocker(self.chooser):
                self.chooser.addItem(self._title_of(thing), thing)
                self.chooser.setItemData(self.chooser.count() - 1, self._title_of(thing), Qt.ItemDataRole.ToolTipRole)
            self._show_heading()
        return self._series[thing]

    def _take(self, thing: str, curve: str) -> None:
        """Let the plot draw a curve that is kept here."""
        color, style = self._series[thing].styles[curve]
        self.add_curve(curve, color=color, style=style)
        self.replace_curve(curve, self._series[thing].curves[curve])

    def _show(self) -> None:
        thing = self.shown
        self.clear()
        self.set_title(self._title_of(thing))
        for curve in self._series[thing].curves if thing in self._series else ():
            self._take(thing, curve)
        self._show_heading()

    def _show_heading(self) -> None:
        several = len(self._series) > 1
        self.chooser.setVisible(several)
        self.title_label.setVisible(not several)
        with QSignalBlocker(self.chooser):
            self.chooser.setCurrentIndex(self.chooser.findData(self.shown))

    @Slot(int)
    def _on_chosen(self, row: int) -> None:
        self.choose(self.chooser.itemData(row))
        self.flush()
