"""The Runs page on a project with two real runs."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from tests.gui.conftest import click, wait_for_jobs
from tests.gui.trained import tiny_recipe
from tlstudio.engine.control import RunControl
from tlstudio.engine.derivation import read_derivation
from tlstudio.engine.derived import Bench
from tlstudio.engine.evaluate import read_evaluation
from tlstudio.engine.execute import execute_run
from tlstudio.engine.pruning import Pruning
from tlstudio.engine.recipe import Recipe, parse_recipe
from tlstudio.engine.run_queue import add_to_queue
from tlstudio.engine.sequences import SEQUENCE_NAME, SequenceResult
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.run_reading import Curves, differences
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import LIGHT
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.after_training import AfterTrainingDialog
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.dialogs import Question
from tlstudio.gui.widgets.figures import metric_title
from tlstudio.gui.widgets.run_table import NOTE_COLUMN, TAGS_COLUMN, RunModel, RunTable, run_style
from tlstudio.gui.widgets.run_view import RunView
from tlstudio.gui.widgets.scatter_plot import ScatterPlot
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run_record import RunSummary

LONG = 60_000


@pytest.fixture
def page(trained_state: AppState, qtbot: QtBot) -> RunsPanel:
    """The Runs page with the newest run chosen."""
    panel = RunsPanel(trained_state)
    qtbot.addWidget(panel)
    panel.resize(1198, 692)
    panel.show()
    wait_for_jobs(trained_state, qtbot)
    return panel


def view_of(page: RunsPanel) -> RunView:
    assert page.view is not None
    return page.view


def test_without_runs_the_page_leads_to_the_train_page(state: AppState, project: Project, qtbot: QtBot) -> None:
    state.set_project(project)
    panel = RunsPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    with qtbot.waitSignal(state.navigate) as gone:
        click(panel, "runs_empty_action", qtbot)
    assert gone.args == ["train"]


def test_the_newest_run_is_shown_with_the_figures_of_its_evaluation(page: RunsPanel, state: AppState) -> None:
    assert state.project is not None
    newest = state.project.runs()[0]
    details = view_of(page).details
    assert details is not None
    assert details.summary.id == newest.id
    evaluation = read_evaluation(state.project.run(newest.id))
    assert view_of(page).result.cards[0].figure == f"{evaluation.metrics['accuracy']:.3f}"
    assert "95 %" in view_of(page).result.cards[0].accessibleDescription()
    classes = view_of(page).result.classes.model()
    assert [classes.index(row, 0).data() for row in range(classes.rowCount())] == list(evaluation.classes)
    assert len(view_of(page).curves.loss_plot.curve("validation")) == 2


def test_a_run_that_was_made_of_another_says_how_and_has_results(trained_state: AppState, qtbot: QtBot) -> None:
    project = trained_state.project
    assert project is not None
    pruning = Pruning(Bench(project.run(project.runs()[0].id), project, trained_state.registry))
    made = pruning.save(pruning.prune(0.5))
    panel = RunsPanel(trained_state)
    qtbot.addWidget(panel)
    panel.show()
    wait_for_jobs(trained_state, qtbot)
    details = view_of(panel).details
    assert details is not None
    assert details.summary.id == made.id
    assert run_title(made.id, trained_state.registry).endswith("Pruned")
    label = view_of(panel).findChild(QLabel, "run_lineage")
    assert label is not None
    assert "50.0% of the weights" in details.made
    assert view_of(panel).result.cards[0].figure == f"{made.metrics()['test']['accuracy']:.3f}"
    assert not view_of(panel).kept.isVisible()


def test_a_run_is_averaged_with_its_start_at_the_share_on_a_slider(trained_state: AppState, qtbot: QtBot) -> None:
    project, registry = trained_state.project, trained_state.registry
    assert project is not None
    recipe = tiny_recipe(project, registry, strategy={"name": "lp_ft", "options": {}}, methods={"wise_ft": {}})
    first = execute_run(recipe, project, registry, on_event=lambda _event: None, control=RunControl())
    panel = RunsPanel(trained_state)
    qtbot.addWidget(panel)
    panel.show()
    wait_for_jobs(trained_state, qtbot)
    click(panel, "run_after", qtbot)
    dialog = panel.window().findChild(AfterTrainingDialog)
    assert dialog is not None
    assert dialog.way.count() == 2
    dialog.way.setCurrentIndex(dialog.way.findData("prune"))
    dialog.measure()
    wait_for_jobs(trained_state, qtbot)
    told = dialog.findChild(QLabel, "after_nearest")
    assert told is not None
    assert re.search(r"\d [kM]?B on disk, .*\d [kM]?B in a ZIP", told.text())
    trained_state.set_theme_choice("dark")
    assert dialog.plot._view.backgroundBrush().color().name() == trained_state.theme.surface.lower()
    dialog.way.setCurrentIndex(dialog.way.findData("wise_ft"))
    dialog.measure()
    wait_for_jobs(trained_state, qtbot)
    curve = dialog.plot.curve("validation")
    assert len(curve) == 11
    assert 0 <= dialog.share <= 1
    dialog.slider.setValue(5)
    with qtbot.waitSignal(dialog.made, timeout=LONG) as made:
        dialog.make()
    wait_for_jobs(trained_state, qtbot)
    derivation = read_derivation(project.run(made.args[0]))
    assert derivation is not None
    assert derivation.options == {"alpha": 0.25}
    assert derivation.parents[0].run == first.id
    assert len(derivation.curve) == 11
    assert panel.table.selected == (made.args[0],)


def test_a_confusion_cell_opens_exactly_its_items(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    details = view_of(page).details
    assert details is not None
    assert details.evaluation is not None
    assert details.evaluation.confusion is not None
    row, column = (int(at[0]) for at in np.nonzero(details.evaluation.confusion))
    matrix = view_of(page).result.matrix
    with qtbot.waitSignal(state.show_items) as shown:
        qtbot.mouseClick(matrix.viewport(), Qt.MouseButton.LeftButton, pos=matrix.cell_rect(row, column).center())
    revision, ids, _ = shown.args
    assert len(ids) == details.evaluation.confusion[row, column]
    assert {revision.label(revision.index_of(id_)) for id_ in ids} == {details.evaluation.classes[row]}


def test_mistakes_are_shown_with_what_was_predicted(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    details = view_of(page).details
    assert details is not None
    assert details.evaluation is not None
    wrong = [item for item in details.evaluation.items if item.predicted != item.label]
    items = view_of(page).mistakes.gallery.items
    assert [item.id for item in items] == [item.id for item in wrong]
    assert all("→" in item.caption for item in items)


def test_two_runs_are_compared_by_curves_metrics_and_recipes(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    page.table.selectAll()
    qtbot.waitUntil(lambda: page.comparison is not None, timeout=LONG)
    wait_for_jobs(state, qtbot)
    comparison = page.comparison
    assert comparison is not None
    assert len(comparison.curves.loss_plot.keys) == 2
    settings = comparison.settings.model()
    names = [settings.index(row, 0).data() for row in range(settings.rowCount())]
    assert "strategy.name" in names
    assert "dataset.name" not in names
    metrics = comparison.metrics.model()
    assert metrics.index(0, 0).data() == "Accuracy"
    assert metrics.columnCount() == 3
    headings = [str(metrics.headerData(column, Qt.Orientation.Horizontal)) for column in (1, 2)]
    assert headings == ["002 Full fine-tuning", "001 Linear probe"]
    tip = str(metrics.headerData(2, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole))
    assert tip.endswith(" · 001 Linear probe")


def test_titles_of_columns_break_into_lines_that_are_all_seen_and_rows_keep_their_names(qtbot: QtBot) -> None:
    table = FigureTable("table", "Figures", sortable=False)
    qtbot.addWidget(table)
    table.name_rows(96)
    titles = ["", *(f"{number:03} Full fine-tuning + mixup + ema" for number in range(12))]
    table.show_rows(titles, [[("Balanced accuracy", ""), *((str(n), n) for n in range(12))]], stretch=range(13))
    table.resize(6000, 200)
    table.show()
    header = table.horizontalHeader()
    line = header.fontMetrics().height()
    qtbot.waitUntil(lambda: table.columnWidth(12) > 400 and header.height() < 3 * line)
    table.resize(500, 200)
    qtbot.waitUntil(lambda: header.height() > 3 * line)
    assert table.columnWidth(12) >= 96
    table.scrollTo(table.model().index(0, 12))
    assert table.isColumnHidden(0)
    assert table.model().headerData(0, Qt.Orientation.Vertical) == "Balanced accuracy"


def test_a_method_without_options_of_its_own_is_a_difference() -> None:
    one: dict[str, object] = {"strategy": {"name": "full"}, "methods": {"mixup": {}, "ema": {}}}
    assert differences([one, {"strategy": {"name": "full"}}]) == [("methods", ["mixup, ema", "—"])]


def test_curves_show_what_has_chosen_the_best_epoch_and_mark_it(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    shown, details = view_of(page).curves, view_of(page).details
    assert details is not None
    assert shown.metric_plot.title_label.text() == metric_title(details.summary.monitor) == "Macro F1"
    best = details.curves.best_epoch
    assert shown.metric_plot._best == (best, details.kept_validation["f1_macro"])
    points = {"loss": np.array([[1, 0.5], [2, 0.7]]), "accuracy": np.array([[1, 0.8], [2, 0.9]])}
    shown.show_run(Curves(np.zeros((0, 2)), validation=points, best_epoch=1, monitor="loss"))
    assert shown.loss_plot._best == (1, 0.5)
    assert shown.metric_plot.title_label.text() == "Accuracy"
    assert shown.metric_plot._best == (1, 0.8)
    wait_for_jobs(state, qtbot)


def test_the_filter_keeps_runs_with_every_word(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    qtbot.keyClicks(page.search, "FULL resnet")
    assert page.table.filter_model.rowCount() == 1
    page.search.clear()
    assert page.table.filter_model.rowCount() == 2
    wait_for_jobs(state, qtbot)


def test_sorting_by_the_metric_is_by_value(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    page.table.sortByColumn(5, Qt.SortOrder.AscendingOrder)
    model = page.table.filter_model
    values = [model.index(row, 5).data(Qt.ItemDataRole.UserRole + 2) for row in range(2)]
    assert values == sorted(values)
    wait_for_jobs(state, qtbot)


def test_all_columns_are_seen_and_long_texts_give_way_until_somebody_sets_a_width(
    state: AppState, qtbot: QtBot
) -> None:
    table = RunTable(state)
    qtbot.addWidget(table)
    methods = ("label_smoothing", "mixup", "l2_sp", "weight_average", "coral")
    metrics = {"test": {"contrastive_accuracy": 0.5}}
    run = RunSummary("2026-11-22-001-full", "2026-11-22", "done", "shapes", "r1", "resnet18", "full", methods=methods)
    table.runs_model.set_runs([replace(run, metrics=metrics)])
    table.show()
    for width in (814, 1156):
        table.resize(width, 200)
        assert table.horizontalScrollBar().maximum() == 0
        assert table.horizontalHeader().length() == table.viewport().width()
    assert table.columnWidth(TAGS_COLUMN) < 80, "there are none"
    assert table.columnWidth(4) > 200
    assert table.columnWidth(5) >= table.sizeHintForColumn(5)
    assert table.filter_model.index(0, 5).data() == "0.500 Contrastive accuracy"
    table.horizontalHeader().resizeSection(4, 111)
    table.runs_model.set_runs([run])
    table.resize(1100, 200)
    assert table.columnWidth(4) == 111


def test_notes_and_tags_are_kept_in_the_project(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    model = page.table.runs_model
    assert model.setData(model.index(0, NOTE_COLUMN), "更好 than before")
    assert model.setData(model.index(0, TAGS_COLUMN), "paper, final, paper")
    assert state.project is not None
    run = state.project.runs()[0]
    assert run.note == "更好 than before"
    assert run.tags == ("paper", "final")
    wait_for_jobs(state, qtbot)


def test_deleting_asks_and_deletes(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    assert state.project is not None
    gone = page.table.selected[0]
    page.table.setFocus()
    qtbot.keyClick(page.table, Qt.Key.Key_Delete)
    question = page.window().findChild(Question, "delete_runs")
    assert isinstance(question, Question)
    assert gone in state.project.run(gone).folder.name
    click(question, "delete_runs_yes", qtbot)
    assert gone not in [run.id for run in state.project.runs()]
    wait_for_jobs(state, qtbot)


def test_a_queued_run_is_asked_for_as_what_it_is_and_the_one_beside_it_is_shown_then(
    page: RunsPanel, state: AppState, qtbot: QtBot
) -> None:
    project, view = state.project, view_of(page)
    assert project is not None
    assert view.details is not None
    queued = [add_to_queue(parse_recipe(view.details.recipe), project).id for _ in range(3)]
    state.show_run.emit(queued[1])
    wait_for_jobs(state, qtbot)
    page.ask_delete()
    question = page.window().findChild(Question, "delete_runs")
    assert isinstance(question, Question)
    text = question.findChild(QLabel, "delete_runs_text")
    assert isinstance(text, QLabel)
    assert "model" not in text.text()
    assert "leaves the queue" in text.text()
    click(question, "delete_runs_yes", qtbot)
    wait_for_jobs(state, qtbot)
    assert page.table.selected == (queued[0],)
    page.delete([queued[0], *(run.id for run in project.runs() if run.status == "done")])
    assert page.table.selected == (queued[2],)
    wait_for_jobs(state, qtbot)


def test_run_again_exactly_hands_on_the_same_recipe(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    details = view_of(page).details
    assert details is not None
    with qtbot.waitSignal(state.train_requested) as asked:
        click(page, "run_again", qtbot)
    recipe = asked.args[0]
    assert isinstance(recipe, Recipe)
    assert recipe.to_toml() == details.recipe_text


def test_change_and_run_fills_the_train_page(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    with qtbot.waitSignals([state.navigate, state.edit_requested]):
        click(page, "run_edit", qtbot)


def test_use_for_prediction_goes_to_the_predict_page(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    with qtbot.waitSignal(state.predict_requested) as asked:
        click(page, "run_predict", qtbot)
    assert asked.args == [page.table.selected[0]]


def test_export_writes_a_checked_folder(page: RunsPanel, state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    with qtbot.waitSignal(state.message, timeout=LONG):
        page.run_actions.export(page.table.selected[0], tmp_path / "exported")
    assert (tmp_path / "exported" / "model.safetensors").is_file()
    wait_for_jobs(state, qtbot)


def test_another_page_can_ask_for_a_run(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    assert state.project is not None
    oldest = state.project.runs()[-1].id
    state.show_run.emit(oldest)
    assert page.table.selected == (oldest,)
    wait_for_jobs(state, qtbot)


def test_a_damaged_run_is_listed_and_its_trouble_told(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    assert state.project is not None
    run = state.project.run(page.table.selected[0])
    run.recipe_path.write_text("not = = toml", encoding="utf-8")
    page.refresh()
    wait_for_jobs(state, qtbot)
    details = view_of(page).details
    assert details is not None
    assert any("recipe" in problem for problem in details.problems)
    assert not view_of(page).buttons["again"].isEnabled()


def test_the_theme_reaches_table_matrix_and_plots(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    state.set_theme_choice("dark")
    assert view_of(page).result.matrix._theme.name == "dark"
    assert not page.grab().isNull()


def test_a_run_has_the_same_colour_everywhere_and_eighteen_differ(registry: Registry) -> None:
    assert len({run_style(order) for order in range(18)}) == 18
    runs = [RunSummary(f"2026-11-21-{n:03}-full", "", "done") for n in range(3)]
    model = RunModel(LIGHT, registry)
    model.set_runs(runs)
    first = model.style_of(runs[1].id)
    model.set_runs(list(reversed(runs)))
    assert model.style_of(runs[1].id) == first


def test_runs_are_told_by_day_number_and_title_and_odd_ids_are_kept(registry: Registry) -> None:
    assert run_title("2026-11-21-001-linear_probe", registry) == "21 Nov · 001 Linear probe"
    assert run_title("2026-11-21-001-gone", registry) == "21 Nov · 001 gone"
    assert run_title("something else", registry) == "something else"


def test_titles_are_shown_and_names_told_and_found(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    model = page.table.filter_model
    shown = {str(model.index(row, 4).data()) for row in range(2)}
    assert shown == {"Linear probe", "Full fine-tuning"}
    assert {model.index(row, 4).data(Qt.ItemDataRole.ToolTipRole) for row in range(2)} == {"linear_probe", "full"}
    page.search.setText("linear_probe test_resnet")
    assert model.rowCount() == 1
    wait_for_jobs(state, qtbot)


def test_a_run_that_was_cancelled_tells_its_validation_and_can_be_evaluated(
    page: RunsPanel, state: AppState, qtbot: QtBot
) -> None:
    project = state.project
    assert project is not None
    run = project.run(page.table.selected[0])
    measured = run.metrics()["validation"]
    run.finish("cancelled", best_epoch=run.summary().best_epoch, seconds=1.0)
    page.refresh()
    wait_for_jobs(state, qtbot)
    view = view_of(page)
    assert view.kept.isVisible()
    assert f"Accuracy {measured['accuracy']:.3f}" in view._kept_title.text()
    assert f"epoch {run.summary().best_epoch}" in view._kept_title.text()
    click(page, "run_evaluate", qtbot)
    qtbot.waitUntil(lambda: "test" in run.metrics(), timeout=LONG)
    wait_for_jobs(state, qtbot)
    assert run.metrics()["validation"] == pytest.approx(measured)
    assert not view.buttons["evaluate"].isVisible()
    assert view.buttons["go_on"].isVisible(), "an evaluation is no end"
    assert view.buttons["predict"].isEnabled()
    assert run.status == "cancelled"


def test_a_run_that_has_kept_no_epoch_is_not_said_to_have(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    project = state.project
    assert project is not None
    run = project.run(page.table.selected[0])
    run.finish("cancelled", best_epoch=1, seconds=1.0)
    shutil.rmtree(run.best_checkpoint)
    page.refresh()
    wait_for_jobs(state, qtbot)
    view = view_of(page)
    assert view.kept.isVisible()
    assert view._kept_title.text().startswith("Validation of epoch")
    assert "kept" not in view._kept_title.text()
    assert not view.buttons["evaluate"].isVisible()


def test_only_differing_settings_are_listed() -> None:
    one = {"a": {"options": {"x": 1, "y": 2.0}}, "b": "same"}
    two = {"a": {"options": {"x": 1, "z": 3e-4}}, "b": "same"}
    assert differences([one, two]) == [("a.y", ["2", "—"]), ("a.z", ["—", "3e-4"])]
    assert differences([one, one]) == []


def test_a_scatter_of_very_many_points_shows_a_part_and_opens_items(qtbot: QtBot) -> None:
    plot = ScatterPlot("scatter", "Predicted and true", LIGHT, x_title="true", y_title="predicted", slope=1.0)
    qtbot.addWidget(plot)
    x = np.linspace(0, 1, 20_000)
    x[5] = np.nan
    plot.show_points(x, x, [str(number) for number in range(20_000)])
    assert 4000 < plot.count <= 5000
    with qtbot.waitSignal(plot.opened) as opened:
        plot._points.sigClicked.emit(plot._points, plot._points.points()[:1], None)
    assert opened.args == ["0"]


def test_a_run_whose_plugin_is_gone_can_be_read_and_names_the_plugin(trained_state: AppState, qtbot: QtBot) -> None:
    project = trained_state.project
    assert project is not None
    run = project.run(project.runs()[0].id)
    run.recipe_path.write_text(run.recipe_path.read_text(encoding="utf-8").replace('"full"', '"gone"'))
    plugin = {"plugin": "mine", "distribution": "tlstudio-mine", "version": "2.1", "file": "mine"}
    run.write_json("environment.json", {"plugins": {"strategy": plugin}})
    page = RunsPanel(trained_state)
    qtbot.addWidget(page)
    page.show()
    wait_for_jobs(trained_state, qtbot)
    view = view_of(page)
    assert view.missing.isVisible()
    assert "the package tlstudio-mine 2.1, which is not loaded here" in view.missing.sentence
    assert view.tabs.isTabEnabled(0)
    enabled = {name for name, button in view.buttons.items() if button.isEnabled()}
    assert not enabled & {"predict", "export", "again", "edit", "evaluate", "go_on"}


def test_a_mistake_is_shown_large_and_leads_to_the_data_page(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    mistakes = view_of(page).mistakes
    items = mistakes.gallery.items
    if not items:
        pytest.skip("the tiny model made no mistake")
    last = items[-1].id
    mistakes.gallery.opened.emit(last)
    wait_for_jobs(state, qtbot)
    shown = mistakes.items
    assert shown.item is not None
    assert shown.item.id == last
    case = shown.view.case
    assert case is not None
    assert (case.expected, case.predicted) == (shown.item.label, shown.item.predicted)
    with qtbot.waitSignal(state.show_items) as told:
        click(page, "run_mistake_data", qtbot)
    assert told.args[1] == [last]


def test_the_next_run_starts_from_this_one_and_says_so(page: RunsPanel, state: AppState, qtbot: QtBot) -> None:
    train = TrainPanel(state)
    qtbot.addWidget(train)
    train.show()
    details = view_of(page).details
    assert details is not None
    click(page, "run_start_from", qtbot)
    qtbot.waitUntil(lambda: not train.draft.pending, timeout=LONG)
    wait_for_jobs(state, qtbot)
    checked = train.draft.result
    assert checked.recipe is not None, checked.problems
    assert checked.recipe.backbone.start_from == details.summary.id
    assert checked.preflight is not None
    assert checked.preflight.sentence.startswith("Starts from run")
    card = train.findChild(QLabel, f"{train.setup.cards['backbone'].objectName()}_facts")
    assert isinstance(card, QLabel)
    assert run_title(details.summary.id, state.registry) in card.text()


def test_a_run_that_ends_a_sequence_shows_what_was_forgotten(
    page: RunsPanel, trained_state: AppState, qtbot: QtBot
) -> None:
    project = trained_state.project
    assert project is not None
    last, first = project.runs()
    assert not view_of(page).tabs.isTabVisible(4)
    result = SequenceResult(
        "replay", "accuracy", "max", ("a@r1", "b@r1"), (first.id, last.id), ((0.9, None), (0.6, 0.8))
    )
    project.run(last.id).write_json(SEQUENCE_NAME, {"format": 1, **asdict(result)})
    page.table.select([first.id])
    wait_for_jobs(trained_state, qtbot)
    page.table.select([last.id])
    wait_for_jobs(trained_state, qtbot)
    assert view_of(page).tabs.isTabVisible(4)
    shown = view_of(page).sequence
    assert shown.sentence.startswith("In the end Accuracy is 0.700 on average; 0.300 was forgotten")
    assert [shown.table.figures.index(0, column).data() for column in (1, 2)] == ["0.900", "—"]
