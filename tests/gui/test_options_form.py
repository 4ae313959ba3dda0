"""The form that is generated from an options model."""

from __future__ import annotations

from typing import Literal

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QLineEdit, QStyleOptionComboBox
from pytestqt.qtbot import QtBot

from tlstudio.api import Options, Problem, option
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import DARK
from tlstudio.gui.widgets.options_form import OptionsForm
from tlstudio.gui.widgets.texts import ElidedBox


class SampleOptions(Options):
    rank: int = option(8, title="Rank", help="How many directions may change.", ge=1, le=64)
    rate: float = option(1e-3, title="Rate", help="Size of a step.", gt=0, unit="per step")
    mode: Literal["fast", "safe"] = option("safe", title="Mode", help="Which way.")
    weights: str = option("", title="Weights", help="A file.", browse="file")
    size: int | None = option(None, title="Size", help="Empty: automatic.", ge=16)
    bias: bool = option(True, title="Bias", help="Whether there is one.", advanced=True)
    deep: float = option(0.5, title="Depth", help="Share of layers.", ge=0, le=1, advanced=True)


@pytest.fixture
def form(state: AppState, qtbot: QtBot) -> OptionsForm:
    made = OptionsForm("strategy", state)
    qtbot.addWidget(made)
    made.set_model(SampleOptions)
    made.activateWindow()
    made.show()
    qtbot.waitExposed(made)
    return made


def line(form: OptionsForm, name: str) -> QLineEdit:
    editor = form.rows[name].editor
    assert isinstance(editor, QLineEdit)
    return editor


def retype(form: OptionsForm, name: str, text: str, qtbot: QtBot) -> None:
    editor = line(form, name)
    editor.setFocus()
    editor.selectAll()
    qtbot.keyClicks(editor, text)


def test_zero_is_a_word_where_it_has_one(form: OptionsForm, qtbot: QtBot) -> None:
    form.set_model(TrainingOptions)
    form.rows["early_stopping"].set_zero_word("off")
    editor = line(form, "early_stopping")
    assert editor.text() == "off"
    assert form.rows["early_stopping"].value == 0
    qtbot.keyClick(editor, Qt.Key.Key_Up)
    assert (editor.text(), form.values) == ("1", {"early_stopping": 1})
    qtbot.keyClick(editor, Qt.Key.Key_Down)
    assert (editor.text(), form.values) == ("off", {})
    retype(form, "early_stopping", "OFF", qtbot)
    assert not form.problems
    assert form.rows["early_stopping"].value == 0


def test_every_option_has_a_named_field_with_help(form: OptionsForm) -> None:
    assert list(form.rows) == list(SampleOptions.model_fields)
    for name, row in form.rows.items():
        assert row.editor.objectName() == f"strategy_{name}"
        assert row.editor.accessibleName()
        assert row.field.help in row.editor.toolTip()
        assert row.label.buddy() is row.editor


def test_untouched_options_are_not_in_the_values(form: OptionsForm) -> None:
    assert form.values == {}
    assert form.problems == []


def test_advanced_options_are_folded_and_listed_in_the_heading(form: OptionsForm) -> None:
    assert form.fold is not None
    assert not form.rows["deep"].editor.isVisible()
    assert form.fold.button.text() == "Bias, Depth"
    form.fold.button.click()
    assert form.rows["deep"].editor.isVisible()


def test_typing_sets_a_value_and_reset_takes_it_back(form: OptionsForm, qtbot: QtBot) -> None:
    with qtbot.waitSignal(form.changed):
        retype(form, "rank", "16", qtbot)
    assert form.values == {"rank": 16}
    assert form.rows["rank"].reset_button.isVisible()
    qtbot.mouseClick(form.rows["rank"].reset_button, Qt.MouseButton.LeftButton)
    assert form.values == {}
    assert line(form, "rank").text() == "8"
    assert not form.rows["rank"].reset_button.isVisible()


def test_all_mistakes_are_told_at_once_at_their_fields(form: OptionsForm, qtbot: QtBot) -> None:
    retype(form, "rank", "900", qtbot)
    retype(form, "rate", "quick", qtbot)
    assert [problem.where for problem in form.problems] == ["strategy.rank", "strategy.rate"]
    assert "900" in form.rows["rank"].problem.text()
    assert "quick" in form.rows["rate"].problem.text()
    assert form.rows["rank"].problem.isVisible()
    assert form.rows["rank"].editor.property("invalid") is True
    assert not form.rows["mode"].problem.isVisible()


