"""A request of the system to end closes the window."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from pytestqt.qtbot import QtBot

from tlstudio.gui.signals import SignalWatch


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_signal_is_heard_while_the_window_waits_and_the_handlers_are_put_back(qtbot: QtBot) -> None:
    heard: list[bool] = []
    before = signal.getsignal(signal.SIGTERM)
    watch = SignalWatch(lambda: heard.append(True))
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        qtbot.waitUntil(lambda: bool(heard))
    finally:
        watch.restore()
    assert signal.getsignal(signal.SIGTERM) is before
    watch.deleteLater()
