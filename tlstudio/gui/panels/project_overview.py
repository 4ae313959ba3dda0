"""The open project at a glance: what to do next, its data sets, its last runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QLocale, Qt, Signal, Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from tlstudio.api import MODALITIES, TASKS, Modality, Task, TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, items_word
from tlstudio.gui.widgets.card import Card, Clickable
from tlstudio.gui.widgets.figures import metric_title, moment_text
from tlstudio.gui.widgets.icons import IconLabel, keep_icon
from tlstudio.gui.widgets.run_table import shown_metric
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    from tlstudio.store.project import Project
    from tlstudio.store.run_record import RunSummary

SHOWN_RUNS = 6


@dataclass(frozen=True)
class DatasetFacts:
    """What a card tells of a data set.

    Attributes:
        name: Its name.
        revision: Its newest revision.
        modality: What it has; `None` if it cannot be read.
        task: What its labels are for.
        count: Number of samples.
        classes: Number of classes.
        problem: Why it cannot be read; empty if it can.
    """

    name: str
    revision: str
    modality: Modality | None = None
    task: Task = "classification"
    count: int = 0
    classes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Overview:
    """Everything that the page shows, read in one go.

    Attributes:
        folder: The project's folder.
        datasets: Its data sets.
        runs: Its runs, newest first.
    """

    folder: Path
    datasets: tuple[DatasetFacts, ...]
    runs: tuple[RunSummary, ...]


def collect(project: Project, context: JobContext) -> Overview:
    """Read what the page shows; runs off the window's thread."""
    names = project.datasets()
    facts = []
    for done, name in enumerate(names):
        context.progress(done, len(names))
        if context.cancelled():
            break
        revision_id = project.revisions(name)[-1]
        try:
            revision = project.dataset(name, revision_id)
        except TLStudioError as error:
            facts.append(DatasetFacts(name, revision_id, problem=str(error)))
        else:
            facts.append(
                DatasetFacts(name, revision_id, revision.modality, revision.task, len(revision), len(revision.classes))
            )
    return Overview(project.folder, tuple(facts), tuple(project.runs()))


