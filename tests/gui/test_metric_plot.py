"""Curves: thinning, ranges, crosshair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tlstudio.gui.theme import DARK, LIGHT
from tlstudio.gui.widgets.curve import Curve
from tlstudio.gui.widgets.metric_plot import MetricPlot
from tlstudio.gui.widgets.series_plot import SeriesPlot


@pytest.fixture
def plot(qtbot: QtBot) -> MetricPlot:
    made = MetricPlot("plot", "Loss", LIGHT)
    qtbot.addWidget(made)
    made.resize(400, 260)
    made.show()
    qtbot.waitExposed(made)
    return made


def ranges(plot: MetricPlot) -> tuple[list[float], list[float]]:
    x, y = plot._view.getPlotItem().getViewBox().viewRange()
    return x, y


def test_a_thinned_curve_keeps_its_ends_and_its_spikes() -> None:
    values = np.zeros(100_000)
    values[77_777] = 5.0
    values[12_345] = -3.0
    curve = Curve(np.arange(100_000), values)
    x, y = curve.thinned(300)
    assert len(x) <= 1200
    assert (x[0], x[-1]) == (0, 99_999)
    assert y.max() == 5.0
    assert y.min() == -3.0
    assert bool((np.diff(x) > 0).all())


def test_a_short_curve_is_not_thinned() -> None:
    curve = Curve([1, 2, 3], [4, 5, 6])
    x, y = curve.thinned(64)
    assert x.tolist() == [1, 2, 3]
    assert y.tolist() == [4, 5, 6]


def test_points_that_are_not_finite_are_left_out() -> None:
    curve = Curve([1, 2, 3, 4], [1.0, float("nan"), float("inf"), 2.0])
    assert curve.x.tolist() == [1, 4]
    assert (curve.low, curve.high) == (1.0, 2.0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50, unique=True), st.floats(-10, 110))
def test_the_nearest_point_is_the_nearest(xs: list[float], at: float) -> None:
    ordered = sorted(xs)
    curve = Curve(ordered, [0.0] * len(ordered))
    found = abs(curve.x[curve.nearest(at)] - at)
    assert found == min(abs(x - at) for x in ordered)


def test_a_plot_without_points_says_so_instead_of_showing_axes(plot: MetricPlot) -> None:
    assert plot._empty.isVisible()
    assert not plot._view.isVisible()
    plot.add_curve("train", color=0)
    plot.append("train", 1, 2.0)
    plot.flush()
    assert plot._view.isVisible()
    assert not plot._empty.isVisible()
    plot.clear()
    assert plot._empty.isVisible()


def test_the_axis_of_a_share_has_no_numbers_above_one(plot: MetricPlot) -> None:
    plot.set_title("Macro F1", ceiling=1.0)
    plot.add_curve("validation", color=0)
    for values in ([1.0, 1.0], [0.2, 1.0]):
        plot.set_points("validation", [1, 2], values)
        plot.flush()
        ticks = plot._view.getPlotItem().getAxis("left").tickValues(*ranges(plot)[1], 200)
        labelled = [value for _, level in ticks[:2] for value in level]  # the third level is drawn without numbers
        assert max(labelled) <= 1.0


@pytest.mark.parametrize("epochs", [1, 3, 12, 300, 2000])
def test_the_axis_of_epochs_has_a_few_whole_numbers(plot: MetricPlot, epochs: int) -> None:
    plot.add_curve("train", color=0)
    plot.set_points("train", [0.25, epochs], [2.0, 1.0])
    plot.flush()
    ticks = plot._view.getPlotItem().getAxis("bottom").tickValues(*ranges(plot)[0], 400)
    values = [value for _, level in ticks for value in level]
    assert 1 <= len(values) <= 12
    assert all(value == int(value) for value in values)


def test_the_axis_of_shares_has_numbers_between_0_and_1(qtbot: QtBot) -> None:
    plot = MetricPlot("shares", "Accuracy", LIGHT, x_title="share")
    qtbot.addWidget(plot)
    plot.add_curve("validation", color=1)
    plot.set_points("validation", [0.0, 0.5, 1.0], [0.2, 0.4, 0.3])
    plot.flush()
    ticks = plot._view.getPlotItem().getAxis("bottom").tickValues(*ranges(plot)[0], 400)
    assert len([value for _, level in ticks for value in level]) == 11


def test_numbers_at_the_ends_of_the_axes_are_drawn_whole(plot: MetricPlot) -> None:
    plot.add_curve("validation", color=1)
    plot.set_points("validation", [1, 2000], [1 / 3, 1 / 3])
    plot.flush()
    for height in range(180, 300, 17):  # a number comes to stand at every distance from the end
        plot.resize(400, height)
        picture = plot._view.grab().toImage()
        right, bottom = picture.width() - 1, picture.height() - 1
        edge = [picture.pixelColor(x, 0) for x in range(60)]  # above the numbers at the left
        edge += [picture.pixelColor(right, y) for y in range(bottom - 20, bottom)]
        assert {color.name().upper() for color in edge} == {LIGHT.surface.upper()}, height


def test_nothing_is_drawn_before_flush(plot: MetricPlot) -> None:
    plot.add_curve("train", color=0)
    plot.append("train", 0.5, 2.0)
    assert not len(plot._items["train"].getData()[0])
    assert plot.flush()
    assert plot._items["train"].getData()[0].tolist() == [0.5]
    assert not plot.flush()


def test_axes_move_only_when_the_data_leave_them(plot: MetricPlot) -> None:
    plot.set_growing(True)
    plot.add_curve("train", color=0)
    for step in range(100):
        plot.append("train", step / 10, 2.0 - step / 100)
    plot.flush()
    before = ranges(plot)
    plot.append("train", 10.0, 1.5)
    plot.flush()
    assert ranges(plot) == before
    plot.append("train", 30.0, 9.0)
    plot.flush()
    x, y = ranges(plot)
    assert x[1] > 30
    assert y[1] > 9


def test_a_finished_curve_fills_the_axis(plot: MetricPlot) -> None:
    plot.add_curve("validation", color=1)
    plot.set_points("validation", [1, 2, 3], [0.5, 0.6, 0.7])
    plot.flush()
    x, _ = ranges(plot)
    assert x == pytest.approx([0.96, 3.04])


def test_a_single_point_stands_in_the_middle(plot: MetricPlot) -> None:
    plot.add_curve("a", color=0)
    plot.append("a", 1.0, 0.0)
    plot.flush()
    x, y = ranges(plot)
    assert x[0] < 1.0 < x[1]
    assert y[0] < 0.0 < y[1]


def test_pens_of_long_curves_are_one_cosmetic_pixel_in_both_themes(plot: MetricPlot) -> None:
    plot.add_curve("train", color=0)
    plot.set_points("train", range(1000), range(1000))
    plot.flush()
    for theme in (LIGHT, DARK):
        plot.set_theme(theme)
        pen = plot._items["train"].opts["pen"]
        assert pen.isCosmetic()
        assert pen.width() == 1
        assert pen.color().name().upper() == theme.curves[0]


def test_the_crosshair_tells_values_by_keyboard_and_leaves_with_the_focus(plot: MetricPlot, qtbot: QtBot) -> None:
    plot.add_curve("train", color=0)
    plot.set_points("train", [1, 2, 3], [0.9, 0.5, 0.25])
    plot.flush()
    plot._view.setFocus()
    with qtbot.waitSignal(plot.pointed) as told:
        qtbot.keyClick(plot._view, Qt.Key.Key_Left)
    assert told.args == [3.0]
    assert "0.250" in plot._legend.text
    qtbot.keyClick(plot._view, Qt.Key.Key_Left)
    assert "0.500" in plot._legend.text
    plot.point_at(None)
    assert "0.500" not in plot._legend.text


def test_the_best_point_is_marked(plot: MetricPlot) -> None:
    plot.add_curve("validation", color=1)
    plot.set_points("validation", [1, 2], [0.5, 0.8])
    plot.mark_best(2, 0.8)
    assert plot._best_line.isVisible()
    assert plot._best_line.value() == 2
    plot.clear()
    assert not plot._best_line.isVisible()
    assert plot.keys == ()


def test_a_logarithmic_axis_leaves_out_what_is_not_positive(plot: MetricPlot) -> None:
    plot.add_curve("train", color=0)
    plot.set_points("train", [1, 2, 3], [10.0, 0.0, 0.1])
    plot.set_logarithmic(True)
    assert plot._items["train"].getData()[1].tolist() == [1.0, -1.0]
    plot.set_logarithmic(False)
    assert plot._items["train"].getData()[1].tolist() == [10.0, 0.0, 0.1]


def test_values_can_be_copied_as_a_table(plot: MetricPlot, qapp: QApplication) -> None:
    plot.add_curve("train", color=0)
    plot.set_points("train", [1, 2], [0.5, 0.25])
    assert plot.values_text() == "curve\tepoch\tvalue\ntrain\t1\t0.5\ntrain\t2\t0.25"


def test_many_curves_of_one_thing_all_look_different_and_the_legend_lists_them_with_their_lines(qtbot: QtBot) -> None:
    plot = SeriesPlot("plot", str, LIGHT, first="rates")
    qtbot.addWidget(plot)
    plot.resize(360, 240)
    plot.show()
    for group in range(9):
        plot.add_point("rates", f"blocks.{group} & <more>", 1, group)
    plot.flush()
    entries = plot._legend._entries
    assert len({(entry.color, entry.style) for entry in entries}) == 9
    tip = plot._legend.toolTip()
    assert tip.count("<br>") == 8
    assert all(f"blocks.{group} &amp; &lt;more&gt;" in tip for group in range(9))
    assert (tip.count("━━"), tip.count("╍╍")) == (6, 3)
