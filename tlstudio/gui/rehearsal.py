"""A real window that is driven by a plan, in a process of its own: ``python -m tlstudio.gui.rehearsal PLAN.json``.

The plan is an object: ``project`` (a folder), ``recipe`` (a file), ``runs_in`` (``"window"`` or ``"process"``),
``action`` (``"stop"``, ``"leave"``, ``"cancel"`` or ``"wait"``) and ``after`` (seconds from the start of the run).
What it does is said in words, a line each: ``shown``, ``started`` and ``closing``. It is what
``tlstudio selftest --only close`` closes, cancels and kills.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from PySide6.QtCore import QObject, QTimer, Slot
from PySide6.QtWidgets import QAbstractButton

from tlstudio.engine.recipe import Recipe
from tlstudio.gui.app import main
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.startup import keep_freed_memory, share_the_cores, stay_offline

_ANSWERS = {"window": {"stop": "yes", "leave": "yes"}, "process": {"stop": "other", "leave": "yes"}}


class Rehearsal(QObject):
    """Presses what the plan says.

    Args:
        window: The window.
        plan: The plan.
    """

    def __init__(self, window: MainWindow, plan: dict[str, Any]) -> None:
        super().__init__(window)
        self._window = window
        self._plan = plan
        _say("shown")
        QTimer.singleShot(0, self, self._start)

    @Slot()
    def _start(self) -> None:
        self._window.go_to("train")
        page = self._window.panel("train")
        if not isinstance(page, TrainPanel):
            raise TypeError("the Train page is no TrainPanel")
        page.setup.place.box.setCurrentIndex(page.setup.place.box.findData(self._plan["runs_in"]))
        recipe = Recipe.model_validate(tomllib.loads(Path(self._plan["recipe"]).read_text(encoding="utf-8")))
        page.start(recipe)
        _say("started")
        if self._plan["action"] == "cancel":
            QTimer.singleShot(round(self._plan["after"] * 500), page, page.driver.cancel)
        if self._plan["action"] != "wait":
            QTimer.singleShot(round(self._plan["after"] * 1000), self, self._close)

    @Slot()
    def _close(self) -> None:
        _say("closing")
        self._window.close()
        answer = _ANSWERS[self._plan["runs_in"]].get(self._plan["action"], "yes")
        button = self._window.findChild(QAbstractButton, f"close_question_{answer}")
        if isinstance(button, QAbstractButton):  # else the run had ended already
            button.click()


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def rehearse(path: Path) -> NoReturn:
    """Open the window of a plan, do what it says, and end the process."""
    stay_offline(os.environ)
    share_the_cores(os.environ)
    keep_freed_memory()
    plan = json.loads(path.read_text(encoding="utf-8"))

    def on_shown(window: MainWindow) -> None:
        Rehearsal(window, plan)  # the window keeps it

    main(Path(plan["project"]), on_shown)


if __name__ == "__main__":
    rehearse(Path(sys.argv[1]))
