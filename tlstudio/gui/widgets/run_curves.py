"""Curves of one run or of several laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtWidgets import QHBoxLayout, QWidget

from tlstudio.gui.run_reading import Curves
from tlstudio.gui.state import AppState
from tlstudio.gui.step_values import GRADIENTS, RATES, thing_title
from tlstudio.gui.widgets.figures import main_metrics, metric_ceiling, metric_title
from tlstudio.gui.widgets.metric_plot import MetricPlot
from tlstudio.gui.widgets.series_plot import SeriesPlot, Style


class RunCurves(QWidget):
    """Loss, the main metric, and what else steps have told, beside each other.

    Args:
        name: Object name.
        state: Where the theme is.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._state = state
        theme = state.theme
        self.loss_plot = MetricPlot(f"{name}_loss", self.tr("Loss"), theme)
        self.metric_plot = MetricPlot(f"{name}_metric", self.tr("Metric"), theme)
        self.told_plot = SeriesPlot(f"{name}_told", self._thing_title, theme, first=RATES)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        for plot in (self.loss_plot, self.metric_plot, self.told_plot):
            row.addWidget(plot, 1)
        state.theme_changed.connect(self._take_theme)

    def show_run(self, curves: Curves) -> None:
        """Show the curves of one run."""
        self._clear()
        self.told_plot.show()
        self.loss_plot.set_title(self.tr("Loss"))
        self.loss_plot.add_curve(self.tr("train"), color=0)
        self.loss_plot.set_points(self.tr("train"), curves.train_loss[:, 0], curves.train_loss[:, 1])
        for plot, name in ((self.loss_plot, "loss"), (self.metric_plot, self._main_metric([curves]))):
            if name in curves.validation:
                points = curves.validation[name]
                plot.add_curve(self.tr("validation"), color=1)
                plot.set_points(self.tr("validation"), points[:, 0], points[:, 1])
                best = points[points[:, 0] == curves.best_epoch]
                if len(best):
                    plot.mark_best(float(best[0, 0]), float(best[0, 1]))
        for thing, told in curves.told.items():
            for group, points in told.items():
                self.told_plot.set_curve(thing, group, points[:, 0], points[:, 1])
        self._flush()

    def show_runs(self, runs: Mapping[str, Curves], styles: Mapping[str, Style]) -> None:
        """Lay the validation curves of several runs over each other, and what their methods and strategies have told.

        Args:
            runs: Curves by the name that the legend shows.
            styles: Colour and line style by the same name.
        """
        self._clear()
        self.loss_plot.set_title(self.tr("Validation loss"))
        metric = self._main_metric(list(runs.values()))
        for name, curves in runs.items():
            color, style = styles[name]
            for plot, key in ((self.loss_plot, "loss"), (self.metric_plot, metric)):
                if key in curves.validation:
                    points = curves.validation[key]
                    plot.add_curve(name, color=color, style=style)
                    plot.set_points(name, points[:, 0], points[:, 1])
            for thing, told in curves.told.items():
                for points in told.values() if thing not in (RATES, GRADIENTS) else ():
                    self.told_plot.set_curve(thing, name, points[:, 0], points[:, 1], styles[name])
        self.told_plot.setVisible(bool(self.told_plot.things))
        self._flush()

    def _main_metric(self, runs: Sequence[Curves]) -> str:
        """Name the metric that has chosen the best epoch; where that is the loss, which is beside it, the main one."""
        found = next((run for run in runs if run.validation), None)
        measured = dict.fromkeys(found.validation, 0.0) if found is not None else {}
        chosen = found is not None and found.monitor != "loss" and found.monitor in measured
        names = [found.monitor] if found is not None and chosen else main_metrics(measured, 1)
        name = names[0] if names else ""
        self.metric_plot.set_title(metric_title(name) if name else self.tr("Metric"), metric_ceiling(name))
        return name

    def _clear(self) -> None:
        self.loss_plot.clear()
        self.metric_plot.clear()
        self.told_plot.forget()

    def _flush(self) -> None:
        for plot in (self.loss_plot, self.metric_plot, self.told_plot):
            plot.flush()

    def _thing_title(self, thing: str) -> str:
        return thing_title(thing, self._state.registry)

    def _take_theme(self) -> None:
        for plot in (self.loss_plot, self.metric_plot, self.told_plot):
            plot.set_theme(self._state.theme)
