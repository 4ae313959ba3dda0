"""The Train page on real small projects: pickers, checks, a run with its reins, empty states."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QDialog, QLabel, QLineEdit, QProgressBar
from pytestqt.qtbot import QtBot

from tests.engine.conftest import draw_rare, late_gap
from tests.gui.conftest import click, wait_for_end, wait_for_jobs
from tests.gui.trained import QUICK, TINY_VISION, tiny_recipe
from tlstudio.api import Options
from tlstudio.api.nn import TransferModel
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.recipe import parse_recipe
from tlstudio.engine.run_queue import LOCK_NAME
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import DARK
from tlstudio.gui.widgets.bar_list import BarList
from tlstudio.gui.widgets.candidates import Situation
from tlstudio.gui.widgets.component_picker import PickerDialog
from tlstudio.gui.widgets.methods_dialog import MethodsDialog
from tlstudio.gui.widgets.picker_model import CANDIDATE_ROLE
from tlstudio.gui.widgets.problem_label import ProblemLabel
from tlstudio.store.project import Project
from tlstudio_strategies.probe import LinearProbe

LONG = 60_000


def wait_for_check(panel: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not panel.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)


@pytest.fixture
def page(state: AppState, shapes_project: Project, qtbot: QtBot) -> TrainPanel:
    """The Train page with the data set ``shapes`` and a tiny backbone."""
    state.set_project(shapes_project)
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.resize(1198, 692)
    panel.show()
    panel.draft.load({"dataset": {"name": "shapes", "revision": "r1"}, "backbone": TINY_VISION, "training": QUICK})
    wait_for_check(panel, state, qtbot)
    return panel


def test_without_a_project_the_page_leads_to_the_project_page(state: AppState, qtbot: QtBot) -> None:
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    with qtbot.waitSignal(state.navigate) as gone:
        click(panel, "train_empty_action", qtbot)
    assert gone.args == ["project"]


def test_without_data_the_page_leads_to_the_data_page(state: AppState, project: Project, qtbot: QtBot) -> None:
    state.set_project(project)
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    with qtbot.waitSignal(state.navigate) as gone:
        click(panel, "train_empty_action", qtbot)
    assert gone.args == ["data"]


def test_nothing_is_checked_before_the_page_is_first_shown(
    state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    state.set_project(shapes_project)
    state.select_dataset("shapes")
    assert panel.draft.pending
    assert not any(timer.isActive() for timer in panel.draft.findChildren(QTimer))
    assert not state.jobs.jobs
    panel.show()
    wait_for_check(panel, state, qtbot)
    assert panel.draft.result.can_start


def test_while_the_data_are_looked_at_the_page_says_so(state: AppState, shapes_project: Project, qtbot: QtBot) -> None:
    state.set_project(shapes_project)
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    busy = panel.ready.findChild(QProgressBar, "train_ready_busy")
    assert isinstance(busy, QProgressBar)
    assert busy.isVisible()
    assert panel.setup.foot.sentence.text().startswith("Looking at your data and the models on this machine")
    assert panel.ready._sentence.text().startswith("Looking at your data and the models on this machine")
    assert panel.setup.cards["backbone"].accessibleDescription().startswith("Looking")
    bars = panel.ready.findChild(BarList)
    assert isinstance(bars, BarList)
    told: list[tuple[str, str, bool]] = []
    panel.draft.looked.connect(lambda _, now: told.append((now, panel.setup.foot.sentence.text(), bars.isVisible())))
    wait_for_check(panel, state, qtbot)
    assert all(now == shown for now, shown, _ in told)
    assert told[0][0].startswith("Loading the libraries")
    assert told[0][2], "the data are shown before anything else is known"
    assert not busy.isVisible()
    panel.draft.set_options("training", {"epochs": 3})
    assert busy.isVisible()
    assert panel.ready._sentence.text().startswith("Trains"), "what is known of the data stays"
    wait_for_check(panel, state, qtbot)


def test_a_check_that_is_cancelled_in_the_status_bar_does_not_leave_the_page_waiting(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    page.draft.set_options("training", {**QUICK, "epochs": 3})
    qtbot.waitUntil(lambda: bool(state.jobs.jobs))
    state.jobs.jobs[0].cancel()
    wait_for_check(page, state, qtbot)
    assert "cancelled" in page.ready.problems[0]
    page.draft.set_options("training", QUICK)
    wait_for_check(page, state, qtbot)
    assert page.draft.result.can_start


class Unlucky(LinearProbe):
    """A strategy with a bug."""

    name = "unlucky"
    title = "Unlucky"

    def prepare(self, model: TransferModel, options: Options) -> None:
        raise ZeroDivisionError("float division by zero")


def test_a_bug_in_a_plugin_is_a_sentence_on_the_page_and_a_report_elsewhere(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    label = state.registry.add(Unlucky())
    try:
        with qtbot.waitSignal(state.error, timeout=LONG) as told:
            page.draft.set_component("strategy", "unlucky")
        wait_for_check(page, state, qtbot)
    finally:
        state.registry.remove(label)
    assert isinstance(told.args[0], ZeroDivisionError)
    assert not page.setup.foot.train_button.isEnabled()
    shown = " ".join([*page.ready.problems, page.setup.foot.sentence.text()])
    assert "Something went wrong inside" in shown
    assert "ZeroDivisionError" not in shown
    assert "float division" not in shown


def test_the_page_says_what_will_happen_before_the_start(page: TrainPanel) -> None:
    result = page.draft.result
    assert result.can_start
    assert result.preflight is not None
    assert page.setup.foot.sentence.text() == result.preflight.sentence
    assert page.setup.foot.train_button.isEnabled()
    assert page.setup.cards["backbone"].accessibleDescription().startswith("test_resnet")
    assert "3 classes" in page.setup.cards["head"].accessibleDescription()


def test_recommended_options_follow_the_strategy_and_keep_what_was_set(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    rate = page.setup.forms.forms["training"].rows["learning_rate"].editor
    assert isinstance(rate, QLineEdit)
    before = rate.text()
    page.draft.set_component("strategy", "full")
    wait_for_check(page, state, qtbot)
    assert rate.text() != before
    epochs = page.setup.forms.forms["training"].rows["epochs"].editor
    assert isinstance(epochs, QLineEdit)
    assert epochs.text() == str(QUICK["epochs"])


def test_settings_of_a_loaded_recipe_that_are_what_is_recommended_follow_another_strategy(
    page: TrainPanel, state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    said = {key: value for key, value in QUICK.items() if key != "batch_size"}
    probe = tiny_recipe(shapes_project, state.registry, training=said)
    page.edit_recipe(probe)
    wait_for_check(page, state, qtbot)
    assert page.draft.options("training") == said
    assert page.draft.options("backbone") == TINY_VISION["options"]
    page.draft.set_component("strategy", "full")
    wait_for_check(page, state, qtbot)
    full = tiny_recipe(shapes_project, state.registry, training=said, strategy={"name": "full"})
    assert full.training != probe.training
    assert page.draft.result.recipe is not None
    assert page.draft.result.recipe.training == full.training


def test_every_mistake_is_told_and_the_start_is_forbidden(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    form = page.setup.forms.forms["training"]
    for name, text in (("epochs", "0"), ("learning_rate", "fast")):
        editor = form.rows[name].editor
        assert isinstance(editor, QLineEdit)
        editor.selectAll()
        qtbot.keyClicks(editor, text)
    wait_for_check(page, state, qtbot)
    assert [problem.where for problem in page.draft.result.problems] == ["training.epochs", "training.learning_rate"]
    assert not page.setup.foot.train_button.isEnabled()
    assert len(page.ready.problems) == 2
    assert form.rows["epochs"].problem.isVisible()
    form.rows["learning_rate"].reset_button.click()
    assert not page.ready.problems, "what may just have been mended is no longer said"
    wait_for_check(page, state, qtbot)
    assert [problem.where for problem in page.draft.result.problems] == ["training.epochs"]


def links(page: TrainPanel) -> list[ProblemLabel]:
    found = page.ready.findChildren(ProblemLabel)
    return sorted((label for label in found if label.isVisible()), key=lambda label: label.y())


def test_each_mistake_leads_to_where_it_can_be_mended(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    said = {"epochs": -1, "clip_norm": -3}
    page.setFocus()
    page.draft.load({"backbone": TINY_VISION, "training": said, "methods": {"mixup": {"alpha": -4}, "gone": {}}})
    wait_for_check(page, state, qtbot)
    problems = page.draft.result.problems
    places = ["training.epochs", "training.clip_norm", "methods.mixup.alpha", "methods.gone"]
    assert [problem.where for problem in problems] == places
    forms = page.setup.forms.forms
    assert {name: forms["training"].rows[name].value for name in said} == said, "what is wrong is shown"
    assert page.ready.problems[2].startswith("Mixed samples (mixup) · Alpha: ")
    fold = forms["training"].fold
    assert fold is not None
    fold.set_opened(False)
    qtbot.waitUntil(lambda: len(links(page)) == 4 and links(page)[3].height() > 0)
    label = links(page)[1]
    at = label.rect().topLeft() + QPoint(label.fontMetrics().horizontalAdvance("Gradient clipping: -3"), 8)
    qtbot.mouseClick(label, Qt.MouseButton.LeftButton, pos=at)
    editor = forms["training"].rows["clip_norm"].editor
    assert fold.opened
    assert page.window().focusWidget() is editor
    area = page.setup._area.viewport()
    qtbot.waitUntil(lambda: area.rect().contains(editor.mapTo(area, editor.rect().center())), timeout=LONG)
    links(page)[2].setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(links(page)[2], Qt.Key.Key_Return)
    assert page.window().focusWidget() is forms["methods.mixup"].rows["alpha"].editor
    state.set_theme_choice("dark")
    qtbot.waitUntil(lambda: len(links(page)) == 4)
    assert DARK.accent_text in links(page)[3].text()
    links(page)[3].opened.emit("methods.gone")
    dialog = page.findChild(MethodsDialog)
    assert isinstance(dialog, MethodsDialog)
    wait_for_jobs(state, qtbot)
    dialog.use_button.click()
    wait_for_check(page, state, qtbot)
    assert list(page.draft.methods) == ["mixup"]
    page.setup.go_to("methods.sam")
    dialog = page.findChildren(MethodsDialog)[-1]
    assert dialog.list.currentItem() is dialog.item("sam")
    wait_for_jobs(state, qtbot)
    dialog.close()
    page.setup.go_to("dataset.name")
    assert page.window().focusWidget() is page.setup.dataset_box


def test_a_small_window_shows_all_figures_and_nothing_moves_the_settings_aside(page: TrainPanel, qtbot: QtBot) -> None:
    ready, figures = page.ready, page.ready._figures

    def shown() -> tuple[int, bool]:
        last = max(card.mapTo(ready, card.rect().bottomRight()).x() for card in figures)
        return len({card.y() for card in figures}), last < ready.viewport().width()

    page.resize(856, 692)
    qtbot.waitUntil(lambda: shown() == (2, True))
    page.resize(1198, 692)
    qtbot.waitUntil(lambda: shown() == (1, True))
    area = page.setup._area
    area.horizontalScrollBar().setRange(0, 20)
    area.horizontalScrollBar().setValue(20)
    assert area.horizontalScrollBar().value() == 0


def test_a_long_heading_does_not_make_the_column_wider_than_there_is_room(page: TrainPanel) -> None:
    fold = page.setup.forms.forms["training"].fold
    assert fold is not None
    fold.set_title("One, two, three, four, five, six, seven, eight, nine, ten, eleven and all the others")
    inside = page.setup._area.widget()
    assert inside is not None
    assert inside.minimumSizeHint().width() <= page.setup._area.viewport().width()
    assert fold.button.text().endswith("…")
    assert fold.button.toolTip().endswith("all the others")


def test_options_that_cannot_be_trained_are_shown_to_be_mended(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    page.draft.load({"backbone": TINY_VISION, "strategy": {"name": "lora", "options": {"rank": -3}}})
    wait_for_check(page, state, qtbot)
    assert [problem.where for problem in page.draft.result.problems] == ["strategy.rank"]
    row = page.setup.forms.forms["strategy"].rows["rank"]
    assert row.value == -3
    qtbot.waitUntil(row.problem.isVisible, timeout=LONG)  # a form is shown a moment after it was made


def test_the_picker_offers_what_fits_and_says_why_the_rest_does_not(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    click(page, "train_head_change", qtbot)
    dialog = page.findChild(PickerDialog)
    assert isinstance(dialog, PickerDialog)
    wait_for_jobs(state, qtbot)
    by_name = {candidate.name: candidate for candidate in dialog.model.candidates}
    assert by_name["classification"].reasons == ()
    assert "Regression solves regression" in by_name["regression"].reasons[0]
    assert dialog.model.candidates[0].name == "classification"
    dialog.search.setText("regression")
    qtbot.keyClick(dialog.search, Qt.Key.Key_Down)
    assert not dialog.choose_button.isEnabled()
    details = dialog.findChild(QLabel, "picker_details")
    assert isinstance(details, QLabel)
    assert details.text().endswith(f"\nSource: {state.registry.head('regression').source}")
    dialog.reject()


def test_a_strategy_is_picked_by_keyboard(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    click(page, "train_strategy_change", qtbot)
    dialog = page.findChild(PickerDialog)
    assert isinstance(dialog, PickerDialog)
    wait_for_jobs(state, qtbot)
    facts = {candidate.name: candidate.facts for candidate in dialog.model.candidates}
    assert facts["full"] == "Trains every layer"
    assert len(set(facts.values())) == len(facts), "each strategy says what it changes"
    details = dialog.findChild(QLabel, "picker_details")
    assert isinstance(details, QLabel)
    qtbot.keyClicks(dialog.search, "hu 2021")  # whose paper it is
    assert details.text() == f"Source: {state.registry.strategy('lora').source}"
    dialog.search.clear()
    qtbot.keyClicks(dialog.search, "dora")  # what its option does, of which its description tells
    with qtbot.waitSignal(dialog.picked) as picked:
        qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    assert picked.args == ["lora"]
    wait_for_check(page, state, qtbot)
    assert page.draft.chosen("strategy") == "lora"
    assert "rank" in page.setup.forms.forms["strategy"].rows
    assert page.setup.forms.forms["strategy"].isVisible()


def test_the_backbone_picker_lists_families_with_facts_of_what_is_in_sight(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    click(page, "train_backbone_change", qtbot)
    dialog = page.findChild(PickerDialog)
    assert isinstance(dialog, PickerDialog)
    qtbot.waitUntil(lambda: len(dialog.model.candidates) > 500, timeout=LONG)
    dialog.search.setText("mobilenetv4_conv_small")
    qtbot.waitUntil(
        lambda: any(c.read and c.family and c.facts for c in dialog.model.candidates if "mobilenetv4" in c.name),
        timeout=LONG,
    )
    wait_for_jobs(state, qtbot)
    dialog.reject()


def test_a_number_of_folds_queues_a_run_for_each_and_a_recipe_of_one_fold_trains_that_alone(
    page: TrainPanel, state: AppState, qtbot: QtBot, tmp_path: Path
) -> None:
    project, button, folds = state.project, page.setup.foot.train_button, page.setup.forms.dataset.rows["folds"].editor
    assert project is not None
    assert isinstance(folds, QLineEdit)
    assert folds.isVisible()
    assert folds.text() == "off"
    folds.setFocus()
    folds.selectAll()
    qtbot.keyClicks(folds, "3")
    wait_for_check(page, state, qtbot)
    assert button.accessibleName() == "Train 3 folds"
    assert page.setup.foot.sentence.text().startswith("3 folds, each: ")
    told = page.ready.findChild(QLabel, "train_ready_sentence")
    assert isinstance(told, QLabel)
    assert told.text().startswith("3 folds, each: ")
    assert "--folds 3" in page.draft.result.command
    with FileLock(project.folder / LOCK_NAME):  # somebody works the queue off, and waits for a run of his own
        click(page, "train_start", qtbot)
        assert state.queue.on
    queued = [project.run(run.id).read_recipe() for run in reversed(project.runs())]
    assert [recipe["dataset"]["fold"] for recipe in queued] == [1, 2, 3]
    page.edit_recipe(parse_recipe(queued[1]))
    wait_for_check(page, state, qtbot)
    assert button.accessibleName() == "Train fold 2"
    page.draft.set_options("dataset", {"folds": 3, "shots": 2})
    wait_for_check(page, state, qtbot)
    assert button.accessibleName() == "Train fold 2"
    page.draft.set_options("dataset", {"folds": 1})
    wait_for_check(page, state, qtbot)
    assert "There is no fold 1 of 1" in page.setup.forms.dataset.rows["folds"].problem.text()
    assert not page.draft.result.can_start
    qtbot.waitUntil(lambda: not state.queue.on, timeout=LONG)
    wait_for_jobs(state, qtbot)
    request, _ = plan_import(state.registry.formats.values(), draw_rare(tmp_path / "rare"), name="rare")
    import_dataset(request, project.datasets_folder)
    number = late_gap(project.dataset("rare"))
    data = {"name": "rare", "revision": "r1", "folds": number, "shots": 1}
    page.draft.load({"dataset": data, "backbone": TINY_VISION, "strategy": {"name": "linear_probe"}})
    wait_for_check(page, state, qtbot)
    assert f" of {number}: There are not 1 samples" in page.setup.forms.dataset.rows["shots"].problem.text()
    assert not button.isEnabled()


def test_a_run_draws_curves_and_ends_with_a_result(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    click(page, "train_start", qtbot)
    assert page.active_run
    assert page.right.currentWidget() is page.live
    assert not page.setup.dataset_box.isEnabled()
    wait_for_end(page, qtbot)
    ended = page.live.ended
    assert ended is not None
    assert ended.status == "done", ended.error
    assert len(page.live.loss_plot.curve("validation")) == QUICK["epochs"]
    assert len(page.live.metric_plot.curve("validation")) == QUICK["epochs"]
    assert page.live.epoch_card.figure == "2 / 2"
    assert page.live.summary.isVisible()
    assert state.run_state.status == "done"
    wait_for_jobs(state, qtbot)
    with qtbot.waitSignals([state.navigate, state.show_run]):
        click(page, "train_see_result", qtbot)
    click(page, "train_again", qtbot)
    assert page.right.currentWidget() is page.ready


def test_pause_continue_and_stop_are_three_buttons_that_do_so(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    page.draft.set_options("training", {**QUICK, "epochs": 5000})
    page.draft.set_component("strategy", "full")
    wait_for_check(page, state, qtbot)
    click(page, "train_start", qtbot)
    qtbot.waitUntil(lambda: page.live.story.epoch is not None, timeout=LONG)
    click(page, "train_pause", qtbot)
    qtbot.waitUntil(lambda: page.live.phase == "paused", timeout=LONG)
    assert page.setup.foot.pause_button.accessibleName() == "Continue"
    click(page, "train_pause", qtbot)
    qtbot.waitUntil(lambda: page.live.phase == "training", timeout=LONG)
    with qtbot.waitSignal(state.runs_changed, timeout=LONG):
        click(page, "train_stop", qtbot)
        assert not page.setup.foot.stop_button.isEnabled()
    assert page.live.ended is not None
    assert page.live.ended.status == "stopped"
    assert "test" in page.live.ended.metrics
    wait_for_jobs(state, qtbot)


def test_a_cancelled_run_tells_its_validation_and_that_it_was_not_evaluated(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    page.draft.set_options("training", {**QUICK, "epochs": 5000})
    page.draft.set_component("strategy", "full")
    wait_for_check(page, state, qtbot)
    click(page, "train_start", qtbot)
    qtbot.waitUntil(lambda: page.live.story.epoch is not None, timeout=LONG)
    with qtbot.waitSignal(state.runs_changed, timeout=LONG):
        click(page, "train_cancel", qtbot)
    assert page.live.ended is not None
    assert page.live.ended.status == "cancelled"
    assert "Not evaluated; in validation" in page.live.summary.text.text()
    assert f"epoch {page.live.ended.best_epoch} kept" in page.live.summary.text.text()
    assert page.live.summary.result_button.isVisible(), "the Runs page can evaluate it"
    wait_for_jobs(state, qtbot)


def test_closing_during_a_run_calls_back_when_its_thread_is_over(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    page.draft.set_options("training", {**QUICK, "epochs": 5000})
    page.draft.set_component("strategy", "full")
    wait_for_check(page, state, qtbot)
    click(page, "train_start", qtbot)
    qtbot.waitUntil(lambda: page.live.story.epoch is not None, timeout=LONG)
    called: list[bool] = []
    page.shutdown(lambda: called.append(page.active_run))
    qtbot.waitUntil(lambda: bool(called), timeout=5_000)
    assert called == [False]
    assert state.project is not None
    run = state.project.run(state.project.runs()[0].id)
    assert run.last_checkpoint.is_dir()
    wait_for_jobs(state, qtbot)


def test_shutting_down_without_a_run_calls_back_at_once(page: TrainPanel) -> None:
    called: list[bool] = []
    page.shutdown(lambda: called.append(True))
    assert called == [True]


def test_a_requested_recipe_is_shown_and_started(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    assert state.project is not None
    recipe = tiny_recipe(state.project, state.registry, training={**QUICK, "epochs": 1})
    state.request_training([recipe])
    wait_for_end(page, qtbot)
    assert page.draft.result.recipe == recipe
    assert page.live.ended is not None
    assert page.live.ended.status == "done", page.live.ended.error
    wait_for_jobs(state, qtbot)


def test_a_failed_run_is_told_with_its_sentence(page: TrainPanel, state: AppState, qtbot: QtBot) -> None:
    recipe = page.draft.result.recipe
    assert recipe is not None
    options = {"weights": "/nowhere/weights.safetensors", "image_size": 32}
    broken = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update={"options": options})})
    page.start(broken)
    wait_for_end(page, qtbot)
    assert page.live.error_card.isVisible()
    assert "/nowhere/weights.safetensors" in page.live.error_card.sentence
    wait_for_jobs(state, qtbot)


def test_recipe_and_command_are_copied_saved_and_loaded(
    page: TrainPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    page.setup.foot.recipe_menu.copy_recipe()
    assert 'name = "test_resnet"' in QApplication.clipboard().text()
    page.setup.foot.recipe_menu.copy_command()
    assert "train" in QApplication.clipboard().text()
    page.setup.foot.recipe_menu.save_recipe(tmp_path / "recipe.toml")
    page.draft.set_options("training", {"epochs": 77})
    actions = page.setup.foot.recipe_menu.actions()
    assert [action.isEnabled() for action in actions] == [False] * 3 + [True] * 2, "none is known to be whole yet"
    wait_for_check(page, state, qtbot)
    assert all(action.isEnabled() for action in actions)
    page.setup.foot.recipe_menu.load_recipe(tmp_path / "recipe.toml")
    wait_for_check(page, state, qtbot)
    assert page.draft.result.recipe is not None
    assert page.draft.result.recipe.training.epochs == QUICK["epochs"]


def test_ready_recipes_are_offered_for_their_task_and_keep_the_model_that_was_chosen(
    state: AppState, reviews_project: Project, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "news.csv").write_text("article,summary\n" + "\n".join(f"Text {n} is long.,{n}" for n in range(8)))
    request, _ = plan_import(state.registry.formats.values(), tmp_path / "news.csv", name="news")
    import_dataset(request, reviews_project.datasets_folder)
    state.set_project(reviews_project)
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    menu = panel.setup.foot.recipe_menu
    panel.draft.load({"dataset": {"name": "topics", "revision": "r1"}})
    wait_for_check(panel, state, qtbot)
    assert menu.findChild(QAction, "train_ready_translation") is None
    panel.draft.load({"dataset": {"name": "news", "revision": "r1"}})
    panel.draft.set_component("backbone", "language_model")
    panel.draft.set_options("backbone", {"weights": str(tmp_path)})
    wait_for_check(panel, state, qtbot)
    action = menu.findChild(QAction, "train_ready_translation")
    assert isinstance(action, QAction)
    action.trigger()
    assert panel.draft.options("backbone")["weights"] == str(tmp_path)
    assert panel.draft.options("backbone")["prompt"] == "translate English to German: {text}"
    assert panel.draft.options("head")["beams"] == 4
    assert panel.draft.dataset == ("news", "r1")
    wait_for_check(panel, state, qtbot)


def test_a_recipe_that_cannot_be_read_is_an_error_with_its_name(
    page: TrainPanel, state: AppState, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "bad.toml").write_text("epochs = = 3", encoding="utf-8")
    with qtbot.waitSignal(state.error) as told:
        page.setup.foot.recipe_menu.load_recipe(tmp_path / "bad.toml")
    assert "bad.toml" in str(told.args[0])


def test_components_chosen_for_images_are_dropped_with_other_data(
    state: AppState, reviews_project: Project, shapes_folder: Path, qtbot: QtBot
) -> None:
    state.set_project(reviews_project)
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    panel.draft.load({"dataset": {"name": "reviews", "revision": "r1"}})
    wait_for_check(panel, state, qtbot)
    assert panel.draft.chosen("head") == "classification"
    panel.draft.set_component("head", "classification")
    wait_for_check(panel, state, qtbot)
    panel.draft.set_dataset("scores", "r1")
    wait_for_check(panel, state, qtbot)
    assert panel.draft.chosen("head") == "regression"


def test_the_data_set_box_and_the_other_pages_agree(
    state: AppState, reviews_project: Project, tmp_path: Path, qtbot: QtBot
) -> None:
    state.set_project(reviews_project)
    panel = TrainPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    state.select_dataset("topics")
    assert panel.draft.dataset == ("topics", "r1")
    box = panel.findChild(QComboBox, "train_dataset")
    assert isinstance(box, QComboBox)
    box.setCurrentIndex(box.findText("scores", Qt.MatchFlag.MatchStartsWith))
    box.activated.emit(box.currentIndex())
    assert state.dataset == "scores"
    (tmp_path / "recipe.toml").write_text('[dataset]\nname = "topics"\nrevision = "r1"\n', encoding="utf-8")
    panel.setup.foot.recipe_menu.load_recipe(tmp_path / "recipe.toml")
    assert state.dataset == "topics"
    wait_for_check(panel, state, qtbot)


def test_the_buttons_that_choose_a_file_have_room_for_their_text(page: TrainPanel) -> None:
    buttons = [each for each in page.findChildren(QAbstractButton) if each.objectName().endswith("_browse")]
    assert buttons
    for button in buttons:
        assert button.maximumWidth() >= button.sizeHint().width()


def test_every_control_has_names_for_robots_and_screen_readers(page: TrainPanel) -> None:
    for kind in (QAbstractButton, QLineEdit, QComboBox):
        for control in page.findChildren(kind):
            if isinstance(control.parent(), (QLineEdit, QComboBox, QDialog)) or not control.isVisible():
                continue
            assert control.objectName(), control
            assert control.accessibleName() or (isinstance(control, QAbstractButton) and control.text()), control


def test_images_with_texts_are_offered_pairs_of_backbones_and_others_can_be_typed(
    state: AppState, qtbot: QtBot
) -> None:
    situation = Situation("image+text", "classification", head="classification", strategy="linear_probe")
    starter = "tf_efficientnet_lite0+all-MiniLM-L6-v2"
    dialog = PickerDialog("backbone", state, situation, starter)
    qtbot.addWidget(dialog)
    dialog.show()
    wait_for_jobs(state, qtbot)
    named = {candidate.name: candidate for candidate in dialog.model.candidates}
    assert starter == next(iter(named)), "those whose weights are here come first"
    assert all(state.registry.joined_names(name) for name in named)
    dialog.search.setText("test_resnet +auto")
    for typed in ("test_resnet + auto_mode", "test_resnet + auto_model"):
        dialog.search.setText(typed)
    qtbot.waitUntil(lambda: dialog.model.candidates[-1].read, timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert len(dialog.model.candidates) == len(named) + 1, "what was typed before is gone"
    assert dialog.list.currentIndex().data(CANDIDATE_ROLE).name == "test_resnet+auto_model"
    with qtbot.waitSignal(dialog.picked) as picked:
        click(dialog, "picker_choose", qtbot)
    assert picked.args == ["test_resnet+auto_model"]
    wait_for_jobs(state, qtbot)


def test_the_path_of_weights_can_be_given_for_a_network_that_is_not_on_this_machine(
    page: TrainPanel, state: AppState, qtbot: QtBot
) -> None:
    page.draft.set_component("backbone", "squeezenet1_1")
    wait_for_check(page, state, qtbot)
    assert "squeezenet1_1" in page.ready.problems[0]
    assert "weights" in page.setup.forms.forms["backbone"].rows
    assert page.setup.forms.forms["backbone"].model is state.registry.backbone("squeezenet1_1").Options
