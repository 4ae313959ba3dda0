"""Every task through the window alone: its own files are imported, learned from, judged, predicted and exported."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QTableView
from pytestqt.qtbot import QtBot

from tests.cli.test_anomaly import write_machine
from tests.cli.test_audio import model as listener
from tests.cli.test_audio import say
from tests.cli.test_generation import pair as writer
from tests.cli.test_recommend import FILMS, liking
from tests.cli.test_text_tasks import FACTS, encoder
from tests.gui import kinds
from tests.gui.conftest import click, wait_for_end, wait_for_jobs
from tests.gui.test_kinds_of_data import imported
from tests.gui.trained import QUICK
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.store.project import Project

__all__ = ["encoder", "listener", "writer"]
LONG = 60_000


def write_names(path: Path) -> Path:
    """Sentences in which people and places are marked."""
    lines = []
    for person, verb, place in FACTS[::4]:
        places = [f"{word} {'I' if number else 'B'}-PLACE" for number, word in enumerate(place.split())]
        lines += [f"{person} B-PERSON", *(f"{word} O" for word in verb.split()), *places, ". O", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_questions(path: Path) -> Path:
    """Paragraphs with questions, as SQuAD has them."""
    paragraphs = []
    for number, (person, verb, place) in enumerate(FACTS[::4]):
        text = f"{person} {verb} {place} ."
        where = {"id": f"{number}", "question": "where ?"}
        answers = [{"text": place, "answer_start": text.index(place)}]
        paragraphs.append({"context": text, "qas": [{**where, "answers": answers}]})
    path.write_text(json.dumps({"data": [{"title": "facts", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def write_speech(folder: Path) -> Path:
    """Recordings of 12 speakers with their transcripts, as LibriSpeech has them."""
    for number in range(12):
        for part, phrase in enumerate(("ab c", "cd a")):
            name = f"{number}-1-{part:04}"
            say(folder / f"{number}" / "1" / f"{name}.flac", phrase, seed=number, rate=16000)
        lines = [f"{number}-1-0000 AB C", f"{number}-1-0001 CD A"]
        (folder / f"{number}" / "1" / f"{number}-1.trans.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def write_films(folder: Path) -> Path:
    """Who has rated which film, and what the films are about."""
    folder.mkdir()
    plots = "\n".join(f"{number},{plot}" for number, plot in FILMS.items())
    (folder / "films.csv").write_text(f"film_id,plot\n{plots}\n", encoding="utf-8")
    made = random.Random(0)
    rows = [(user, film) for user in range(12) for film in made.sample(range(12), 6)]
    rated = "\n".join(f"user {user},{film},{liking(user, film)}" for user, film in rows)
    (folder / "ratings.csv").write_text(f"user_id,film_id,rating\n{rated}\n", encoding="utf-8")
    return folder / "ratings.csv"


def write_readings(path: Path) -> Path:
    """What sensors say of a machine, most of the time in order."""
    faults = {("test", "hot"): 6, ("validation", "hot"): 6}
    write_machine(path, {("train", "good"): 40, ("validation", "good"): 12, ("test", "good"): 12} | faults)
    path.write_text(path.read_text(encoding="utf-8").replace("state", "label", 1), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Row:
    """A task and how it is gone through.

    Attributes:
        task: The task.
        write: Writes its source.
        name: Where.
        columns: Titles of the table of items.
        backbone: The smallest network for it, as in a recipe.
        model: Fixture of a model folder that is its weights, and the option that takes it.
        head: Options of the head.
        result: Titles that the table of the result has; with ``"matrix"`` or ``"scatter"`` beside it.
        give: Gives the Predict page one item of the source.
        chosen: Fields of the import form that are set by hand.
    """

    task: str
    write: Callable[[Path], Path]
    name: str
    columns: tuple[str, ...]
    backbone: dict[str, Any]
    result: tuple[str, ...]
    give: Callable[[PredictPanel, Path], None]
    model: tuple[str, str] = ("", "")
    head: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)


def give_file(pattern: str) -> Callable[[PredictPanel, Path], None]:
    return lambda page, source: page.one.take_file(sorted(source.parent.rglob(pattern))[0])


def give_text(text: str, second: str = "") -> Callable[[PredictPanel, Path], None]:
    def give(page: PredictPanel, _source: Path) -> None:
        page.one.text.text.setPlainText(text)
        page.one.text.pair.setText(second)
        page.one.text.go.click()

    return give


def give_row(page: PredictPanel, _source: Path) -> None:
    page.one.row.go.click()


def give_both(page: PredictPanel, source: Path) -> None:
    page.one.take_file(source.parent / "images" / "bench_000.jpg")
    page.one.both.text.text.setPlainText("when the funny part is missing")
    page.one.both.text.go.click()


def give_film(page: PredictPanel, source: Path) -> None:
    page.one.user.setText("user 1")
    give_text(FILMS[14])(page, source)


def resnet(size: int) -> dict[str, Any]:
    return {"name": "test_resnet", "options": {"weights": "random", "image_size": size}}


ENCODER: dict[str, Any] = {"name": "auto_model", "options": {}}
IMAGES = ("File", "Label", "Split", "Size")
TEXTS = ("Text", "Label", "Split", "Source")
SMALL = {"width": 32, "layers": 1}
READINGS = ("load", "temperature", "vibration", "current", "machine")
PENGUIN = ("island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
ROWS = (
    Row(
        "segmentation",
        lambda path: kinds.write_cells(path, 12, (96, 72)),
        "cells",
        IMAGES,
        resnet(64),
        ("IoU", "Pixels"),
        give_file("images/*.png"),
        head={"width": 16},
    ),
    Row(
        "detection",
        lambda path: kinds.write_parts(path, 12, (120, 80)),
        "parts",
        IMAGES,
        resnet(96),
        ("AP", "Boxes"),
        give_file("*.jpg"),
        head={"width": 32, "depth": 1},
    ),
    Row(
        "token_classification",
        write_names,
        "names.conll",
        TEXTS,
        ENCODER,
        ("Parts",),
        give_text("Dora went to Rome ."),
        ("encoder", "weights"),
    ),
    Row(
        "question_answering",
        write_questions,
        "facts.json",
        ("Text", "Label", "Split", "Group", "Source"),
        ENCODER,
        ("Parts",),
        give_text("Dora went to Rome .", "where ?"),
        ("encoder", "weights"),
    ),
    Row(
        "generation",
        lambda path: kinds.write_reports(path, 24),
        "reports.csv",
        TEXTS,
        {"name": "language_model", "options": {"max_length": 12, "max_answer": 6}},
        ("Expected", "Written"),
        give_text("Anna lives in Rome"),
        ("writer", "weights"),
        {"max_new_tokens": 4},
    ),
    Row(
        "speech_recognition",
        write_speech,
        "speech",
        ("File", "Label", "Split", "Length", "Group"),
        {"name": "auto_audio", "options": {}},
        ("Expected", "Written"),
        give_file("*.flac"),
        ("listener", "weights"),
    ),
    Row(
        "classification",
        lambda path: kinds.write_calls(path, 5),
        "calls",
        ("File", "Label", "Split", "Length"),
        {"name": "auto_audio", "options": {}},
        ("F1", "Items", "matrix"),
        give_file("*.wav"),
        ("listener", "weights"),
    ),
    Row(
        "classification",
        lambda path: kinds.write_penguins(path, 60),
        "penguins.csv",
        (
            "Label",
            "Split",
            *("island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"),
            "Source",
        ),
        {"name": "table_mlp", "options": SMALL},
        ("F1", "Items", "matrix"),
        give_row,
    ),
    Row(
        "forecasting",
        lambda path: kinds.write_load(path, 240),
        "load.csv",
        ("Label", "Split", "load_mw", "temperature", "Source"),
        {"name": "patch_transformer", "options": SMALL},
        ("Item", "Loss"),
        give_row,
    ),
    Row(
        "classification",
        kinds.write_memes,
        "memes",
        ("Text", "File", "Label", "Split", "Size"),
        {"name": "test_resnet+auto_model", "options": {"image_weights": "random", "image_image_size": 32}},
        ("F1", "Items", "matrix"),
        give_both,
        ("encoder", "text_weights"),
        chosen={"import_format": "image_text_table"},
    ),
    Row(
        "recommendation",
        write_films,
        "films",
        ("Text", "User", "Item", "Label", "Split", "Source"),
        ENCODER,
        ("Furthest off", "scatter"),
        give_film,
        ("encoder", "weights"),
    ),
    Row(
        "anomaly_detection",
        write_readings,
        "machine.csv",
        ("Label", "Split", *READINGS, "Source"),
        {"name": "table_mlp", "options": SMALL},
        ("F1", "Items", "matrix"),
        give_row,
        chosen={"import_task": "anomaly_detection"},
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.task}-{row.name}" for row in ROWS])
def test_it_is_imported_learned_judged_predicted_and_exported(
    row: Row,
    window: MainWindow,
    state: AppState,
    project: Project,
    tmp_path: Path,
    qtbot: QtBot,
    request: pytest.FixtureRequest,
) -> None:
    state.set_project(project)
    window.go_to("data")
    data = window.panel("data")
    assert isinstance(data, DataPanel)
    wait_for_jobs(state, qtbot)
    source = row.write(tmp_path / row.name)
    revision = imported(data, state, source, qtbot, chosen=row.chosen)
    assert revision.task == row.task
    look_at_the_items(data, state, row, qtbot)

    window.go_to("train")
    train = window.panel("train")
    assert isinstance(train, TrainPanel)
    options = dict(row.backbone["options"])
    if row.model[0]:
        options[row.model[1]] = str(request.getfixturevalue(row.model[0]))
    train.draft.set_backbone({**row.backbone, "options": options})
    train.draft.set_options("training", {**QUICK, "epochs": 1, "batch_size": 8})
    settle(train, state, qtbot)
    train.draft.set_options("head", row.head)
    settle(train, state, qtbot)
    assert train.draft.result.can_start, train.draft.result.problems
    click(train, "train_start", qtbot)
    wait_for_end(train, qtbot)
    wait_for_jobs(state, qtbot)
    (run,) = project.runs()
    assert run.status == "done"

    window.go_to("runs")
    runs = window.panel("runs")
    assert isinstance(runs, RunsPanel)
    state.show_run.emit(run.id)
    wait_for_jobs(state, qtbot)
    assert runs.view is not None
    result = runs.view.result
    titles = set(titles_of(result.classes))
    beside = {0: "matrix", 1: "items"}.get(result._right.currentIndex(), "scatter")
    assert set(row.result) <= titles | {beside}

    window.go_to("predict")
    page = window.panel("predict")
    assert isinstance(page, PredictPanel)
    page.use_run(run.id)
    wait_for_jobs(state, qtbot)
    row.give(page, source)
    shown = page.one.answer_card
    qtbot.waitUntil(lambda: page.one.answer != "…", timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert page.one.answer != "—", shown.sure.text()
    assert shown.bars.bars or shown.view.case is not None or row.task == "recommendation"
    click(page, "found_similar", qtbot)
    qtbot.waitUntil(lambda: page.one.found._job is None, timeout=LONG)
    wait_for_jobs(state, qtbot)
    # A film that many have rated is shown once.
    many = len(set(revision.table.column("item").to_pylist())) if row.task == "recommendation" else len(revision)
    assert len(page.one.found.gallery.items) == min(12, many), page.one.found._said.text()
    if row.task == "recommendation":
        look_at_the_best_items(page, state, qtbot)
    page.export_card.export(tmp_path / "exported")
    qtbot.waitUntil(lambda: page.export_card.result.isVisible(), timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert (tmp_path / "exported" / "config.json").is_file()


def settle(train: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not train.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)


def titles_of(table: QTableView) -> list[str]:
    model = table.model()
    return [str(model.headerData(place, Qt.Orientation.Horizontal)) for place in range(model.columnCount())]


def look_at_the_items(panel: DataPanel, state: AppState, row: Row, qtbot: QtBot) -> None:
    """One item is shown, and the table has its columns and sorts by each of them."""
    browser = panel.browser
    assert browser.revision is not None
    browser.gallery.set_current(0)
    wait_for_jobs(state, qtbot)
    assert browser.details.view.case is not None
    assert browser.details.view.case.sample == browser.revision.sample(int(browser.rows[0]))
    browser.tabs.setCurrentIndex(1)
    assert tuple(titles_of(browser.table)) == row.columns
    for place, _title in enumerate(row.columns):
        browser.table.sortByColumn(place, Qt.SortOrder.DescendingOrder)
        wait_for_jobs(state, qtbot)
        assert browser.table.model().index(0, place).data()


def look_at_the_best_items(page: PredictPanel, state: AppState, qtbot: QtBot) -> None:
    """What a user has not rated is shown, the best first; also films that nobody has rated."""
    found = page.one.found
    click(page, "found_best", qtbot)
    qtbot.waitUntil(lambda: found._job is None, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert "user 1" in found._said.text()
    values = [float(item.caption.split(" · ")[0]) for item in found.gallery.items]
    assert values == sorted(values, reverse=True)
    assert {"12", "13", "14"} <= {item.id for item in found.gallery.items}
    with qtbot.waitSignal(state.message) as told:
        found.gallery.opened.emit("13")
    assert "Nobody has rated 13" in told.args[0]
    page.one.user.setText("nobody")
    assert not found.gallery.items, "those were for somebody else"
