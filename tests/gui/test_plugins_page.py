"""The Plugins page: what there is, what is broken, and switching off."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QFrame, QLabel, QPlainTextEdit
from pytestqt.qtbot import QtBot

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
