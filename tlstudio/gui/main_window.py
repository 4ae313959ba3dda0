"""The window: rail, top bar, pages, status bar; opening, closing and what is remembered."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from PySide6.QtCore import QByteArray, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QMenuBar, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.gui.close_question import ask_to_close
from tlstudio.gui.commands import CommandSet
from tlstudio.gui.device import DeviceWatch
from tlstudio.gui.garbage import GarbageCollection
from tlstudio.gui.log_files import Crash
from tlstudio.gui.notices import INTERRUPTED, QUEUED, crash_notice, interrupted_notice, queued_notice
from tlstudio.gui.pages import PAGES, Closes, Trains, build_page
from tlstudio.gui.plots_ahead import import_plots
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import SYSTEM
from tlstudio.gui.widgets.dialogs import ErrorDialog, TextSheet
from tlstudio.gui.widgets.help_dialog import HelpDialog
from tlstudio.gui.widgets.notice_bar import NoticeBar
from tlstudio.gui.widgets.rail import Rail
from tlstudio.gui.widgets.status_bar import StatusBar
from tlstudio.gui.widgets.top_bar import TopBar
from tlstudio.gui.window_actions import WindowActions
from tlstudio.plugins.catalogue import catalogue
from tlstudio.startup import plugins_folder
from tlstudio.store.project import Project

log = logging.getLogger(__name__)

SMALLEST = QSize(960, 600)
USUAL = QSize(1366, 768)
CLOSES_WITHIN = 3.5
"""Seconds for everything that has to end when the window closes; what takes longer is left behind."""
_NOTICES = ((INTERRUPTED, interrupted_notice), (QUEUED, queued_notice))
_DONE = object()
FRAME = QSize(8, 40)  # what a window manager may draw around it; on a screen without that room it starts maximised


class MainWindow(QMainWindow):
    """Hosts the pages.

    Args:
        state: What the pages share. The window closes it when it is closed itself.

    Signals:
        closed(): It is closed, and everything has ended or is left behind.

    Attributes:
        all_ended: Whether it was closed and every thread has ended in time.
        notices: The line above the pages.
    """

    closed = Signal()

    def __init__(self, state: AppState) -> None:
        super().__init__()
        self.state = state
        self.setObjectName("main_window")
        self.setWindowTitle("TL Studio")
        self.setMinimumSize(SMALLEST)
        self.setAcceptDrops(True)
        self._closing = False
        self._closed = False
        self._close_by = 0.0
        self.all_ended = False
        self._pages: dict[str, QWidget] = {}
        self._places: dict[str, QWidget] = {}
        self._plots = import_plots()
        self._device = DeviceWatch(self)
        self._garbage = GarbageCollection(self)
        titles = self._titles()
        self._actions = WindowActions(self)
        self._commands = CommandSet(self._actions.commands(titles), self)
        self._rail = Rail(
            state, [(page.name, titles[page.name], page.icon, f"Ctrl+{n}") for n, page in enumerate(PAGES, 1)]
        )
        self._rail.menu_button.setMenu(self._commands.menu)
        self._stack = QStackedWidget()
        self._stack.setObjectName("pages")
        for page in PAGES:
            # A page is built when it is first needed; until then an empty widget keeps its place.
            place = QWidget()
            column = QVBoxLayout(place)
            column.setContentsMargins(0, 0, 0, 0)
            self._places[page.name] = place
            self._stack.addWidget(place)
        self._status = StatusBar(state)
        right = QVBoxLayout()
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        right.addWidget(TopBar(state, self._device))
        self.notices = NoticeBar(state)
        right.addWidget(self.notices)
        right.addWidget(self._stack, 1)
        right.addWidget(self._status)
        centre = QWidget()
        centre.setProperty("role", "page")
        layout = QHBoxLayout(centre)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._rail)
        layout.addLayout(right, 1)
        self.setCentralWidget(centre)
        if QGuiApplication.platformName() == "cocoa":
            # A Mac has its menus at the top of the screen; elsewhere the button in the rail opens them.
            bar = QMenuBar(self)
            for action in self._commands.menu.actions():
                bar.addAction(action)
            self.setMenuBar(bar)

        self._rail.chosen.connect(self.go_to)
        self._rail.help_wanted.connect(self.show_help)
        self._status.details_wanted.connect(self._show_details)
        state.navigate.connect(self.go_to)
        state.show_items.connect(self._go_to_items)
        state.show_run.connect(self._go_to_run)
        state.train_requested.connect(self._go_to_training)
        state.edit_requested.connect(self._go_to_training)
        state.predict_requested.connect(self._go_to_prediction)
        state.error.connect(self.show_error)
        state.project_changed.connect(self._project_changed)
        state.queue.changed.connect(self._runs_changed)
        state.runs_changed.connect(self._runs_changed)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._system_theme_changed)
        self._restore()
        self._stack.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._stack.setFocus()
        self._project_changed()
        self._device.start()
        self._garbage.start()

    # Pages ------------------------------------------------------------------------------------------------------

    @property
    def page(self) -> str:
        """Name of the page that is shown."""
        return PAGES[self._stack.currentIndex()].name

    def panel(self, name: str) -> QWidget:
        """Return a page, built if it is not there yet."""
        if name not in self._pages:
            panel = build_page(name, self.state)
            self._pages[name] = panel
            layout = self._places[name].layout()
            if layout is not None:
                layout.addWidget(panel)
        return self._pages[name]

    def build_all(self) -> None:
        """Build every page now."""
        for page in PAGES:
            self.panel(page.name)

    def build_soon(self) -> None:
        """Build the pages that are missing, and import what plots need, whenever the window has nothing else to do."""
        missing = [page.name for page in PAGES if page.name not in self._pages]
        if self._closing:
            return
        if missing:
            self.panel(missing[0])
        elif next(self._plots, _DONE) is _DONE:
            return
        QTimer.singleShot(0, self, self.build_soon)

    @Slot(str)
    def go_to(self, name: str) -> None:
        """Show a page."""
        self.panel(name)
        self._rail.set_current(name)
        self._stack.setCurrentWidget(self._places[name])
        self.state.settings.setValue("window/page", name)

    @Slot()
    def _go_to_items(self) -> None:
        self.go_to("data")

    @Slot()
    def _go_to_run(self) -> None:
        self.go_to("runs")

    @Slot()
    def _go_to_training(self) -> None:
        self.go_to("train")

    @Slot()
    def _go_to_prediction(self) -> None:
        self.go_to("predict")

    def _titles(self) -> dict[str, str]:
        return {
            "project": self.tr("Project"),
            "data": self.tr("Data"),
            "train": self.tr("Train"),
            "runs": self.tr("Runs"),
            "predict": self.tr("Predict"),
            "plugins": self.tr("Plugins"),
        }

    # Help and errors --------------------------------------------------------------------------------------------

    def open_menu(self) -> None:
        """Open the menu of the rail."""
        self._rail.menu_button.showMenu()

    @Slot()
    def show_help(self) -> None:
        """Open the help page."""
        places = [
            (self.tr("Your plugins"), str(plugins_folder())),
            (self.tr("Settings of this window"), self.state.settings.fileName()),
        ]
        if self.state.project is not None:
            places.insert(0, (self.tr("This project"), str(self.state.project.folder)))
        HelpDialog(self._commands.commands, places, catalogue(self.state.registry), self).open()

    @Slot(object)
    def show_error(self, error: object) -> None:
        """Show an error in a dialog and its sentence in the status bar."""
        if self._closing or not isinstance(error, BaseException):
            return
        dialog = ErrorDialog(error, self.state, self)
        self._status.show_message(dialog.sentence.text().splitlines()[0], "")
        dialog.open()

    @Slot(str, str)
    def _show_details(self, text: str, details: str) -> None:
        TextSheet("details_dialog", text, details, self).open()

    # Look -------------------------------------------------------------------------------------------------------

    @Slot()
    def _system_theme_changed(self) -> None:
        if self.state.theme_choice == SYSTEM and not self._closing:
            self.state.apply_theme()

    @Slot()
    def _project_changed(self) -> None:
        project = self.state.project
        self.setWindowTitle(f"{project.name} - TL Studio" if project else "TL Studio")
        self._commands.enable(project=project is not None, writable=project is not None and project.writable)
        for name, make in _NOTICES:
            self.notices.take_back(name)
            notice = make(self.state)
            if notice is not None:
                self.notices.show_notice(notice)

    @Slot()
    def _runs_changed(self) -> None:
        for name, make in _NOTICES:
            if self.notices.has(name):
                self.notices.renew(name, make(self.state))

    def offer_report(self, crash: Crash) -> None:
        """Offer the report of a start that did not come to its end."""
        self.notices.show_notice(crash_notice(crash, self._show_details))

    def _restore(self) -> None:
        settings = self.state.settings
        geometry = settings.value("window/geometry")
        if not (isinstance(geometry, QByteArray) and self.restoreGeometry(geometry)):
            screen = QGuiApplication.primaryScreen()
            self.resize(USUAL)
            room = screen.availableSize() if screen is not None else USUAL
            if room.width() < USUAL.width() + FRAME.width() or room.height() < USUAL.height() + FRAME.height():
                self.setWindowState(Qt.WindowState.WindowMaximized)
        chosen = self._commands.actions.get(f"theme_{self.state.theme_choice}")
        if chosen is not None:
            chosen.setChecked(True)
        page = str(settings.value("window/page", "project"))
        known = {each.name for each in PAGES}
        self.go_to(page if page in known and self.state.project is not None else "project")

    # Dropping a project on the window -----------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # Qt override
        """Take a project folder."""
        urls = event.mimeData().urls()
        if len(urls) == 1 and urls[0].isLocalFile() and Project.is_project(_path(event)):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # Qt override
        """Open the project that was dropped."""
        event.acceptProposedAction()
        self._actions.projects().open_project(_path(event))

    # Closing ----------------------------------------------------------------------------------------------------

    def closeEvent(self, event: QCloseEvent) -> None:  # Qt override
        """Close, after asking if a run is under way."""
        if not self._closing:
            train = self._pages.get("train")
            if isinstance(train, Trains) and train.active_run:
                ask_to_close(self, self.state.queue, self._shut_down, outlives=train.outlives_window)
            else:
                self._shut_down()
        event.setAccepted(self._closed)

    @Slot()
    def close_now(self) -> None:
        """Close without a question; a run in a process of its own goes on."""
        self._shut_down(leave=True)

    def _shut_down(self, *, leave: bool = False) -> None:
        if self._closing:  # the question was asked twice, and answered twice
            return
        self._closing = True
        self._close_by = time.monotonic() + CLOSES_WITHIN
        self._status.show_message(self.tr("Closing…"))
        for job in self.state.jobs.jobs:
            job.cancel()
        train = self._pages.get("train")
        if isinstance(train, Trains):
            train.shutdown(self._finish, leave=leave)
        else:
            self._finish()

    @Slot()
    def _finish(self) -> None:
        settings = self.state.settings
        settings.setValue("window/geometry", self.saveGeometry())
        # Out of sight at once, even if a job takes a moment to notice.
        self.hide()
        self._device.stop()
        self._garbage.stop()
        for panel in self._pages.values():
            if isinstance(panel, Closes):
                panel.close_down()
        train = self._pages.get("train")
        still_trains = isinstance(train, Trains) and train.active_run
        self.all_ended = self.state.close(max(0.5, self._close_by - time.monotonic())) and not still_trains
        if not self.all_ended:
            log.warning("A thread did not end in time and is left behind.")
        self._closed = True
        # Does nothing if this is called from within closeEvent, which then accepts.
        self.close()
        self.closed.emit()


def _path(event: QDropEvent) -> Path:
    return Path(event.mimeData().urls()[0].toLocalFile())
