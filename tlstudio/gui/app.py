"""Starting the window: application, look, plugins, errors. Nothing global is left behind."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from PySide6.QtCore import QLocale, QSettings, QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from tlstudio import __version__
from tlstudio.api import TLStudioError
from tlstudio.gui.errors import UncaughtErrors, route_qt_messages
from tlstudio.gui.log_files import FORMAT, LogFiles, StartMark, take_crash
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.signals import SignalWatch
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import resource_folder, ui_font
from tlstudio.plugins import PluginManager
from tlstudio.startup import user_folder
from tlstudio.store.project import Project

log = logging.getLogger(__name__)


def make_application(arguments: list[str]) -> QApplication:
    """Return the Qt application with the studio's style and font."""
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(arguments)
    app.setApplicationName("tlstudio")
    app.setApplicationDisplayName("TL Studio")
    app.setDesktopFileName("tlstudio")
    app.setStyle("Fusion")
    app.setFont(ui_font())
    picture = resource_folder() / "icons" / "tlstudio.svg"
    if picture.exists():
        app.setWindowIcon(QIcon(str(picture)))
    return app


def make_state(settings: QSettings | None = None, manager: PluginManager | None = None) -> AppState:
    """Find the plugins and make what the pages share.

    Args:
        settings: Where things are remembered; the user's own if `None`.
        manager: Plugins that were found already.
    """
    if manager is None:
        manager = PluginManager.of_user()
    return AppState(manager, settings)


def build_window(state: AppState) -> MainWindow:
    """Build the window with all its pages, not yet shown."""
    state.apply_theme()
    window = MainWindow(state)
    window.build_all()
    return window


def main(project: Path | None = None, on_shown: Callable[[MainWindow], None] | None = None) -> NoReturn:
    """Open the window, stay until it is closed, and end the process.

    Args:
        project: A project to open; the last one if `None`.
        on_shown: Called once the window is there.
    """
    home = user_folder()
    on_terminal = logging.StreamHandler()
    on_terminal.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format=FORMAT, handlers=[on_terminal])
    logs = LogFiles(home)
    crash = take_crash(home)
    mark = _mark_start(home)
    log.info("TL Studio %s starts", __version__)
    route_qt_messages()
    app = make_application(sys.argv[:1])
    QLocale.setDefault(QLocale.system())
    state = make_state()
    errors = UncaughtErrors()
    errors.caught.connect(state.error)

    def move_log() -> None:
        writable = state.project is not None and state.project.writable
        logs.write_to(state.project.folder if state.project is not None and writable else None)
        if mark is not None:
            mark.note(log=str(logs.folder))

    move_log()
    state.project_changed.connect(move_log)
    state.apply_theme()
    failed = _open_first(state, project)
    window = MainWindow(state)
    # Qt ends by itself only when a window that is in sight is closed; this one may be out of sight by then.
    window.closed.connect(app.quit)
    window.show()
    QTimer.singleShot(0, window, window.build_soon)
    SignalWatch(window.close_now, window)
    if failed is not None:
        state.show_error(failed)
    if crash is not None:
        window.offer_report(crash)
    if on_shown is not None:
        on_shown(window)
    status = app.exec()
    log.info("TL Studio ends")
    logs.close()
    if mark is not None:
        mark.remove()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # All that counts is on disk. To take torch and Qt apart would keep the user for seconds, and could not be done at
    # all with a thread that is still deep inside a library.
    os._exit(status)


def _mark_start(home: Path) -> StartMark | None:
    try:
        return StartMark(home)
    except OSError as error:
        log.warning("a crash of this start would go unnoticed: %s", error)
        return None


def _open_first(state: AppState, project: Path | None) -> TLStudioError | None:
    """Open the project that was asked for or the last one; return what went wrong with one that was asked for."""
    last = str(state.settings.value("project/last", "") or "")
    path = project or (Path(last) if last else None)
    if path is None or (project is None and not Project.is_project(path)):
        return None
    try:
        state.open_project(path)
    except TLStudioError as error:
        return error
    return None
