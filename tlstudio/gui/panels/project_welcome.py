"""The first thing that is seen: new, open, the demo, and projects that were open before."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QToolButton, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card, Clickable, ClickCard
from tlstudio.gui.widgets.icons import IconLabel, keep_icon
from tlstudio.gui.widgets.texts import text_label
from tlstudio.store.project import Project

WIDTH = 840


class Welcome(QWidget):
    """Shown while no project is open. A project folder can be dropped on it.

    Signals:
        new_wanted(): New project.
        open_wanted(): Open a project.
        demo_wanted(): Try the demo.
        project_wanted(object): Open the project in this folder.
    """

    new_wanted = Signal()
    open_wanted = Signal()
    demo_wanted = Signal()
    project_wanted = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("welcome")
        self.setAcceptDrops(True)
        self._state = state
        self._demo = self._action(
            "welcome_demo",
            "demo",
            self.tr("Try the demo"),
            self.tr("Real images and texts, trained on this machine in about a minute each. Needs no network."),
        )
        self._demo.clicked.connect(self.demo_wanted)
        new = self._action(
            "welcome_new",
            "plus",
            self.tr("New project"),
            self.tr("An empty folder for your data sets, your runs and your models."),
        )
        new.clicked.connect(self.new_wanted)
        opened = self._action(
            "welcome_open",
            "open",
            self.tr("Open"),
            self.tr("A project that is on this machine. You can drop its folder here, too."),
        )
        opened.clicked.connect(self.open_wanted)
        actions = QHBoxLayout()
        actions.setSpacing(12)
        for card in (new, opened, self._demo):
            actions.addWidget(card, 1)

        column = QVBoxLayout()
        column.setSpacing(4)
        hello = text_label(self.tr("Teach a trained network your own data"), "title", "welcome_title")
        column.addWidget(hello)
        column.addWidget(
            text_label(
                self.tr("Your own data in, a model that you can check, explain and take along out."),
                "second",
                "welcome_subtitle",
            )
        )
        column.addSpacing(20)
        column.addLayout(actions)
        column.addSpacing(24)
        self._recent_title = text_label(self.tr("Recent projects"), "section", "welcome_recent_title")
        column.addWidget(self._recent_title)
        column.addSpacing(4)
        self._recent = Card("welcome_recent", margins=(8, 8, 8, 8), spacing=0)
        column.addWidget(self._recent)
        column.addStretch()
        inner = QWidget()
        inner.setProperty("role", "bare")
        row = QHBoxLayout(inner)
        row.setContentsMargins(24, 48, 24, 24)
        row.addStretch(1)
        holder = QWidget()
        holder.setFixedWidth(WIDTH)
        holder.setLayout(column)
        column.setContentsMargins(0, 0, 0, 0)
        row.addWidget(holder)
        row.addStretch(1)
        area = QScrollArea()
        area.setObjectName("welcome_scroll")
        area.setAccessibleName(self.tr("Start"))
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        QWidget.setTabOrder(new, opened)
        QWidget.setTabOrder(opened, self._demo)
        self.refresh()

    def set_busy(self, busy: bool) -> None:
        """Say that the demo is being prepared."""
        self._demo.setEnabled(not busy)

    @Slot()
    def refresh(self) -> None:
        """List the recent projects anew."""
        while (item := self._recent.column.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        paths = self._state.recent_projects()
        for path in paths:
            self._recent.column.addWidget(self._recent_row(path))
        self._recent.setVisible(bool(paths))
        self._recent_title.setVisible(bool(paths))

    def _action(self, name: str, icon: str, title: str, text: str) -> ClickCard:
        card = ClickCard(name, title)
        card.setFixedHeight(84 + 5 * self.fontMetrics().lineSpacing())
        card.column.addWidget(IconLabel(self._state, icon, "accent_text", 24))
        card.column.addSpacing(4)
        card.column.addWidget(text_label(title, "heading", f"{name}_title"))
        label = text_label(text, "second", f"{name}_text", wrap=True)
        card.column.addWidget(label)
        card.column.addStretch()
        return card

    def _recent_row(self, path: Path) -> QWidget:
        there = Project.is_project(path)
        row = Clickable("welcome_recent_row", path.name, "row")
        row.set_clickable(there)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(10, 8, 6, 8)
        layout.setSpacing(12)
        layout.addWidget(IconLabel(self._state, "folder", "second" if there else "faint", 18))
        texts = QVBoxLayout()
        texts.setSpacing(1)
        title = text_label(path.name, "section" if there else "second", "welcome_recent_name", elide=True)
        place = str(path.parent) if there else self.tr("Not there any more: {0}").format(path)
        texts.addWidget(title)
        texts.addWidget(text_label(place, "small", "welcome_recent_place", elide=True))
        layout.addLayout(texts, 1)
        forget = QToolButton()
        forget.setObjectName("welcome_forget")
        forget.setAccessibleName(self.tr("Take {0} off the list").format(path.name))
        forget.setToolTip(self.tr("Take off this list. The folder stays as it is."))
        forget.setProperty("role", "quiet")
        keep_icon(forget, self._state, "close", "second", 14)
        forget.clicked.connect(lambda: self._forget(path))
        layout.addWidget(forget)
        if there:
            row.clicked.connect(lambda: self.project_wanted.emit(path))
        return row

    def _forget(self, path: Path) -> None:
        self._state.forget_recent(path)
        self.refresh()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # Qt override
        """Take the folder of a project, and show that it is taken."""
        urls = event.mimeData().urls()
        if len(urls) == 1 and Project.is_project(Path(urls[0].toLocalFile())):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # Qt override
        """Open the project."""
        event.acceptProposedAction()
        self.project_wanted.emit(Path(event.mimeData().urls()[0].toLocalFile()))
