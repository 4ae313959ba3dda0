"""The Plugins page: what can be added, what is broken, and a switch for each; and the models on this machine."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QPushButton, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from tlstudio.api import API_VERSION
from tlstudio.gui.panels.models import ModelsPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.dialogs import text_box
from tlstudio.gui.widgets.flow_layout import FlowLayout
from tlstudio.gui.widgets.fold import Fold
from tlstudio.gui.widgets.icons import IconLabel, keep_icon
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.plugins import PluginRecord
from tlstudio.privacy import without_secrets
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

        self._names = {record.name for record in state.manager.plugins}
        self._off_at_start = state.manager.disabled
        self._asked_again: set[str] = set()
        self._notice = self._make_notice("plugins_notice", self.tr("Your changes apply when TL Studio starts next."))
        self._notice.hide()

        inner = QWidget()
        inner.setProperty("role", "bare")
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 16, 20, 16)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self._notice)
        if state.manager.safe_mode:
            text = self.tr(
                "Safe mode: only the plugins that come with TL Studio are loaded. Without --safe-mode, all are."
            )
            column.addWidget(self._make_notice("plugins_safe_mode", text))
        # What needs attention stands above what works.
        order = {"skipped": 0, "failed": 1, "ok": 2, "disabled": 3}
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
        self.models = ModelsPanel(state)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("plugins_tabs")
        self.tabs.setAccessibleName(self.tr("Plugins and models"))
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.addTab(area, self.tr("P&lugins"))
        self.tabs.addTab(self.models, self.tr("&Models"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 10, 0, 0)
        layout.addWidget(self.tabs)

    def _make_notice(self, name: str, text: str) -> QFrame:
        notice = QFrame()
        notice.setObjectName(name)
        notice.setProperty("role", "notice")
        row = QHBoxLayout(notice)
        row.setContentsMargins(16, 10, 16, 10)
        row.setSpacing(10)
        row.addWidget(IconLabel(self._state, "info", "accent_text", 18))
        row.addWidget(text_label(text, "", f"{name}_text", wrap=True), 1)
        return notice

    def _card(self, record: PluginRecord) -> Card:
        card = Card(f"plugin_{record.name}", spacing=8)
        icon, colour, word = {
            "ok": ("plugins", "second", self.tr("Works")),
            "failed": ("warning", "bad", self.tr("Failed")),
            "skipped": ("warning", "caution", self.tr("Skipped")),
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
            role = "second" if record.state == "skipped" else "bad"
            texts.addWidget(text_label(record.error, role, f"plugin_{record.name}_error", wrap=True))
        row.addLayout(texts, 1)
        state_role = {"ok": "good", "failed": "bad", "skipped": "caution", "disabled": "second"}[record.state]
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
        if record.remembered:
            card.column.addLayout(self._question(record, switch))
        if record.provides:
            card.column.addLayout(self._chips(record))
        if record.traceback:
            card.column.addWidget(self._traceback(record))
        return card

    def _question(self, record: PluginRecord, switch: QCheckBox) -> QHBoxLayout:
        """Ask what shall become of a plugin that is left out for what it did at an earlier start."""
        again = push_button(self.tr("Try again"), "secondary", f"plugin_{record.name}_again")
        again.setAccessibleName(self.tr("Try the plugin {0} again at the next start").format(record.name))
        again.clicked.connect(lambda: self._try_again(record.name, again, switch))
        off = push_button(self.tr("Keep it off"), "secondary", f"plugin_{record.name}_off")
        off.setAccessibleName(self.tr("Switch the plugin {0} off").format(record.name))
        off.clicked.connect(lambda: switch.setChecked(False))
        row = QHBoxLayout()
        row.setContentsMargins(32, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(again)
        row.addWidget(off)
        row.addStretch()
        return row

    def _try_again(self, name: str, button: QPushButton, switch: QCheckBox) -> None:
        try:
            self._state.manager.try_again(name)
        except OSError as error:
            self._state.show_error(error)
            return
        self._asked_again.add(name)
        switch.setChecked(True)
        button.setEnabled(False)
        button.setText(self.tr("Is tried at the next start"))
        self._notice.show()

    def _chips(self, record: PluginRecord) -> FlowLayout:
        flow = FlowLayout(spacing=6)
        flow.setContentsMargins(32, 0, 0, 0)
        words = {
            "backbone": self.tr("Backbone"),
            "family": self.tr("Backbones"),
            "head": self.tr("Task head"),
            "strategy": self.tr("Strategy"),
            "method": self.tr("Method"),
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
        trace = without_secrets(record.traceback)
        box = text_box(trace, f"plugin_{record.name}_traceback", title, mono=True)
        box.setFixedHeight(200)
        copy = push_button(" " + self.tr("Copy"), "secondary", f"plugin_{record.name}_copy")
        copy.setAccessibleName(self.tr("Copy the traceback of {0}").format(record.name))
        keep_icon(copy, self._state, "copy", "second", 15)
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(trace))
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
        off = disabled_plugins()
        changed = any((plugin not in off) == (plugin in self._off_at_start) for plugin in self._names)
        self._notice.setVisible(changed or bool(self._asked_again))

    @Slot()
    def _open_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._state.show_error(error)
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._folder)))
