"""Write a picture of every page, light and dark, at 1366x768 and at twice the pixels, with a small real project.

    python -m tests.gui.screenshots OUTDIR

The project has Chinese class names and texts, data of every kind, and short runs on the weights of the starter extra.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEventLoop, QSettings, Qt, QTimer
from PySide6.QtWidgets import QDialog, QWidget

from tests.gui import kinds
from tlstudio.data.importing import import_dataset, plan_import
from tlstudio.engine.events import Paused
from tlstudio.gui.app import build_window, make_application, make_state
from tlstudio.gui.errors import route_qt_messages
from tlstudio.gui.log_files import Crash
from tlstudio.gui.main_window import MainWindow
from tlstudio.gui.panels.data import DataPanel
from tlstudio.gui.panels.plugins import PluginsPanel
from tlstudio.gui.panels.predict import PredictPanel
from tlstudio.gui.panels.project import ProjectPanel
from tlstudio.gui.panels.runs import RunsPanel
from tlstudio.gui.panels.train import TrainPanel
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import resource_folder
from tlstudio.plugins import PluginManager
from tlstudio.store.project import Project

CLASSES = {
    "bird": "鸟类",
    "bug": "昆虫",
    "flower": "花卉",
    "fruit": "水果",
    "mammal": "哺乳动物",
    "vehicle": "交通工具",
}
TEXTS = (
    ("这部电影太精彩了，演员的表演令人难忘，音乐也恰到好处。", "好评"),  # noqa: RUF001  Chinese commas
    ("浪费时间，剧情混乱，看到一半就想离开。", "差评"),  # noqa: RUF001  Chinese commas
    ("A quiet, honest film that stays with you for days.", "好评"),
    ("The jokes fall flat and the story never starts.", "差评"),
)
PER_CLASS = 24
SMALL_VISION: dict[str, Any] = {"name": "tf_efficientnet_lite0", "options": {"image_size": 128}}
KIND_RUNS: dict[str, dict[str, Any]] = {"cells": SMALL_VISION, "parts": SMALL_VISION, "penguins": {}, "load": {}}
"""Data sets on which there is a run, with its backbone; empty: the one that is recommended."""
EPOCHS_SEEN = 4


def make_sources(folder: Path) -> tuple[Path, Path]:
    """Write a folder of images with Chinese class names, two of them damaged, and a table of texts."""
    images, table = folder / "动物与植物", folder / "影评.csv"
    for name, title in CLASSES.items():
        (images / title).mkdir(parents=True)
        for path in sorted((resource_folder() / "demo" / "clipart15" / name).glob("*.jpg"))[:PER_CLASS]:
            shutil.copy(path, images / title)
    (images / "鸟类" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    (images / "昆虫" / "empty.png").write_bytes(b"")
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "critic"])
        for number in range(120):
            text, label = TEXTS[number % len(TEXTS)]
            writer.writerow([f"{text} ({number})" + " 续篇值得期待。" * (number % 13), label, f"评论员 {number % 9}"])
    return images, table


def make_kinds(folder: Path) -> list[Path]:
    """Write data of every other kind: masks, boxes, sounds, rows, a series, texts to be written."""
    return [
        kinds.write_cells(folder / "cells"),
        kinds.write_parts(folder / "parts"),
        kinds.write_calls(folder / "calls"),
        kinds.write_penguins(folder / "penguins.csv"),
        kinds.write_load(folder / "load.csv"),
        kinds.write_reports(folder / "reports.csv"),
    ]


def make_project(folder: Path, sources: tuple[Path, Path], manager: PluginManager) -> None:
    """Make the project: data sets of every kind, two runs on the images, and one on masks, boxes and a series each."""
    from tlstudio.engine.advise import complete
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.execute import execute_run

    with Project.create(folder, "Field study 野外研究") as project:
        for source in (*make_kinds(folder.parent), *sources):
            request, _ = plan_import(manager.registry.formats.values(), source)
            import_dataset(request, project.datasets_folder)
        for rate in (1e-3, 1e-2):
            values = {"strategy": {"name": "linear_probe"}, "training": {"epochs": 12, "learning_rate": rate}}
            recipe = complete(values, project.dataset(sources[0].name), manager.registry)
            execute_run(recipe, project, manager.registry, on_event=lambda _event: None, control=RunControl())
        for name, backbone in KIND_RUNS.items():
            values = {"training": {"epochs": 8, "batch_size": 4}, **({"backbone": backbone} if backbone else {})}
            recipe = complete(values, project.dataset(name), manager.registry)
            execute_run(recipe, project, manager.registry, on_event=lambda _event: None, control=RunControl())


def wait(state: AppState, milliseconds: int = 500) -> None:
    """Let the window work until no job is left, and a moment longer for thumbnails and timers."""
    loop = QEventLoop()
    quiet = 0
    while quiet < milliseconds:
        QTimer.singleShot(50, loop.quit)
        loop.exec()
        quiet = 0 if state.jobs.jobs else quiet + 50


def wait_until(condition: Callable[[], bool]) -> None:
    """Let the window work until something is so."""
    loop = QEventLoop()
    while not condition():
        QTimer.singleShot(50, loop.quit)
        loop.exec()


def live_scenes(window: MainWindow, state: AppState, images: Path) -> Iterator[tuple[str, QWidget]]:
    """What only shows while or after something is done: a run half way, two runs compared, an answer."""
    runs, predict, train = window.panel("runs"), window.panel("predict"), window.panel("train")
    assert isinstance(runs, RunsPanel)
    assert isinstance(predict, PredictPanel)
    assert isinstance(train, TrainPanel)
    window.go_to("runs")
    runs.table.selectAll()
    yield "runs-compare", window
    window.go_to("predict")
    assert state.project is not None
    predict.use_run(next(run.id for run in state.project.runs() if run.dataset == images.name))
    predict.one.take_file(sorted((images / "花卉").glob("*.jpg"))[0])
    wait_until(lambda: bool(predict.one.answer_card.bars.bars))
    yield "predict-result", window
    window.go_to("train")
    values = {"strategy": {"name": "full"}, "training": {"epochs": 12, "batch_size": 8, "threads": 1}}
    train.draft.load({**values, "backbone": {"name": "tf_efficientnet_lite0", "options": {"image_size": 64}}})
    wait_until(lambda: not train.draft.pending)
    assert train.draft.result.can_start, train.draft.result.problems
    train.setup.place.box.setCurrentIndex(train.setup.place.box.findData("process"))
    train.setup.start()
    wait_until(lambda: train.live.story.epoch is not None and train.live.story.epoch.epoch >= EPOCHS_SEEN)
    yield "train-running", window
    window.close()
    question = window.findChild(QDialog, "close_question")
    assert isinstance(question, QDialog)
    yield "close-question", question
    question.close()
    train.toggle_pause()
    wait_until(lambda: train.live.phase == "paused")
    train.live.take([Paused("The checkpoint could not be written: the disk is full. It needs 21 MB; 3 MB are left.")])
    train.live.redraw()
    train.setup.show_running(True, waiting=True)
    yield "train-waiting", window
    train.driver.cancel()
    wait_until(lambda: not train.active_run)
    yield "train-cancelled", window
    project = state.project
    assert project is not None
    state.show_run.emit(train.live.story.run)
    yield "runs-cancelled", window
    project.delete_run(train.live.story.run)  # the pictures that follow shall show the same runs
    state.runs_changed.emit()


def kind_scenes(window: MainWindow, state: AppState, work: Path) -> Iterator[tuple[str, QWidget]]:
    """Data of every kind on each page: looked at, imported, as a result, predicted."""
    data, runs, predict = window.panel("data"), window.panel("runs"), window.panel("predict")
    assert isinstance(data, DataPanel)
    assert isinstance(runs, RunsPanel)
    assert isinstance(predict, PredictPanel)
    assert state.project is not None
    for source in ("cells", "parts", "calls", "penguins.csv", "load.csv", "reports.csv"):
        name = Path(source).stem
        window.go_to("data")
        state.select_dataset(name)
        wait(state)
        yield f"data-{name}", window
        data.browser.gallery.set_current(2)
        yield f"data-{name}-item", window
        data.browser.gallery.set_current(-1)
        data.import_source(work / source)
        yield f"import-{name}", window
        data.import_view.closed.emit()
    for run in state.project.runs():
        if run.dataset not in KIND_RUNS:
            continue
        window.go_to("runs")
        state.show_run.emit(run.id)
        wait(state)
        assert runs.view is not None
        for tab, title in enumerate(("result", "mistakes")):
            runs.view.tabs.setCurrentIndex(tab)
            yield f"run-{run.dataset}-{title}", window
        runs.view.tabs.setCurrentIndex(0)
        window.go_to("predict")
        predict.use_run(run.id)
        wait(state)
        if run.dataset in ("cells", "parts"):
            predict.one.take_file(sorted((work / run.dataset / "images").iterdir())[1])
        else:
            predict.one.row.give()
        wait_until(lambda: predict.one.answer not in ("…", "—"))
        yield f"predict-{run.dataset}", window
        predict.one.found.search_similar()
        wait_until(lambda: bool(predict.one.found.gallery.items))
        yield f"predict-{run.dataset}-similar", window
    window.go_to("plugins")
    plugins = window.panel("plugins")
    assert isinstance(plugins, PluginsPanel)
    plugins.tabs.setCurrentWidget(plugins.models)
    wait_until(lambda: bool(plugins.models.models))
    plugins.models.table.choose(next(iter(plugins.models.models)))
    yield "models", window
    plugins.tabs.setCurrentIndex(0)


def scenes(
    window: MainWindow, state: AppState, project: Path, sources: tuple[Path, Path]
) -> Iterator[tuple[str, QWidget]]:
    """Bring the window into each state worth a picture, one after the other."""
    state.settings.setValue("project/recent", [str(project), str(project.parent / "蝴蝶 2019")])
    start = window.panel("project")
    data = window.panel("data")
    assert isinstance(start, ProjectPanel)
    assert isinstance(data, DataPanel)
    start.refresh()
    window.go_to("project")
    yield "project-welcome", window
    start.new_project()
    dialog = window.findChild(QDialog, "new_project_dialog")
    assert isinstance(dialog, QDialog)
    yield "project-new", dialog
    dialog.close()
    for page in ("data", "train", "runs", "predict"):
        window.go_to(page)
        yield f"{page}-without-project", window
    state.open_project(project)
    window.go_to("project")
    yield "project", window
    window.go_to("data")
    state.select_dataset(sources[0].name)
    yield "data-gallery", window
    data.browser.gallery.set_current(3)
    yield "data-item", window
    data.browser.gallery.set_current(-1)
    data.browser.tabs.setCurrentIndex(1)
    yield "data-table", window
    data.browser.tabs.setCurrentIndex(0)
    state.select_dataset(sources[1].stem)
    yield "data-texts", window
    for name, source in (("images", sources[0]), ("table", sources[1])):
        data.import_source(source)
        yield f"import-{name}", window
        data.import_view.closed.emit()
    state.select_dataset(sources[0].name)
    for page in ("train", "runs", "predict", "plugins"):
        window.go_to(page)
        yield page, window
    yield from kind_scenes(window, state, project.parent)
    state.select_dataset(sources[0].name)
    yield from live_scenes(window, state, sources[0])
    window.offer_report(Crash(0.0, project.parent, "Fatal Python error: Segmentation fault"))
    yield "notice", window
    window.notices.dismiss()
    window.show_help()
    dialog = window.findChild(QDialog, "help_dialog")
    assert isinstance(dialog, QDialog)
    yield "help", dialog
    dialog.close()
    state.show_error(ZeroDivisionError("division by zero"))
    dialog = window.findChild(QDialog, "error_dialog")
    assert isinstance(dialog, QDialog)
    yield "error", dialog
    dialog.close()


def take_pictures(folder: Path, work: Path, suffix: str) -> None:
    """Write all pictures at the scale of this process."""
    route_qt_messages()
    make_application([])
    manager = PluginManager(work / "plugins")
    manager.discover()
    sources = (work / "动物与植物", work / "影评.csv")
    for theme in ("light", "dark"):
        settings = work / f"{theme}{suffix}.ini"
        state = make_state(QSettings(str(settings), QSettings.Format.IniFormat), manager)
        state.set_theme_choice(theme)
        window = build_window(state)
        window.setWindowState(Qt.WindowState.WindowNoState)  # the screen that is none is smaller than the window
        window.resize(1366, 768)
        window.show()
        for name, widget in scenes(window, state, work / "project", sources):
            wait(state)
            widget.grab().save(str(folder / f"{name}-{theme}{suffix}.png"))
        window.close()
        window.deleteLater()
        state.deleteLater()


def main() -> int:
    """Make the project once, then take the pictures in one process for each scale."""
    if len(sys.argv) == 4:
        take_pictures(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].rstrip("_").replace("_", "-"))
        return 0
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        os.environ["TLSTUDIO_HOME"] = str(work / "home")
        (work / "plugins").mkdir()
        (work / "plugins" / "broken_plugin.py").write_text("import a_module_that_is_not_there\n")
        manager = PluginManager()
        manager.discover()
        make_project(work / "project", make_sources(work), manager)
        for scale, suffix in (("1", "_"), ("2", "_2x")):
            command = [sys.executable, "-m", "tests.gui.screenshots", str(folder), str(work), suffix]
            subprocess.run(command, check=True, env={**os.environ, "QT_SCALE_FACTOR": scale})
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
