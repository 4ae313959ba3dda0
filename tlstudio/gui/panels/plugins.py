"""The Plugins page: what can be added, what is broken, and a switch for each."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from tlstudio.api import API_VERSION
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.dialogs import text_box
from tlstudio.gui.widgets.flow_layout import FlowLayout
from tlstudio.gui.widgets.fold import Fold
from tlstudio.gui.widgets.icons import IconLabel, keep_icon
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.plugins import PluginRecord
from tlstudio.startup import disabled_plugins, plugins_folder, set_plugin_disabled


class PluginsPanel(QWidget):
    """One card a plugin."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("plugins_panel")
        self.setProperty("role", "page")
        self._state = state
        folder = state.manager.plugins_folder or plugins_folder()
        self._folder = folder
        head = QHBoxLayout()
        head.setSpacing(8)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        texts.addWidget(text_label(self.tr("Plugins"), "title", "plugins_title"))
        texts.addWidget(
            text_label(
                self.tr(
                    "Installed packages, and .py files in your plugin folder. They are loaded when the studio starts. "
                    "Interface version {0}."
                ).format(API_VERSION),
                "second",
                "plugins_subtitle",
                elide=True,
            )
        )
        head.addLayout(texts, 1)
        open_folder = push_button(
            " " + self.tr("Open plugin folder"),
            "secondary",
            "plugins_folder",
            accessible=self.tr("Open plugin folder"),
            hint=str(folder),
        )
        keep_icon(open_folder, state, "folder", "second", 15)
        open_folder.clicked.connect(self._open_folder)
        head.addWidget(open_folder, 0, Qt.AlignmentFlag.AlignTop)

        self._notice = QFrame()
        self._notice.setObjectName("plugins_notice")
        self._notice.setProperty("role", "notice")
        row = QHBoxLayout(self._notice)
        row.setContentsMargins(16, 10, 16, 10)
        row.setSpacing(10)
        row.addWidget(IconLabel(state, "info", "accent_text", 18))
        row.addWidget(
            text_label(self.tr("Your changes apply when TL Studio starts next."), "", "plugins_notice_text"), 1
        )
        self._notice.hide()

        inner = QWidget()
        inner.setProperty("role", "bare")
        column = QVBoxLayout(inner)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self._notice)
        # What needs attention stands above what works.
        order = {"failed": 0, "ok": 1, "disabled": 2}
        for record in sorted(state.manager.plugins, key=lambda record: order[record.state]):
            column.addWidget(self._card(record))
        column.addStretch()
        area = QScrollArea()
        area.setObjectName("plugins_scroll")
        area.setAccessibleName(self.tr("Plugins"))
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    def _card(self, record: PluginRecord) -> Card:
        card = Card(f"plugin_{record.name}", spacing=8)
        icon, colour, word = {
            "ok": ("plugins", "second", self.tr("Works")),
            "failed": ("warning", "bad", self.tr("Failed")),
            "disabled": ("plugins", "faint", self.tr("Switched off")),
        }[record.state]
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(IconLabel(self._state, icon, colour, 20), 0, Qt.AlignmentFlag.AlignTop)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        title = QHBoxLayout()
        title.setSpacing(8)
        title.addWidget(text_label(record.name, "section", f"plugin_{record.name}_name"))
        title.addWidget(text_label(record.origin, "small", f"plugin_{record.name}_origin", elide=True), 1)
        texts.addLayout(title)
        if record.error:
            texts.addWidget(text_label(record.error, "bad", f"plugin_{record.name}_error", wrap=True))
        row.addLayout(texts, 1)
        state_role = {"ok": "good", "failed": "bad", "disabled": "second"}[record.state]
        switch = QCheckBox(self.tr("On"))
        switch.setObjectName(f"plugin_{record.name}_on")
        switch.setAccessibleName(self.tr("Use the plugin {0}").format(record.name))
        switch.setChecked(record.name not in disabled_plugins())
        switch.toggled.connect(lambda on: self._switch(record.name, on))
        side = QHBoxLayout()
        side.setSpacing(12)
        side.addWidget(text_label(word, state_role, f"plugin_{record.name}_state"), 0, Qt.AlignmentFlag.AlignVCenter)
        side.addWidget(switch, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addLayout(side)
        row.setAlignment(side, Qt.AlignmentFlag.AlignTop)
        card.column.addLayout(row)
        if record.provides:
            card.column.addLayout(self._chips(record))
        if record.traceback:
            card.column.addWidget(self._traceback(record))
        return card

    def _chips(self, record: PluginRecord) -> FlowLayout:
        flow = FlowLayout(spacing=6)
        flow.setContentsMargins(32, 0, 0, 0)
        words = {
            "backbone": self.tr("Backbone"),
            "family": self.tr("Backbones"),
            "head": self.tr("Task head"),
            "strategy": self.tr("Strategy"),
            "format": self.tr("Data format"),
        }
        for index, provided in enumerate(record.provides):
            kind, _, name = provided.partition(" ")
            text = f"{words.get(kind, kind)} · {component_title(self._state.registry, kind, name)}"
            chip = text_label(text, "chip", f"plugin_{record.name}_provides_{index}")
            chip.setToolTip(name)
            flow.addWidget(chip)
        return flow

    def _traceback(self, record: PluginRecord) -> QWidget:
        title = self.tr("Traceback of {0}").format(record.name)
        box = text_box(record.traceback, f"plugin_{record.name}_traceback", title, mono=True)
        box.setFixedHeight(200)
        copy = push_button(" " + self.tr("Copy"), "secondary", f"plugin_{record.name}_copy")
        copy.setAccessibleName(self.tr("Copy the traceback of {0}").format(record.name))
        keep_icon(copy, self._state, "copy", "second", 15)
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(record.traceback))
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(box)
        row = QHBoxLayout()
        row.addWidget(copy)
        row.addStretch()
        column.addLayout(row)
        return Fold(f"plugin_{record.name}_fold", self.tr("Traceback, for its author"), content)

    def _switch(self, name: str, on: bool) -> None:
        try:
            set_plugin_disabled(name, not on)
        except OSError as error:
            self._state.show_error(error)
            return
        loaded = {record.name: record.state != "disabled" for record in self._state.manager.plugins}
        off = disabled_plugins()
        changed = any((plugin not in off) != was_on for plugin, was_on in loaded.items())
        self._notice.setVisible(changed)

    @Slot()
    def _open_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._state.show_error(error)
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._folder)))
