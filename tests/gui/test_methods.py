"""Methods and samples per class on the Train page: chosen, set, saved, loaded, refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QLineEdit, QMenu
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_end, wait_for_jobs
from tests.gui.test_train_panel import LONG, wait_for_check
from tests.gui.trained import QUICK, TINY_VISION
from tlstudio import api
from tlstudio.api import DataStream, Method, Options, option
from tlstudio.api.method_modules import MethodContext, MethodModule
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.recipe import read_recipe_file
from tlstudio.engine.target import read_target, write_target
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.run_reading import read_details
from tlstudio.gui.state import AppState
from tlstudio.gui.step_values import GRADIENTS, RATES
from tlstudio.gui.widgets.methods_dialog import METHOD_ROLE, REASON_ROLE, MethodsDialog
from tlstudio.gui.widgets.run_curves import RunCurves
from tlstudio.gui.widgets.run_table import RunTable

SOLID = Qt.PenStyle.SolidLine


class BorrowOptions(Options):
    """Options of the method below."""

    source: str = option("", title="Source", help="Another data set.", browse="dataset")
    others: str = option("", title="Others", help="Several data sets.", browse="datasets")
    teacher: str = option("", title="Teacher", help="An earlier run.", browse="run")
    strength: float = option(0.5, title="Lambda", help="Weight of the other loss.", ge=0, le=1)


class Borrow(Method):
    """Wants another data set, and stands beside no L2-SP."""

    name = "borrow"
    title = "Borrow"
    description = "Borrows samples. For tests."
    kind = "two domains"
    source = "A test"
    excludes = ("l2_sp",)
    Options = BorrowOptions

    def streams(self, options: api.Options) -> list[DataStream]:
        assert isinstance(options, BorrowOptions)
        return [DataStream("source", options.source)] if options.source else []

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        return MethodModule(context)


@pytest.fixture
def page(trained_state: AppState, qtbot: QtBot) -> Iterator[TrainPanel]:
    label = trained_state.registry.add(Borrow())
    panel = TrainPanel(trained_state)
    qtbot.addWidget(panel)
    panel.resize(1198, 692)
    panel.show()
    panel.draft.load(
        {
            "dataset": {"name": "shapes", "revision": "r1"},
            "backbone": TINY_VISION,
            "strategy": {"name": "full"},
            "training": QUICK,
        }
    )
    wait_for_check(panel, trained_state, qtbot)
    yield panel
    trained_state.registry.remove(label)


def open_dialog(page: TrainPanel, state: AppState, qtbot: QtBot) -> MethodsDialog:
    click(page, "train_methods_change", qtbot)
    dialog = page.findChildren(MethodsDialog)[-1]
    wait_for_jobs(state, qtbot)
    return dialog


def fitting(box: QComboBox) -> list[bool]:
    """Which entries of a box can be chosen."""
    model = box.model()
    return [bool(model.flags(model.index(row, 0)) & Qt.ItemFlag.ItemIsEnabled) for row in range(box.count())]


def import_texts(state: AppState, table: Path) -> None:
    """Bring texts into the project as ``reviews``."""
    assert state.project is not None
    request, _ = plan_import(state.registry.formats.values(), table, name="reviews", task="classification")
    import_dataset(request, state.project.datasets_folder)


def check_box(dialog: MethodsDialog, name: str, state: AppState, qtbot: QtBot) -> None:
    """Click the box of a method."""
    item = dialog.item(name)
    assert item is not None
    dialog.list.scrollToItem(item)
    where = dialog.list.visualItemRect(item).topLeft() + QPoint(20, 16)
    qtbot.mouseClick(dialog.list.viewport(), Qt.MouseButton.LeftButton, pos=where)
    qtbot.waitUntil(lambda: not state.jobs.jobs, timeout=LONG)


def test_methods_are_found_checked_and_set_and_those_that_do_not_fit_say_why(
    page: TrainPanel, trained_state: AppState, qtbot: QtBot, reviews_csv: Path
) -> None:
    import_texts(trained_state, reviews_csv)
    dialog = open_dialog(page, trained_state, qtbot)
    rows = [dialog.list.item(row) for row in range(dialog.list.count())]
    assert "TWO DOMAINS, OR SEVERAL TASKS" in [row.text() for row in rows if row.data(METHOD_ROLE) is None]
    qtbot.keyClicks(dialog.search, "borrows")
    assert dialog.item("l2_sp") is None
    check_box(dialog, "borrow", trained_state, qtbot)
    assert dialog.checked == ("borrow",)
    dialog.search.clear()
    refused = dialog.item("l2_sp")
    assert refused is not None
    assert refused.data(REASON_ROLE) == "Not together with Borrow."
    check_box(dialog, "l2_sp", trained_state, qtbot)
    assert dialog.checked == ("borrow",), "what does not fit cannot be checked"
    click(dialog, "methods_use", qtbot)
    wait_for_check(page, trained_state, qtbot)
    assert page.draft.methods == {"borrow": {}}
    assert page.setup.methods_card.accessibleDescription() == "Borrow. 1 method"
    form = page.setup.forms.forms["methods.borrow"]
    assert form.isVisible()
    source, teacher = form.rows["source"].editor, form.rows["teacher"].editor
    assert isinstance(source, QComboBox)
    assert isinstance(teacher, QComboBox)
    assert [source.itemData(row) for row in range(source.count())] == ["", "reviews@r1", "shapes@r1"]
    assert fitting(source) == [True, False, True], "texts cannot stand beside images"
    tip = source.itemData(1, Qt.ItemDataRole.ToolTipRole)
    assert tip == "The data set 'reviews' has texts, the one that is learned has images. Choose a data set of images."
    assert teacher.count() == 3, "two runs have ended"
    qtbot.keyClicks(source, "s")
    wait_for_check(page, trained_state, qtbot)
    recipe = page.draft.result.recipe
    assert recipe is not None
    assert recipe.methods == {"borrow": {"source": "shapes@r1"}}
    assert "--method borrow -o methods.borrow.source=shapes@r1" in page.draft.result.command
    click(form, "methods.borrow_others_browse", qtbot)
    menu = form.findChild(QMenu, "methods.borrow_others_menu")
    assert isinstance(menu, QMenu)
    reviews, shapes = menu.actions()
    assert (reviews.isEnabled(), shapes.isEnabled(), reviews.toolTip()) == (False, True, tip)
    shapes.trigger()
    assert form.values["others"] == "shapes"
    wait_for_check(page, trained_state, qtbot)


def test_methods_and_samples_per_class_are_saved_loaded_and_reset(
    page: TrainPanel, trained_state: AppState, qtbot: QtBot, tmp_path: Path
) -> None:
    shots = page.setup.forms.dataset.rows["shots"].editor
    assert isinstance(shots, QLineEdit)
    assert shots.isVisible()
    assert shots.text() == "all"
    shots.setFocus()
    shots.selectAll()
    qtbot.keyClicks(shots, "2")
    page.draft.set_methods(["l2_sp"])
    page.draft.set_options("methods.l2_sp", {"alpha": 0.5})
    wait_for_check(page, trained_state, qtbot)
    assert page.ready._data.figure == "6", "three classes of two"
    assert page.ready._sentence.text().endswith("Methods at work: Stay near the start (L2-SP).")
    assert "methods.l2_sp.alpha=0.5" in page.draft.result.command
    assert "--shots 2" in page.draft.result.command
    path = tmp_path / "recipe.toml"
    page.setup.foot.recipe_menu.save_recipe(path)
    saved = read_recipe_file(path)
    assert saved["methods"] == {"l2_sp": {"alpha": 0.5}}
    assert saved["dataset"]["shots"] == 2
    action = page.findChild(QAction, "train_reset_recipe")
    assert isinstance(action, QAction)
    action.trigger()
    wait_for_check(page, trained_state, qtbot)
    assert page.draft.methods == {}
    assert shots.text() == "all"
    assert "methods.l2_sp" not in page.setup.forms.forms
    page.setup.foot.recipe_menu.load_recipe(path)
    wait_for_check(page, trained_state, qtbot)
    assert shots.text() == "2"
    assert page.setup.forms.forms["methods.l2_sp"].rows["alpha"].value == 0.5
    page.draft.set_options("dataset", {"shots": 500})
    wait_for_check(page, trained_state, qtbot)
    assert not page.draft.result.can_start
    assert "There are not 500 samples" in page.setup.forms.dataset.rows["shots"].problem.text()


def test_what_strategy_and_methods_tell_is_plotted_while_a_run_goes_and_when_it_is_done(
    page: TrainPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    page.draft.set_component("strategy", "gradual_unfreezing")
    page.draft.set_methods(["l2_sp"])
    wait_for_check(page, trained_state, qtbot)
    page.setup.start()
    wait_for_end(page, qtbot)
    wait_for_jobs(trained_state, qtbot)
    plot = page.live.told_plot
    joined, distance = "unfrozen groups", "l2_sp/distance from the start"
    assert list(plot.things) == [RATES, GRADIENTS, joined, distance]
    assert plot.chooser.isVisible()
    assert plot.chooser.currentText() == "Learning rate"
    plot.chooser.setCurrentIndex(2)
    assert (plot.shown, plot.chooser.currentText()) == (joined, "Unfrozen groups")
    told = plot.curve(joined).y.tolist()
    assert told == sorted(told)
    assert set(told) == {0, 1}, "one more in the second epoch"
    plot.chooser.setCurrentIndex(3)
    assert plot.shown == distance
    assert plot.keys == ("distance from the start",)
    assert plot.curve("distance from the start").high > 0
    plot.choose(GRADIENTS)
    assert "head" in plot.keys
    project = trained_state.project
    assert project is not None
    table = RunTable(trained_state)
    qtbot.addWidget(table)
    table.runs_model.set_runs(project.runs())
    table.filter_model.search("near the start l2_sp")
    assert table.filter_model.rowCount() == 1, "runs are found by the titles and names of their methods"
    assert table.filter_model.index(0, 4).data() == "Gradual unfreezing + l2_sp"
    runs = [read_details(project, run, trained_state.registry) for run in project.runs()]
    curves = RunCurves("curves", trained_state)
    qtbot.addWidget(curves)
    curves.show_run(runs[0].curves)
    assert list(curves.told_plot.things) == [RATES, GRADIENTS, joined, distance]
    assert set(curves.told_plot.keys) == set(runs[0].curves.told[RATES])
    curves.show_runs({"a": runs[0].curves, "b": runs[1].curves}, {"a": (0, SOLID), "b": (1, SOLID)})
    assert list(curves.told_plot.things) == [joined, distance], "of several runs, what they can be compared by"
    assert list(curves.told_plot.keys) == ["a"]
    assert curves.told_plot.chooser.isVisibleTo(curves)
    alone = replace(runs[0].curves, told={distance: runs[0].curves.told[distance]})
    curves.show_runs({"a": alone}, {"a": (0, SOLID)})
    assert not curves.told_plot.chooser.isVisibleTo(curves), "one thing needs no choice"
    curves.show_runs({"b": runs[1].curves}, {"b": (1, SOLID)})
    assert not curves.told_plot.isVisibleTo(curves)


def test_what_will_learn_is_a_picture_whose_blocks_are_told_by_pointer_and_keyboard(
    page: TrainPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    page.draft.set_component("strategy", "lora")
    wait_for_check(page, trained_state, qtbot)
    picture = page.ready.picture
    flight = page.draft.result.preflight
    assert flight is not None
    assert picture.isVisible()
    assert picture.parts == flight.groups
    assert picture.told() == ""
    block = picture._blocks()[-1].center().toPoint()
    qtbot.mouseMove(picture, block)
    assert picture.told().startswith("head: ")
    picture.setFocus()
    qtbot.keyClick(picture, Qt.Key.Key_Right)
    second = flight.groups[1]
    assert picture.accessibleDescription().startswith(f"{second.name}: ")
    assert "put in by the strategy" in picture.told()
    assert page.ready._memory.figure != "—"
    page.draft.set_options("training", {**QUICK, "learning_rate": 0})
    wait_for_check(page, trained_state, qtbot)
    assert not picture.isVisible(), "of what cannot start, nothing is known"


def test_a_method_that_misses_its_teacher_leaves_the_other_choices_shown_and_leads_to_where_it_is_missing(
    page: TrainPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    cards = page.setup.cards.values()
    before = [card.accessibleDescription() for card in cards]
    page.setFocus()
    page.draft.load({key: part for key, part in page.draft.values.items() if key != "strategy"})  # it is recommended
    page.draft.set_methods(["distillation"])
    wait_for_check(page, trained_state, qtbot)
    assert [problem.where for problem in page.draft.result.problems] == ["methods.distillation.teacher"]
    after = [card.accessibleDescription() for card in cards]
    assert after[:2] == before[:2]
    assert after[2].startswith("Linear probe")
    told = "Learn from another run (distillation) · Teacher: a value is required."
    assert page.ready.problems[0].startswith(told)
    said = page.setup.foot.sentence.text()
    assert said.startswith("Teacher: a value is required.")
    page.setup.foot.show_help("What this is.")
    assert page.setup.foot.sentence.text() == said, "help does not hide what is wrong"
    teacher = page.setup.forms.forms["methods.distillation"].rows["teacher"]
    qtbot.waitUntil(lambda: not teacher.problem.visibleRegion().isEmpty(), timeout=LONG)
    assert not teacher.editor.visibleRegion().isEmpty(), "it was scrolled into sight"
    other, fits = (run.id for run in trained_state.queue.runs())
    assert trained_state.project is not None
    learned = trained_state.project.run(other)
    target = read_target(learned)
    write_target(learned, replace(target, classes=("circle", "ring", *target.classes[2:])))
    page.draft.set_methods([])
    page.draft.set_methods(["distillation"])
    wait_for_check(page, trained_state, qtbot)
    box = page.setup.forms.forms["methods.distillation"].rows["teacher"].editor
    assert isinstance(box, QComboBox)
    offered = [box.findData(run) for run in (other, fits)]
    assert [fitting(box)[row] for row in offered] == [False, True]
    assert "classes of the run differ" in box.itemData(offered[0], Qt.ItemDataRole.ToolTipRole)
    page.draft.set_options("methods.distillation", {"teacher": fits})
    wait_for_check(page, trained_state, qtbot)
    flight = page.draft.result.preflight
    assert flight is not None
    time = page.ready._time.figure.replace("~", "about ")
    assert time in flight.sentence, "the card and the sentence say the same time"
    assert any(note.startswith("Beside Learn from another run (distillation), kept") for note in page.ready.problems)