def test_a_mistake_in_the_folded_part_is_told_in_its_heading(form: OptionsForm, qtbot: QtBot) -> None:
    assert form.fold is not None
    form.fold.set_opened(True)
    retype(form, "deep", "7", qtbot)
    assert "1" in form.fold.button.text().removeprefix("Bias, Depth")


def test_an_emptied_number_is_a_mistake_but_an_emptied_optional_one_is_not(form: OptionsForm, qtbot: QtBot) -> None:
    for name in ("rank", "size"):
        editor = line(form, name)
        editor.setFocus()
        editor.selectAll()
        qtbot.keyClick(editor, Qt.Key.Key_Delete)
    retype(form, "rank", "1", qtbot)
    qtbot.keyClick(line(form, "rank"), Qt.Key.Key_Backspace)
    assert [problem.where for problem in form.problems] == ["strategy.rank"]


def test_recommended_values_change_what_was_not_touched(form: OptionsForm, qtbot: QtBot) -> None:
    retype(form, "rank", "4", qtbot)
    form.set_defaults({"rank": 32, "rate": 3e-4, "mode": "fast"})
    assert line(form, "rank").text() == "4"
    assert line(form, "rate").text() == "3e-4"
    combo = form.rows["mode"].editor
    assert isinstance(combo, QComboBox)
    assert combo.currentData() == "fast"
    assert form.values == {"rank": 4}


def test_values_of_a_recipe_are_shown_and_open_the_fold_where_needed(form: OptionsForm) -> None:
    form.set_values({"bias": False, "weights": "/data/my weights.safetensors"})
    assert form.values == {"bias": False, "weights": "/data/my weights.safetensors"}
    box = form.rows["bias"].editor
    assert isinstance(box, QCheckBox)
    assert not box.isChecked()
    assert form.fold is not None
    assert form.fold.opened


def test_arrow_keys_step_numbers_within_their_limits(form: OptionsForm, qtbot: QtBot) -> None:
    qtbot.keyClick(line(form, "rank"), Qt.Key.Key_Up)
    assert form.values["rank"] == 9
    qtbot.keyClick(line(form, "rate"), Qt.Key.Key_Up)
    assert form.values["rate"] == 2e-3
    qtbot.keyClick(line(form, "rate"), Qt.Key.Key_Down)
    qtbot.keyClick(line(form, "rate"), Qt.Key.Key_Down)
    assert form.values["rate"] == 5e-4
    retype(form, "rank", "64", qtbot)
    qtbot.keyClick(line(form, "rank"), Qt.Key.Key_Up)
    assert form.values["rank"] == 64


def test_problems_from_outside_are_shown_until_the_next_change(form: OptionsForm, qtbot: QtBot) -> None:
    form.show_problems([Problem("strategy.weights", "there is no such file.", "Choose another.")])
    assert form.rows["weights"].problem.text() == "There is no such file. Choose another."
    retype(form, "weights", "x", qtbot)
    assert not form.rows["weights"].problem.isVisible()


def test_a_focused_field_tells_its_help(form: OptionsForm, qtbot: QtBot) -> None:
    with qtbot.waitSignal(form.entered) as told:
        form.rows["size"].editor.setFocus()
    assert told.args == ["Empty: automatic. 16 or more."]
    assert "From 1 to 64." in form.rows["rank"].editor.toolTip()


def test_locking_and_theme_reach_every_field(form: OptionsForm) -> None:
    form.set_locked(True)
    assert not any(row.editor.isEnabled() for row in form.rows.values())
    form.set_locked(False)
    form.set_theme(DARK)
    assert all(row.editor.isEnabled() for row in form.rows.values())


def test_training_options_with_large_seeds_are_kept_exactly(state: AppState, qtbot: QtBot) -> None:
    form = OptionsForm("training", state)
    qtbot.addWidget(form)
    form.set_model(TrainingOptions, {"seed": 2**32 - 1, "learning_rate": 3e-05})
    assert form.values == {"seed": 4294967295, "learning_rate": 3e-05}
    assert line(form, "learning_rate").text() == "3e-5"
    assert form.problems == []


def test_another_model_replaces_the_fields(form: OptionsForm) -> None:
    form.set_model(Options)
    assert form.rows == {}
    assert form.isHidden()


def test_a_box_shows_that_its_text_goes_on(qtbot: QtBot) -> None:
    box = ElidedBox()
    qtbot.addWidget(box)
    box.addItem("22 Nov · 004 Full fine-tuning · shapes · Macro F1 0.190")
    option = QStyleOptionComboBox()
    for width, cut in ((160, True), (800, False)):
        box.resize(width, 30)
        box.initStyleOption(option)
        assert option.currentText.endswith("…") == cut
        assert option.currentText[:6] == "22 Nov"
