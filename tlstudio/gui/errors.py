"""What becomes of errors that nobody caught: they are logged and shown, and the window goes on."""

from __future__ import annotations

import logging
import platform
import sys
import threading
import traceback
from types import TracebackType

from PySide6.QtCore import QMessageLogContext, QObject, QtMsgType, Signal, qInstallMessageHandler, qVersion

from tlstudio import __version__
from tlstudio.api import ProblemsError, TLStudioError
from tlstudio.privacy import without_secrets

log = logging.getLogger(__name__)
qt_log = logging.getLogger("tlstudio.qt")

_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def log_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str | None) -> None:
    """Pass a message of Qt on to Python's logging."""
    qt_log.log(_LEVELS.get(kind, logging.WARNING), "%s", message)


def route_qt_messages() -> None:
    """Send everything that Qt says to Python's logging."""
    qInstallMessageHandler(log_qt_message)


class UncaughtErrors(QObject):
    """Takes over ``excepthook`` and ``unraisablehook`` of `sys` and ``excepthook`` of `threading` until `restore`.

    What is raised in a slot or in an overridden method of Qt ends here, too, whatever its thread.

    Signals:
        caught(object): An exception that nobody caught; arrives on the window's thread.
    """

    caught = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook = self._hook
        threading.excepthook = self._thread_hook
        sys.unraisablehook = self._unraisable_hook

    def restore(self) -> None:
        """Put back the hooks that were there before."""
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._before

    def _hook(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if issubclass(kind, (KeyboardInterrupt, SystemExit)):
            sys.__excepthook__(kind, error, where)
            return
        log.error("uncaught", exc_info=(kind, error, where))
        self.caught.emit(error)

    def _thread_hook(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            self._hook(args.exc_type, args.exc_value, args.exc_traceback)

    def _unraisable_hook(self, args: sys.UnraisableHookArgs) -> None:
        # Raised where nobody can catch it, such as while an object goes away: worth a line, not a dialog.
        error = args.exc_value
        log.error("unraisable: %s", args.object, exc_info=(args.exc_type, error, args.exc_traceback) if error else None)


def is_for_user(error: BaseException) -> bool:
    """Whether the error is a sentence for the user; otherwise it is a bug."""
    return isinstance(error, TLStudioError)


def sentence_of(error: BaseException) -> str:
    """Return what happened, in one sentence."""
    if isinstance(error, TLStudioError):
        return error.what
    return str(error) or type(error).__name__


def remedy_of(error: BaseException) -> str:
    """Return what to do about it; may be empty."""
    if isinstance(error, ProblemsError):
        return "\n".join(f"•  {problem}" for problem in error.problems)
    return error.remedy if isinstance(error, TLStudioError) else ""


def report_of(error: BaseException, *, doing: str = "") -> str:
    """Write a report for the people who mend it: versions, what was done, and the traceback."""
    lines = [
        f"TL Studio {__version__}",
        f"Python {platform.python_version()}, Qt {qVersion()}, {platform.platform()}",
    ]
    if doing:
        lines.append(f"While: {doing}")
    lines += ["", "".join(traceback.format_exception(error)).rstrip()]
    return without_secrets("\n".join(lines))