class ProjectOverview(QWidget):
    """Head with the project's name; next step; data sets at the left, runs at the right.

    Signals:
        rename_wanted(): Rename the project.
        folder_wanted(): Show its folder.
        close_wanted(): Close it.
    """

    rename_wanted = Signal()
    folder_wanted = Signal()
    close_wanted = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("project_overview")
        self._state = state
        self._name = text_label("", "title", "project_name", elide=True)
        self._place = text_label("", "second", "project_place", elide=True)
        head = QHBoxLayout()
        head.setSpacing(8)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        texts.addWidget(self._name)
        texts.addWidget(self._place)
        head.addLayout(texts, 1)
        self._rename = self._head_button(self.tr("Rename"), "edit", "project_rename")
        self._folder = self._head_button(self.tr("Show folder"), "folder", "project_folder")
        self._close = self._head_button(self.tr("Close"), "close", "project_close")
        self._rename.clicked.connect(self.rename_wanted)
        self._folder.clicked.connect(self.folder_wanted)
        self._close.clicked.connect(self.close_wanted)
        for button in (self._rename, self._folder, self._close):
            head.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)

        self._next = Card("project_next", margins=(20, 16, 20, 16))
        row = QHBoxLayout()
        row.setSpacing(16)
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(text_label(self.tr("NEXT STEP"), "caption", "project_next_caption"))
        self._next_title = text_label("", "heading", "project_next_title")
        self._next_text = text_label("", "second", "project_next_text", wrap=True)
        words.addWidget(self._next_title)
        words.addWidget(self._next_text)
        row.addLayout(words, 1)
        self._next_button = push_button("", "primary", "project_next_action")
        self._next_button.clicked.connect(self._go)
        row.addWidget(self._next_button, 0, Qt.AlignmentFlag.AlignVCenter)
        self._next.column.addLayout(row)
        self._target = ""
        self._target_run = ""
        self._target_dataset = ""

        self._datasets = Card("project_datasets", margins=(8, 14, 8, 8), spacing=0)
        self._runs = Card("project_runs", margins=(8, 14, 8, 8), spacing=0)
        columns = QHBoxLayout()
        columns.setSpacing(12)
        columns.addWidget(self._datasets, 1)
        columns.addWidget(self._runs, 1)
        inner = QWidget()
        inner.setProperty("role", "bare")
        column = QVBoxLayout(inner)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self._next)
        column.addLayout(columns)
        column.addStretch()
        area = QScrollArea()
        area.setObjectName("project_scroll")
        area.setAccessibleName(self.tr("Project"))
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    def show_head(self, project: Project) -> None:
        """Show name and place of a project, before the rest has been read."""
        self._name.setText(project.name)
        self._place.setText(str(project.folder))
        self._rename.setEnabled(project.writable)

    def show_overview(self, overview: Overview) -> None:
        """Show what was read."""
        self._show_datasets(overview)
        self._show_runs(overview)
        self._show_next(overview)

    def _head_button(self, text: str, icon: str, name: str) -> QPushButton:
        button = push_button(f" {text}", "secondary", name, accessible=text)
        keep_icon(button, self._state, icon, "second", 15)
        return button

    def _show_next(self, overview: Overview) -> None:
        self._target_run = self._target_dataset = ""
        last = overview.runs[0] if overview.runs else None
        if not overview.datasets:
            self._say(
                self.tr("Import your first data set"),
                self.tr("A folder with one subfolder for each class, or a table with texts or image paths and labels."),
                self.tr("&Import data"),
                "data",
            )
        elif last is None:
            self._show_first(overview.datasets)
        elif self._state.run_state.active:
            self._say(
                self.tr("A run is under way"),
                self.tr("Watch its curves, or let it go on while you look at your data."),
                self.tr("&Watch"),
                "train",
            )
        elif last.status in ("failed", "damaged"):
            self._target_run = last.id
            self._say(
                self.tr("The last run failed"),
                last.error.splitlines()[0] if last.error else "",
                self.tr("&See why"),
                "runs",
            )
        else:
            self._target_run = last.id
            self._say(
                self.tr("Look at what the model gets wrong"),
                self.tr("Open the results and the worst items of the last run; often labels are at fault."),
                self.tr("&Open the last run"),
                "runs",
            )

    def _show_first(self, datasets: Sequence[DatasetFacts]) -> None:
        """Say what to begin with where nothing has been trained: a probe where one suits, else what does."""
        readable = [one for one in datasets if one.modality is not None]
        labelled = [one for one in readable if TASKS[one.task].label != "none"]
        probed = [one for one in labelled if self._probe_suits(one)]
        if not readable:
            self._say(self.tr("Look at your data"), datasets[0].problem, self.tr("&Open the data"), "data")
            return
        title = self.tr("Train a first model")
        text = self.tr("Start on “{0}” with what is recommended: it shows what every later run has to beat.")
        if probed:
            text = self.tr(
                "Start with a linear probe on “{0}”: it is quick, and shows what every later run has to beat."
            )
        elif not labelled:
            title = self.tr("Pretrain on your items, or label some")
            text = self.tr(
                "“{0}” has no labels: a backbone can learn from its items, and later runs start from it. To train a "
                "model that predicts something, import data with labels."
            )
        first = (probed or labelled or readable)[0]
        self._target_dataset = first.name
        self._say(title, text.format(first.name), self.tr("&Train"), "train")

    def _probe_suits(self, facts: DatasetFacts) -> bool:
        """Whether a head on frozen features learns something, and quickly: not of rows, pixels or words."""
        needed = {head.requires for head in self._state.registry.heads.values() if head.task == facts.task}
        return facts.modality != "table" and not needed.isdisjoint(("pooled", "parts"))

    def _say(self, title: str, text: str, action: str, target: str) -> None:
        self._next_title.setText(title)
        self._next_text.setText(text)
        self._next_button.setText(action)
        self._next_button.setAccessibleName(action.replace("&", ""))
        self._target = target

    @Slot()
    def _go(self) -> None:
        if self._target_run:
            self._state.show_run.emit(self._target_run)
        elif self._target:
            if self._target_dataset:
                self._state.select_dataset(self._target_dataset)
            self._state.navigate.emit(self._target)

    def _show_datasets(self, overview: Overview) -> None:
        _clear(self._datasets.column)
        link = push_button(self.tr("Import data"), "link", "project_import")
        link.clicked.connect(lambda: self._state.navigate.emit("data"))
        self._datasets.column.addLayout(_heading(self.tr("Data sets"), "project_datasets_title", link))
        for facts in overview.datasets:
            self._datasets.column.addWidget(self._dataset_row(facts))
        if not overview.datasets:
            self._datasets.column.addWidget(_nothing(self.tr("None yet."), "project_no_datasets"))
        self._datasets.column.addStretch()

    def _dataset_row(self, facts: DatasetFacts) -> QWidget:
        row = Clickable("project_dataset", facts.name, "row")
        if facts.problem:
            icon, second = IconLabel(self._state, "warning", "bad", 18), facts.problem
        else:
            icon = IconLabel(self._state, MODALITIES[facts.modality].icon if facts.modality else "data", "second", 18)
            count = QLocale().toString(facts.count)
            parts = [f"{count} {items_word(facts.modality, facts.task)}" if facts.modality else count]
            if facts.classes > 1:
                parts.append(self.tr("{0} classes").format(facts.classes))
            else:
                parts.append(TASKS[facts.task].title)
            second = " · ".join([*parts, self.tr("revision {0}").format(facts.revision.removeprefix("r"))])
        layout = QHBoxLayout(row)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(12)
        layout.addWidget(icon)
        texts = QVBoxLayout()
        texts.setSpacing(1)
        texts.addWidget(text_label(facts.name, "section", "project_dataset_name", elide=True))
        texts.addWidget(text_label(second, "small", "project_dataset_facts", elide=True))
        layout.addLayout(texts, 1)
        row.clicked.connect(lambda: self._open_dataset(facts.name))
        return row

    def _open_dataset(self, name: str) -> None:
        self._state.select_dataset(name)
        self._state.navigate.emit("data")

    def _show_runs(self, overview: Overview) -> None:
        _clear(self._runs.column)
        link = push_button(self.tr("All runs"), "link", "project_all_runs")
        link.clicked.connect(lambda: self._state.navigate.emit("runs"))
        link.setVisible(len(overview.runs) > SHOWN_RUNS)
        self._runs.column.addLayout(_heading(self.tr("Last runs"), "project_runs_title", link))
        for run in overview.runs[:SHOWN_RUNS]:
            self._runs.column.addWidget(self._run_row(run))
        if not overview.runs:
            self._runs.column.addWidget(_nothing(self.tr("None yet."), "project_no_runs"))
        self._runs.column.addStretch()

    def _run_row(self, run: RunSummary) -> QWidget:
        row = Clickable("project_run", run.id, "row")
        icons = {
            "queued": ("clock", "second"),
            "running": ("play", "accent_text"),
            "done": ("check", "good"),
            "stopped": ("stop", "second"),
        }
        icon, colour = icons.get(run.status, ("close", "second"))
        if run.status in ("failed", "damaged"):
            icon, colour = "error", "bad"
        layout = QHBoxLayout(row)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(12)
        layout.addWidget(IconLabel(self._state, icon, colour, 18))
        texts = QVBoxLayout()
        texts.setSpacing(1)
        registry = self._state.registry
        strategy = component_title(registry, "strategy", run.strategy)
        backbone = component_title(registry, "backbone", run.backbone)
        title = " · ".join(part for part in (run.dataset, strategy) if part) or run.id
        texts.addWidget(text_label(title, "section", "project_run_title", elide=True))
        second = " · ".join(part for part in (backbone, moment_text(run.created)) if part)
        texts.addWidget(text_label(second, "small", "project_run_facts", elide=True))
        layout.addLayout(texts, 1)
        metric = shown_metric(run)
        if metric is not None:
            figures = QVBoxLayout()
            figures.setSpacing(1)
            for text, role in ((f"{metric[1]:.3f}", "section"), (metric_title(metric[0]), "small")):
                label = text_label(text, role, f"project_run_{role}")
                label.setAlignment(Qt.AlignmentFlag.AlignRight)
                figures.addWidget(label)
            layout.addLayout(figures)
        else:
            layout.addWidget(text_label(run.status, "small", "project_run_status"))
        row.clicked.connect(lambda: self._state.show_run.emit(run.id))
        return row


def _heading(title: str, name: str, link: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(8, 0, 8, 8)
    heading = text_label(title, "section", name)
    heading.setMinimumHeight(20)
    row.addWidget(heading)
    row.addStretch()
    row.addWidget(link)
    return row


def _nothing(text: str, name: str) -> QWidget:
    label = text_label(text, "second", name)
    label.setContentsMargins(8, 4, 8, 8)
    return label


def _clear(layout: QLayout) -> None:
    while (item := layout.takeAt(0)) is not None:
        if (inner := item.layout()) is not None:
            _clear(inner)
        elif (widget := item.widget()) is not None:
            widget.hide()
            widget.deleteLater()
