"""The Predict page with a real trained run: one item, many items, export, and back from the export."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QUrl
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.conftest import SHAPES, draw_folder
from tests.gui.conftest import click, wait_for_jobs
from tests.gui.trained import QUICK, tiny_recipe
from tlstudio.api import Prediction, Sample, Span, TargetInfo
from tlstudio.engine.adapter_facts import adapter_size
from tlstudio.engine.control import RunControl
from tlstudio.engine.execute import execute_run
from tlstudio.engine.predict import Predictor
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.figures import percent, size_text
from tlstudio.gui.widgets.predict_one import PredictOne
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

LONG = 60_000


@pytest.fixture
def page(trained_state: AppState, qtbot: QtBot) -> PredictPanel:
    """The Predict page with the newest run."""
    panel = PredictPanel(trained_state)
    qtbot.addWidget(panel)
    panel.resize(1198, 692)
    panel.show()
    return panel


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six new images in folders, and one that is damaged."""
    folder = draw_folder(tmp_path / "new", 2, seed=7)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_without_a_run_the_page_leads_to_the_train_page(state: AppState, project: Project, qtbot: QtBot) -> None:
    state.set_project(project)
    panel = PredictPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    with qtbot.waitSignal(state.navigate) as gone:
        click(panel, "predict_empty_action", qtbot)
    assert gone.args == ["train"]


def test_a_dropped_image_gets_its_classes_with_probabilities(
    page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot
) -> None:
    page.one.image.drop.dropped.emit(next(pictures.glob("circle/*.png")))
    qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)
    bars = page.one.answer_card.bars.bars
    assert {bar.name for bar in bars} == set(SHAPES)
    assert sum(bar.share for bar in bars) == pytest.approx(1.0, abs=1e-3)
    assert bars[0].name == page.one.answer
    assert bars[0].strong
    assert page.one.image.view.isVisible()


def test_the_next_run_with_the_id_of_one_that_was_deleted_does_not_predict_as_that_one(
    page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot
) -> None:
    page.one.image.drop.dropped.emit(next(pictures.glob("circle/*.png")))
    qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert state.project is not None
    for run in state.project.runs():
        state.project.delete_run(run.id)
    state.runs_changed.emit()
    qtbot.waitUntil(page.empty.isVisible, timeout=LONG)
    assert page._loaded is None


def test_an_image_is_pasted(page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(next(pictures.glob("square/*.png"))))])
    QApplication.clipboard().setMimeData(data)
    page.one.paste()
    qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)


