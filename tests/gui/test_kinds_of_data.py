"""Data of every kind through the window: imported by its real format, looked at, filtered, and described."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QComboBox
from pytestqt.qtbot import QtBot

from tests.gui import kinds
from tests.gui.conftest import click, wait_for_jobs
from tests.gui.test_project_page import label_text
from tlstudio.api import Box, Prediction, Sample, TargetInfo
from tlstudio.data.revision import Revision
from tlstudio.engine.events import EpochEnded, RunStarted, TextsWritten
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.live_view import LiveView
from tlstudio.gui.widgets.predict_one import PredictOne
from tlstudio.gui.widgets.row_input import read_cell, read_row
from tlstudio.store.project import Project

LONG = 30_000


@pytest.fixture
def panel(window: MainWindow, state: AppState, project: Project, qtbot: QtBot) -> DataPanel:
    """The Data page of an empty project."""
    state.set_project(project)
    window.go_to("data")
    wait_for_jobs(state, qtbot)
    made = window.panel("data")
    assert isinstance(made, DataPanel)
    return made


def imported(
    panel: DataPanel, state: AppState, source: Path, qtbot: QtBot, *, chosen: Mapping[str, str] | None = None
) -> Revision:
    """Import a source by the window, with some boxes of its form set by hand, and return what came of it."""
    panel.import_source(source)
    wait_for_jobs(state, qtbot)
    for name, value in (chosen or {}).items():
        box = panel.import_view.form.findChild(QComboBox, name)
        assert isinstance(box, QComboBox)
        box.setCurrentIndex(box.findData(value))
        box.activated.emit(box.currentIndex())
        qtbot.waitUntil(partial(_is_planned, panel, value), timeout=LONG)
        wait_for_jobs(state, qtbot)
    assert panel.import_view.import_button.isEnabled(), panel.import_view.problems.text()
    click(panel, "import_start", qtbot)
    wait_for_jobs(state, qtbot)
    qtbot.waitUntil(lambda: panel.browser.revision is not None and len(panel.browser.rows) > 0, timeout=LONG)
    wait_for_jobs(state, qtbot)
    revision = panel.browser.revision
    assert revision is not None
    return revision


def _is_planned(panel: DataPanel, name: str) -> bool:
    """Whether the preview shows this format or this task."""
    plan = panel.import_view.plan
    return plan is not None and plan.request is not None and name in (plan.request.format.name, plan.request.task)


def test_classes_of_pixels_are_filtered_and_counted(
    panel: DataPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    revision = imported(panel, state, kinds.write_cells(tmp_path / "cells"), qtbot)
    counts = {bar.name: bar.total for bar in panel.browser.overview.histogram.bars}
    assert counts == dict.fromkeys(revision.classes, len(revision))
    panel.browser.show_class("nucleus")
    wait_for_jobs(state, qtbot)
    assert len(panel.browser.rows) == len(revision)


def test_the_columns_of_a_table_are_described_and_sorted_by_their_numbers(
    panel: DataPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    source = kinds.write_penguins(tmp_path / "penguins.csv")
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    revision = imported(panel, state, source, qtbot)
    figures = panel.browser.overview.columns.model()
    told = {figures.index(row, 0).data(): figures.index(row, 1).data() for row in range(figures.rowCount())}
    assert told["island"] == "3 different"
    masses = [float(row["body_mass_g"]) for row in rows if row["body_mass_g"]]
    assert told["body_mass_g"] == f"{min(masses):.4g} to {max(masses):.4g}"
    missing = {figures.index(row, 0).data(): figures.index(row, 2).data() for row in range(figures.rowCount())}
    assert missing["body_mass_g"] == f"{100 * (1 - len(masses) / len(rows)):.0f} %"
    told_rows = [revision.sample_text(row) for row in range(len(revision))]
    assert sum("body_mass_g: " in line for line in told_rows) == len(masses), "an empty cell is not told"
    panel.browser.tabs.setCurrentIndex(1)
    model = panel.browser.table.model()
    place = [model.headerData(n, Qt.Orientation.Horizontal) for n in range(model.columnCount())].index("body_mass_g")
    panel.browser.table.sortByColumn(place, Qt.SortOrder.DescendingOrder)
    wait_for_jobs(state, qtbot)
    assert float(model.index(0, place).data()) == max(masses)
    assert label_text(panel, "data_count") == f"{len(revision)} items"


def test_a_row_is_pasted_changed_and_predicted(state: AppState, qtbot: QtBot) -> None:
    one = PredictOne(state)
    qtbot.addWidget(one)
    one.set_model("table", TargetInfo("classification", ("a", "b"), (1, 1)))
    assert not one.row.go.isEnabled()
    one.set_row({"place": "Lyon", "mass": 3.5, "load": (1.0, 2.0)})
    one.row.fields["mass"].setText("4.25")
    with qtbot.waitSignal(one.sample_given) as given:
        one.row.go.click()
    assert given.args[0].values == {"place": "Lyon", "mass": 4.25, "load": (1.0, 2.0)}
    QApplication.clipboard().setText("mass\tplace\tcolour\n7\tOslo\tred\n")
    with qtbot.waitSignal(one.sample_given) as given:
        one.paste()
    assert given.args[0].values == {"place": "Oslo", "mass": 7.0, "load": None}
    QApplication.clipboard().setText("nothing of this kind")
    with qtbot.waitSignal(state.message):
        one.paste()


def test_the_first_row_of_a_file_fills_the_form(state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    source = kinds.write_penguins(tmp_path / "penguins.csv", 9)
    one = PredictOne(state)
    qtbot.addWidget(one)
    one.set_model("table", TargetInfo("classification", kinds.SPECIES, (1, 1, 1)))
    with qtbot.waitSignal(one.sample_given, timeout=LONG) as given:
        one.take_file(source)
    wait_for_jobs(state, qtbot)
    assert {"island", "bill_length_mm"} <= given.args[0].values.keys()
    assert isinstance(given.args[0].values["bill_length_mm"], float)
    assert one.row.fields["island"].text() == given.args[0].values["island"]


def test_cells_are_read_as_the_column_had_them() -> None:
    assert read_cell("3", "7a") == "3"
    assert read_cell("3", 1.0) == 3.0
    assert read_cell("about 3", 1.0) == "about 3"
    assert read_cell("[1, 2; 3]", (1.0,)) == (1.0, 2.0, 3.0)
    assert read_cell(" ", 1.0) is None
    assert read_row("a;b\n1;x", {}) == {"a": 1.0, "b": "x"}
    assert read_row("1,2", {"a": 0.0, "b": 0.0}) == {"a": 1.0, "b": 2.0}
    assert read_row("1,2,3", {"a": 0.0, "b": 0.0}) == {}


def test_a_recording_is_given_as_a_file(state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    path = next(kinds.write_calls(tmp_path / "calls", 1).glob("bird/*.wav"))
    one = PredictOne(state)
    qtbot.addWidget(one)
    one.set_model("audio", TargetInfo("speech_recognition"))
    with qtbot.waitSignal(one.sample_given) as given:
        one.sound.drop.dropped.emit(path)
    sample = given.args[0]
    assert sample.audio == path
    wait_for_jobs(state, qtbot)
    one.show_prediction(sample, Prediction("hello there", certainty=0.8))
    texts = one.answer_card.view.texts
    assert texts is not None
    assert texts.predicted.toPlainText() == "hello there"
    assert one.answer_card.sure.text() == "80.0 % sure"


def test_an_image_with_a_text_is_predicted_once_both_are_there(state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    image = next((kinds.write_parts(tmp_path / "parts", 1) / "images").iterdir())
    one = PredictOne(state)
    qtbot.addWidget(one)
    one.set_model("image+text", TargetInfo("classification", ("a", "b"), (1, 1)))
    with qtbot.assertNotEmitted(one.sample_given):
        one.take_file(image)
    one.both.text.text.setPlainText("what is this")
    with qtbot.waitSignal(one.sample_given) as given:
        one.both.text.go.click()
    assert (given.args[0].image, given.args[0].text) == (image, "what is this")
    wait_for_jobs(state, qtbot)


def test_found_boxes_and_forecasts_are_answers(state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    image = next((kinds.write_parts(tmp_path / "parts", 1) / "images").iterdir())
    one = PredictOne(state)
    qtbot.addWidget(one)
    one.set_model("image", TargetInfo("detection", ("nut", "screw"), (1, 1)))
    found = (Box("nut", 1, 1, 20, 20, 0.9), Box("nut", 40, 40, 60, 60, 0.8))
    one.show_prediction(Sample("x", image=image), Prediction(found))
    wait_for_jobs(state, qtbot)
    assert one.answer == "2 x nut"
    assert one.answer_card.view.image is not None
    assert one.answer_card.view.image.picture.marks.layers[-1].boxes == found
    one.show_prediction(Sample("x", image=image), Prediction(()))
    wait_for_jobs(state, qtbot)
    assert one.answer == "Nothing found"
    one.set_model("table", TargetInfo("forecasting"))
    one.show_prediction(Sample("x", values={"load": (1.0, 2.0)}), Prediction((3.0, 4.0)))
    row = one.answer_card.view.row
    assert row is not None
    assert row.series is not None
    assert row.series.legend.text == "load, predicted"


def test_texts_that_a_run_writes_are_shown_while_it_goes(state: AppState, qtbot: QtBot) -> None:
    live = LiveView(state)
    qtbot.addWidget(live)
    live.show()
    live.begin(None, "run")
    started = RunStarted(
        run="run",
        epochs=2,
        steps_per_epoch=3,
        num_train=6,
        num_validation=2,
        trainable_parameters=10,
        total_parameters=10,
        device="cpu",
        monitor="perplexity",
        monitor_mode="min",
    )
    epoch = EpochEnded(
        epoch=1,
        step=3,
        train_loss=2.0,
        validation={"loss": 1.5},
        is_best=True,
        best_epoch=1,
        seconds=1.0,
        worst=(("a", "b", 1.0),),
    )
    live.take([started, epoch, TextsWritten(1, (("row 1", "In Lyon ...", "Lyon: a bridge", "Oslo: <i>a</i> park"),))])
    live.redraw()
    text = live.worst_card.texts.toPlainText()
    assert live.worst_card.texts.isVisible()
    assert "Oslo: <i>a</i> park" in text
    assert text.index("In Lyon") < text.index("Oslo") < text.index("Lyon: a bridge")
    assert not live.worst_card.gallery.isVisible()
    live.take([TextsWritten(2, (("calls/a.wav", "", "good day", "god day"),))])
    live.redraw()
    assert "calls/a.wav" in live.worst_card.texts.toPlainText(), "a recording is told by its id"
