"""What can be made of a finished run without training: an average with its start, or fewer weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from PySide6.QtCore import QCoreApplication, Qt, Signal, Slot
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QSlider, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, run_title
from tlstudio.gui.widgets.figures import metric_title, number_text, size_text
from tlstudio.gui.widgets.metric_plot import MetricPlot
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.widgets.work_dialog import WorkDialog, reporting
from tlstudio.gui.workers import JobContext
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

if TYPE_CHECKING:
    from tlstudio.engine.derived import Bench

Way = Literal["wise_ft", "prune"]
_STEPS = 20
"""Steps of the slider from 0 to 1."""
_COLORS: Mapping[str, int] = {"validation": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured.

    Attributes:
        way: What was done.
        points: The share on the slider, what it gave by split and name, and more in words.
        monitor: The metric that counts.
        best: Which point is the best on the validation split; `None` where nothing chooses by itself.
        known: What the engine measured, to be kept with the run that is made.
    """

    way: Way
    points: tuple[tuple[float, Mapping[str, Mapping[str, float]], str], ...]
    monitor: str
    best: int | None
    known: Any


class AfterTrainingDialog(WorkDialog):
    """Measures a run at many shares, and makes a new one at the share on a slider.

    Args:
        state: What the pages share.
        run_id: The run.
        has_start: Whether the run has kept the weights that its fine-tuning began with.
        parent: Parent widget.

    Signals:
        made(str): A run was made; carries its id.
    """

    made = Signal(str)

    def __init__(self, state: AppState, run_id: str, *, has_start: bool, parent: QWidget | None = None) -> None:
        title = self.tr("After training")
        super().__init__(state, "after", title, f"{title}: {run_title(run_id, state.registry)}", parent)
        self._run_id = run_id
        self._found: dict[Way, Found] = {}
        self.way = QComboBox()
        self.way.setObjectName("after_way")
        self.way.setAccessibleName(self.tr("What to do"))
        self.way.addItem(self.tr("Average with the start (WiSE-FT)"), "wise_ft")
        self.way.addItem(self.tr("Set small weights to zero (pruning)"), "prune")
        self._no_start = text_label(
            self.tr(
                "No WiSE-FT: this run has not kept the weights that its fine-tuning began with. Runs that are trained "
                "with the method “{0}” do."
            ).format(component_title(state.registry, "method", "wise_ft")),
            "second",
            "after_no_start",
            wrap=True,
        )
        self._no_start.setVisible(not has_start)
        if not has_start:
            cast(QStandardItemModel, self.way.model()).item(0).setEnabled(False)
            self.way.setItemData(0, self._no_start.text(), Qt.ItemDataRole.ToolTipRole)
            self.way.setCurrentIndex(1)
        self._about = text_label(" ", "second", "after_about", wrap=True)
        self.plot = MetricPlot("after_plot", " ", state.theme, x_title=self.tr("share"))
        self.plot.setMinimumHeight(220)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setObjectName("after_share")
        self.slider.setRange(0, _STEPS)
        self.slider.setValue(_STEPS // 2)
        self._share = text_label(" ", "figure", "after_figure")
        self._share.setMinimumWidth(64)
        self._nearest = text_label(" ", "second", "after_nearest", wrap=True)
        self.measure_button = push_button(self.tr("&Measure"), "secondary", "after_measure")
        self.make_button = push_button(self.tr("Make a &run"), "primary", "after_make")
        self._lay_out()
        self.way.currentIndexChanged.connect(lambda _: self._show_way())
        self.slider.valueChanged.connect(lambda _: self._show_share())
        self.measure_button.clicked.connect(self.measure)
        self.make_button.clicked.connect(self.make)
        state.theme_changed.connect(self._take_theme)
        self._show_way()

    @Slot()
    def _take_theme(self) -> None:
        self.plot.set_theme(self._state.theme)

    def _lay_out(self) -> None:
        slide = QHBoxLayout()
        slide.setSpacing(12)
        slide.addWidget(self.slider, 1)
        slide.addWidget(self._share)
        for widget in (self.way, self._no_start, self._about):
            self.body.addWidget(widget)
        self.body.addWidget(self.plot, 1)
        self.body.addLayout(slide)
        self.body.addWidget(self._nearest)
        self.add_buttons(self.measure_button, self.make_button, also=(self.way,))
        self.resize(680, 560)

    @property
    def _chosen(self) -> Way:
        way: Way = self.way.currentData()
        return way

    @property
    def share(self) -> float:
        """The share on the slider, in 0..1."""
        return self.slider.value() / _STEPS

    @Slot()
    def _show_way(self) -> None:
        """Show what was measured in the way that is chosen."""
        averaging = self._chosen == "wise_ft"
        self._about.setText(
            self.tr(
                "0 is the model with which the fine-tuning began, 1 the one with which it ended; what lies between is "
                "often better on other data than both. Choose by the validation split."
            )
            if averaging
            else self.tr(
                "The share of the weights of linear layers and convolutions that become zero, the smallest first; "
                "nothing is trained again. The file stays as large on disk as it is, and is smaller once it is packed "
                "in a ZIP; the model is not faster."
            )
        )
        self.slider.setAccessibleName(self.tr("Share of the end") if averaging else self.tr("Share of zeros"))
        self.slider.setMaximum(_STEPS if averaging else _STEPS - 1)
        self.plot.clear()
        found = self._found.get(self._chosen)
        self.plot.set_title(metric_title(found.monitor) if found else self.tr("Not measured yet"))
        if found is not None:
            for split, color in _COLORS.items():
                points = [(x, metrics[split][found.monitor]) for x, metrics, _ in found.points if split in metrics]
                if points:
                    self.plot.add_curve(split, color=color)
                    self.plot.set_points(split, *zip(*points, strict=True))
            if found.best is not None:
                x, metrics, _ = found.points[found.best]
                self.plot.mark_best(x, metrics["validation"][found.monitor])
        self.plot.flush()
        self._show_share()

    @Slot()
    def _show_share(self) -> None:
        self._share.setText(f"{self.share:.2f}")
        found = self._found.get(self._chosen)
        if found is None:
            self._nearest.setText(self.tr("Measure to see what each share is worth on the validation and test splits."))
            return
        x, metrics, more = min(found.points, key=lambda point: abs(point[0] - self.share))
        told = [f"{split} {number_text(values[found.monitor])}" for split, values in metrics.items()]
        text = self.tr("Measured at {0}: {1}").format(f"{x:g}", " · ".join([*told, *([more] if more else [])]))
        self._nearest.setText(text)

    @Slot()
    def measure(self) -> None:
        """Measure the run at many shares."""
        way, run_id = self._chosen, self._run_id

        def work(project: Project, registry: Registry, context: JobContext) -> Found:
            return _measured(way, project, registry, run_id, context)

        def done(found: Found) -> None:
            self._found[way] = found
            if found.best is not None:
                self.slider.setValue(round(found.points[found.best][0] * _STEPS))
            self._show_way()

        self.work(self.tr("Measuring"), work, done)

    @Slot()
    def make(self) -> None:
        """Make a run at the share on the slider."""
        way, run_id, share, found = self._chosen, self._run_id, self.share, self._found.get(self._chosen)

        def work(project: Project, registry: Registry, context: JobContext) -> str:
            return _made(way, project, registry, run_id, share, found, context)

        def done(made: str) -> None:
            self.accept()
            self.made.emit(made)

        self.work(self.tr("Making the run"), work, done)


def _bench(project: Project, registry: Registry, run_id: str, context: JobContext) -> Bench:
    from tlstudio.engine.derived import Bench

    return Bench(project.run(run_id), project, registry, on_progress=reporting(context))


def _measured(way: Way, project: Project, registry: Registry, run_id: str, context: JobContext) -> Found:
    bench = _bench(project, registry, run_id, context)
    if way == "wise_ft":
        from tlstudio.engine.averaging import WiseFT

        curve = WiseFT(bench).curve()
        averages = tuple((point.alpha, point.measured.metrics, "") for point in curve.points)
        return Found(way, averages, curve.monitor, curve.best, curve)
    from tlstudio.engine.pruning import Pruning

    pruning = Pruning(bench)
    found = pruning.curve()
    told = QCoreApplication.translate("AfterTrainingDialog", "{0} on disk, {1} in a ZIP, {2} ms a sample")
    points = tuple(
        (
            one.sparsity,
            one.measured.metrics,
            told.format(size_text(one.size), size_text(one.compressed), f"{one.milliseconds:.2f}"),
        )
        for one in found
    )
    return Found(way, points, pruning.monitor, None, found)


def _made(
    way: Way,
    project: Project,
    registry: Registry,
    run_id: str,
    share: float,
    found: Found | None,
    context: JobContext,
) -> str:
    bench = _bench(project, registry, run_id, context)
    if way == "wise_ft":
        from tlstudio.engine.averaging import WiseFT

        return WiseFT(bench).save(share, found.known if found else None).id
    from tlstudio.engine.pruning import Pruning

    pruning = Pruning(bench)
    return pruning.save(pruning.prune(share), found.known if found else ()).id
