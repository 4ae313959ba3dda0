"""PySide makes its types when they are looked up: two threads that do so at once crash the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.gui.trained import copied

WATCHED = """
import json, sys, threading
from importlib.abc import MetaPathFinder
from pathlib import Path

class Notes(MetaPathFinder):
    def __init__(self):
        self.found = []

    def find_spec(self, name, path=None, target=None):
        part = name.split(".")[0]
        if part in ("PySide6", "shiboken6", "pyqtgraph") or name.startswith("tlstudio.gui"):
            self.found.append((name, threading.current_thread() is threading.main_thread()))
        return None

notes = Notes()
sys.meta_path.insert(0, notes)
from PySide6.QtCore import QTimer
from tlstudio.gui.app import main

def look(window):
    state, runs, train = window.state, window.panel("runs"), window.panel("train")
    window.go_to("runs")

    def again():
        if runs.view is None or state.jobs.jobs:
            return
        if window.page == "runs":
            window.go_to("train")
        elif not train.draft.pending and "pyqtgraph" in sys.modules:
            clock.stop()
            Path(sys.argv[2]).write_text(json.dumps(notes.found), encoding="utf-8")
            window.close()

    clock = QTimer(window)
    clock.timeout.connect(again)
    clock.start(50)

main(Path(sys.argv[1]), look)
"""


def test_nothing_of_qt_is_imported_by_a_job_while_a_project_is_opened_and_its_runs_and_a_recipe_are_looked_at(
    trained: Path, tmp_path: Path
) -> None:
    project, said = copied(trained, tmp_path / "copy"), tmp_path / "imports.json"
    variables = {**os.environ, "TLSTUDIO_HOME": str(tmp_path / "home"), "QT_QPA_PLATFORM": "offscreen"}
    words = [sys.executable, "-c", WATCHED, str(project), str(said)]
    done = subprocess.run(words, capture_output=True, text=True, env=variables, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    imports = dict(json.loads(said.read_text(encoding="utf-8")))
    assert imports["pyqtgraph"], "by a job"
    assert [name for name, by_window in imports.items() if not by_window] == []


def test_what_plots_need_is_imported_in_steps_before_the_first_plot_is_there() -> None:
    words = (
        "import sys\n"
        "from tlstudio.gui.plots_ahead import import_plots\n"
        "steps = [('pyqtgraph' in sys.modules) for _ in import_plots()]\n"
        "print(len(steps) > 20 and not any(steps) and 'pyqtgraph' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"