def test_a_damaged_image_is_refused_with_a_sentence(
    page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot
) -> None:
    page.one.take_file(pictures / "broken.png")
    qtbot.waitUntil(lambda: "is not an image" in page.one.answer_card.sure.text(), timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert page.one.answer == "—"


def test_a_folder_becomes_a_table_with_what_could_not_be_read(
    page: PredictPanel, state: AppState, pictures: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    output = tmp_path / "out.csv"
    page.many.source_given.emit(pictures, output)
    qtbot.waitUntil(lambda: page.many.pages.currentIndex() == 2, timeout=LONG)
    wait_for_jobs(state, qtbot)
    with output.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert page.many.table.model().rowCount() == 6
    assert page.many.rejected.model().rowCount() == 1
    assert "broken.png" in page.many.rejected.model().index(0, 0).data()


def test_nothing_to_predict_is_an_error_and_asks_again(
    page: PredictPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "empty").mkdir()
    with qtbot.waitSignal(state.error, timeout=LONG) as told:
        page.predict_source(tmp_path / "empty", tmp_path / "out.csv")
    assert "empty" in str(told.args[0])
    assert page.many.pages.currentIndex() == 0
    wait_for_jobs(state, qtbot)


def test_texts_for_a_model_of_images_are_refused_before_the_model_is_loaded(
    page: PredictPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    source = tmp_path / "texts.csv"
    source.write_text("text,label\nA quiet film,good\nA loud one,bad\n", encoding="utf-8")
    with qtbot.waitSignal(state.error, timeout=LONG) as told:
        page.predict_source(source, tmp_path / "out.csv")
    assert "images" in str(told.args[0])
    wait_for_jobs(state, qtbot)
    assert page._predictor is None
    assert page.many.pages.currentIndex() == 0


def test_an_exported_folder_predicts_the_same_without_a_project(
    page: PredictPanel, state: AppState, pictures: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    picture = next(pictures.glob("circle/*.png"))
    page.one.take_file(picture)
    qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)
    before = page.one.answer_card.bars.bars
    page.export_card.export(tmp_path / "cancelled")
    assert not page.export_card.button.isEnabled()
    next(job for job in state.jobs.jobs if job.title == "Exporting").cancel()
    wait_for_jobs(state, qtbot)
    assert page.export_card.button.isEnabled()
    assert not (tmp_path / "cancelled").exists()
    page.export_card.export(tmp_path / "exported")
    qtbot.waitUntil(lambda: page.export_card.result.isVisible(), timeout=LONG)
    wait_for_jobs(state, qtbot)
    state.close_project()
    page.use_folder(tmp_path / "exported")
    wait_for_jobs(state, qtbot)
    page.one.take_file(picture)
    qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert page.one.answer_card.bars.bars == before
    assert not page.export_card.isVisible()


def test_another_page_can_choose_the_run(page: PredictPanel, state: AppState, qtbot: QtBot) -> None:
    assert state.project is not None
    oldest = state.project.runs()[-1].id
    state.predict_requested.emit(oldest)
    assert page.model_box.currentData() == ("run", oldest)
    assert "Linear probe" in page.facts.text()
    assert page.model_box.currentText().startswith(run_title(oldest, state.registry))


def test_several_labels_and_numbers_are_shown(state: AppState, qtbot: QtBot) -> None:
    one = PredictOne(state)
    qtbot.addWidget(one)
    sample = Sample("x", text="Anna Maria was in Berlin")
    one.set_model("text", TargetInfo("multi_label", ("plot", "cast", "music"), (1, 1, 1)))
    one.show_prediction(sample, Prediction(("plot", "cast"), (("plot", 0.9), ("cast", 0.7), ("music", 0.2))))
    assert one.answer == "plot, cast"
    assert [bar.strong for bar in one.answer_card.bars.bars] == [True, True, False]
    one.set_model("text", TargetInfo("regression"))
    one.show_prediction(sample, Prediction(3.25))
    assert one.answer == "3.250"
    assert one.answer_card.bars.bars == ()


def test_marked_parts_stand_in_their_text_and_answers_are_told(state: AppState, qtbot: QtBot) -> None:
    one = PredictOne(state)
    qtbot.addWidget(one)
    text = "Anna Maria <b>was</b> in Berlin"
    one.set_model("text", TargetInfo("token_classification", ("LOC", "PER"), (1, 1)))
    found = (Span("PER", 0, 10), Span("LOC", 25, 31))
    one.show_prediction(Sample("x", text=text), Prediction(found, certainty=0.9))
    assert one.answer == "PER, LOC"
    assert one.answer_card.view.texts is not None
    assert (
        one.answer_card.view.texts.predicted.toPlainText().replace("\xa0", " ")
        == "Anna Maria PER <b>was</b> in Berlin LOC"
    )
    one.set_model("text", TargetInfo("question_answering", ("answer",), (1,), pairs=True))
    one.text.text.setPlainText(text)
    assert not one.text.go.isEnabled(), "a question is missing"
    one.text.pair.setText("Where was she?")
    with qtbot.waitSignal(one.sample_given) as given:
        one.text.go.click()
    assert given.args[0] == Sample("text", text=text, pair="Where was she?", source="the text")
    one.show_prediction(given.args[0], Prediction((Span("answer", 25, 31),), certainty=0.9))
    assert one.answer == "Berlin"
    one.show_prediction(given.args[0], Prediction((), certainty=0.9))
    assert one.answer == "No answer in this text"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %")]
)
def test_a_probability_is_never_written_as_a_certainty(share: float, text: str) -> None:
    assert percent(share) == text


def test_what_is_alike_is_shown_on_demand_and_opens_on_the_data_page(
    page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot
) -> None:
    found = page.one.found
    assert not found.similar_button.isEnabled()
    page.one.take_file(next(pictures.glob("circle/*.png")))
    qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert not found.gallery.items, "nothing is looked for before it is asked for"
    click(page, "found_similar", qtbot)
    assert found.cancel_button.isVisible()
    qtbot.waitUntil(lambda: bool(found.gallery.items), timeout=LONG)
    wait_for_jobs(state, qtbot)
    near = [float(item.caption.split(" · ")[0]) for item in found.gallery.items]
    assert len(near) == 12
    assert near == sorted(near, reverse=True)
    assert any(item.caption.endswith("circle") for item in found.gallery.items)
    with qtbot.waitSignal(state.show_items) as shown:
        found.gallery.opened.emit(found.gallery.items[0].id)
    assert shown.args[1] == [found.gallery.items[0].id]
    page.one.take_file(next(pictures.glob("square/*.png")))
    assert not found.gallery.items, "those are not like the next one"
    wait_for_jobs(state, qtbot)


def test_a_search_that_is_cancelled_can_be_started_again(
    page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot
) -> None:
    page.one.take_file(next(pictures.glob("circle/*.png")))
    wait_for_jobs(state, qtbot)
    found = page.one.found
    found.search_similar()
    found.cancel_button.click()
    wait_for_jobs(state, qtbot)
    assert not found.gallery.items
    assert not found.cancel_button.isVisible()
    assert found.similar_button.isEnabled()


def test_what_forbids_a_search_is_told_beside_its_button(page: PredictPanel, state: AppState, qtbot: QtBot) -> None:
    found = page.one.found
    wait_for_jobs(state, qtbot)
    found.set_sample(Sample("text", text="a text, where images are wanted"))
    click(page, "found_similar", qtbot)
    wait_for_jobs(state, qtbot)
    assert "image" in found._said.text()
    assert not found.gallery.items
    assert found.similar_button.isEnabled()
    state.close_project()
    assert not found.isVisible()


def test_adapters_on_one_backbone_are_switched_and_compared_on_the_item_that_is_there(
    state: AppState, shapes_project: Project, registry: Registry, pictures: Path, qtbot: QtBot
) -> None:
    project = shapes_project
    vit = {"name": "test_vit", "options": {"weights": "random", "image_size": 32}}
    for rank in (4, 2):
        values: dict[str, Any] = {
            "backbone": vit,
            "strategy": {"name": "lora", "options": {"rank": rank}},
            "training": {**QUICK, "epochs": 1, "learning_rate": 0.02},
        }
        recipe = tiny_recipe(project, registry, **values)
        execute_run(recipe, project, registry, on_event=lambda _event: None, control=RunControl())
    state.set_project(project)
    page = PredictPanel(state)
    qtbot.addWidget(page)
    page.resize(1198, 692)
    page.show()
    newer, older = (page.model_box.itemData(row)[1] for row in range(2))
    picture = next(pictures.glob("circle/*.png"))
    fresh = {}
    for run_id in (newer, older):
        sample = Sample(picture.name, image=picture, source=picture.name)
        answer = next(iter(Predictor.from_run(project.run(run_id), registry).predict([sample])))[1]
        assert isinstance(answer, Prediction)
        fresh[run_id] = dict(answer.scores)
    assert fresh[newer] != fresh[older]

    def shown() -> dict[str, float]:
        qtbot.waitUntil(lambda: page.one.answer in SHAPES, timeout=LONG)
        wait_for_jobs(state, qtbot)
        return {bar.name: bar.share for bar in page.one.answer_card.bars.bars}

    page.one.take_file(picture)
    assert shown() == fresh[newer]
    assert not page.model.switched.isVisible()
    for run_id in (older, newer, older):  # the item stays, and is given to the next one
        row = [newer, older].index(run_id)
        page.model_box.setCurrentIndex(row)
        page.model_box.activated.emit(row)
        assert shown() == fresh[run_id]
        assert page.model.switched.isVisible()
        assert "Same backbone as before" in page.model.switched.text()
    assert page.one.image.view.isVisible()

    card, folder = page.export_card, project.folder.parent / "adapter"
    size = adapter_size(project.run(older))
    assert size is not None
    assert [card.what.itemText(row) for row in range(card.what.count())] == [
        "Whole model",
        f"Adapter alone (PEFT), about {size_text(size)}",
    ]
    card.what.setCurrentIndex(1)
    card.export(folder)
    wait_for_jobs(state, qtbot)
    assert (folder / "adapter_model.safetensors").stat().st_size == pytest.approx(size, rel=0.3)
    assert not (folder / "model.safetensors").exists()
    assert card.result.text().startswith(f"The adapter is in {folder}")

    best = project.run(newer).folder / "checkpoints" / "best"
    for number in (1, 2):
        shutil.copytree(best, best.with_name(f"snapshot-{number}"))
    page.refresh()
    assert "2 snapshots together" in page.model_box.itemText(1)
    page.model_box.setCurrentIndex(1)
    page.model_box.activated.emit(1)
    assert shown() == pytest.approx(fresh[newer])
    page.model.other.setCurrentIndex(page.model.other.findData(older))
    page.model.other.activated.emit(page.model.other.currentIndex())
    wait_for_jobs(state, qtbot)
    assert {bar.name: bar.other for bar in page.one.answer_card.bars.bars} == fresh[older]
    page.use_run(older)
    assert shown() == fresh[older]

    page.model.other.setCurrentIndex(page.model.other.findData(newer))
    page.model.other.activated.emit(page.model.other.currentIndex())
    wait_for_jobs(state, qtbot)
    assert page.one.answer_card.other.text().startswith(run_title(newer, registry))
    assert {bar.name: bar.other for bar in page.one.answer_card.bars.bars} == fresh[newer]
    (project.run(newer).folder / "checkpoints" / "best" / "model.safetensors").write_bytes(b"gone")
    assert page._pool is not None
    page._pool.clear()
    with qtbot.waitSignal(state.error, timeout=LONG):
        page._ask_other(newer)
    wait_for_jobs(state, qtbot)
    assert "damaged" in page.one.answer_card.other.text()


def test_models_are_listed_with_their_data_task_and_metric_and_change_places_with_what_they_are_compared_with(
    page: PredictPanel, state: AppState, pictures: Path, qtbot: QtBot
) -> None:
    model, card = page.model, page.one.answer_card
    assert re.search(r"· \d{3} .+ · shapes · Classification · Macro F1 [01]\.\d{3}$", model.box.itemText(0))
    view = model.box.view()
    assert view.minimumWidth() > view.sizeHintForColumn(0), "whole lines are shown"
    first, second = (model.box.itemData(row)[1] for row in range(2))
    model.other.setCurrentIndex(model.other.findData(second))
    page.one.take_file(next(pictures.glob("circle/*.png")))
    qtbot.waitUntil(lambda: card.legend.isVisible(), timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert card.legend.text == f"Chosen model, {run_title(second, state.registry)}"
    page.use_run(second)
    wait_for_jobs(state, qtbot)
    assert model.other_run == first
    model.other.setCurrentIndex(0)
    model.other.activated.emit(0)
    assert not card.legend.isVisible()
