"""The Plugins page: what there is, what is broken, and switching off."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QFrame, QLabel, QPlainTextEdit
from pytestqt.qtbot import QtBot

from tlstudio.gui.app import build_window
from tlstudio.gui.panels.plugins import PluginsPanel
from tlstudio.gui.state import AppState
from tlstudio.plugins import PluginManager
from tlstudio.startup import disabled_plugins


@pytest.fixture
def panel(state: AppState, tmp_path: Path, qtbot: QtBot) -> PluginsPanel:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "broken.py").write_text("def (:\n")
    manager = PluginManager(folder, ["heads"])
    manager.discover()
    state.manager = manager
    made = PluginsPanel(state)
    qtbot.addWidget(made)
    return made


def test_a_broken_plugin_shows_its_traceback_to_copy(panel: PluginsPanel, qtbot: QtBot) -> None:
    states = {
        label.objectName(): label.text()
        for label in panel.findChildren(QLabel)
        if label.objectName().endswith("_state")
    }
    assert states["plugin_broken_state"] == "Failed"
    assert states["plugin_heads_state"] == "Switched off"
    assert states["plugin_vision_state"] == "Works"
    box = panel.findChild(QPlainTextEdit, "plugin_broken_traceback")
    assert isinstance(box, QPlainTextEdit)
    assert "SyntaxError" in box.toPlainText()
    copy = panel.findChild(QAbstractButton, "plugin_broken_copy")
    assert isinstance(copy, QAbstractButton)
    copy.click()
    assert "SyntaxError" in QGuiApplication.clipboard().text()


def test_what_a_plugin_brings_is_listed(panel: PluginsPanel) -> None:
    chips = {
        label.text(): label.toolTip() for label in panel.findChildren(QLabel) if "_provides_" in label.objectName()
    }
    assert chips["Strategy · Linear probe"] == "linear_probe"


def test_switching_a_plugin_off_counts_from_the_next_start_and_says_so(
    panel: PluginsPanel, state: AppState, qtbot: QtBot
) -> None:
    panel.show()
    notice = panel.findChild(QFrame, "plugins_notice")
    switch = panel.findChild(QCheckBox, "plugin_vision_on")
    assert isinstance(notice, QFrame)
    assert isinstance(switch, QCheckBox)
    assert not notice.isVisible()
    switch.click()
    assert disabled_plugins() == {"vision"}
    assert notice.isVisible()
    switch.click()
    assert disabled_plugins() == set()
    assert not (Path(state.settings.fileName()).parent / "disabled_plugins.new").exists()
    assert Qt.FocusPolicy.NoFocus != switch.focusPolicy()


def test_a_plugin_that_ended_the_last_start_is_asked_about(state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    folder = tmp_path / "home" / "plugins"
    folder.mkdir(parents=True)
    (folder / "deadly.py").write_text("import os; os._exit(3)\n")
    state.manager = PluginManager.of_user()
    panel = PluginsPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    error = panel.findChild(QLabel, "plugin_deadly_error")
    again = panel.findChild(QAbstractButton, "plugin_deadly_again")
    off = panel.findChild(QAbstractButton, "plugin_deadly_off")
    notice = panel.findChild(QFrame, "plugins_notice")
    assert isinstance(error, QLabel)
    assert "ends the program (exit code 3)" in error.text()
    assert isinstance(again, QAbstractButton)
    assert isinstance(off, QAbstractButton)
    assert isinstance(notice, QFrame)
    off.click()
    assert disabled_plugins() == {"deadly"}
    (folder / "deadly.py").touch()
    again.click()
    assert disabled_plugins() == set()
    assert notice.isVisible()
    assert "deadly" not in (folder / ".tried.json").read_text()


def test_safe_mode_is_said_on_the_page_and_at_the_top(state: AppState, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('must not run')\n")
    state.manager = PluginManager(tmp_path, safe_mode=True)
    state.manager.discover()
    window = build_window(state)
    qtbot.addWidget(window)
    chip, notice = window.findChild(QLabel, "topbar_safe_mode"), window.findChild(QFrame, "plugins_safe_mode")
    mine = window.findChild(QLabel, "plugin_mine_state")
    assert isinstance(chip, QLabel)
    assert isinstance(notice, QFrame)
    assert isinstance(mine, QLabel)
    assert mine.text() == "Switched off"
    assert {record.state for record in state.manager.plugins if record.name != "mine"} == {"ok"}
