"""Before an import: what was found, how it is understood, and what is in the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QLocale, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import Mask, Sample, label_names, label_text
from tlstudio.data.targets import sort_classes
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import duration_text
from tlstudio.gui.widgets.gallery import Gallery, Tile
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.import_form import ImportForm
from tlstudio.gui.widgets.import_plan import Plan, make_plan, source_size
from tlstudio.gui.widgets.picture import is_ground
from tlstudio.gui.widgets.sample_thumbs import sample_thumb
from tlstudio.gui.widgets.samples_table import style_table
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import Job, JobContext

if TYPE_CHECKING:
    from tlstudio.data.importing import ImportReport

FORM_WIDTH = 368
TYPING_PAUSE = 300
"""Milliseconds after the last change before the source is looked at again."""


class ImportView(QWidget):
    """Form at the left, preview at the right, problems and the button below.

    Signals:
        closed(): Given up.
        imported(object): Done; carries the `ImportReport`.
    """

    closed = Signal()
    imported = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("import_view")
        self._state = state
        self._plan: Plan | None = None
        self._job: Job[ImportReport] | None = None
        self._title = text_label(self.tr("Import"), "title", "import_title", elide=True)
        self._source = text_label("", "second", "import_source", elide=True)
        self.form = ImportForm(state.registry)
        self.form.changed.connect(self._later)
        inner = QWidget()
        inner.setProperty("role", "bare")
        inner_column = QVBoxLayout(inner)
        inner_column.setContentsMargins(0, 0, 12, 0)
        inner_column.addWidget(self.form)
        area = QScrollArea()
        area.setObjectName("import_scroll")
        area.setAccessibleName(self.tr("How it is imported"))
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        left = Card("import_card", margins=(16, 16, 4, 12), spacing=8)
        left.setFixedWidth(FORM_WIDTH)
        left.column.addWidget(area)

        right = Card("import_preview", margins=(5, 14, 5, 8), spacing=8)
        self._found = text_label("", "section", "import_found", elide=True)
        self._found.setContentsMargins(11, 0, 11, 0)
        right.column.addWidget(self._found)
        self.gallery = Gallery("import_gallery", state)
        self.table = QTableWidget()
        self.table.setObjectName("import_table")
        self.table.setAccessibleName(self.tr("First rows"))
        self.table.setProperty("role", "bare")
        style_table(self.table)
        right.column.addWidget(self.gallery, 3)
        right.column.addWidget(self.table, 2)
        self._notes = text_label("", "small", "import_notes", wrap=True)
        self._notes.setContentsMargins(11, 0, 11, 4)
        right.column.addWidget(self._notes)

        self._problem_row = QFrame()
        self._problem_row.setObjectName("import_problem_row")
        problem_layout = QHBoxLayout(self._problem_row)
        problem_layout.setContentsMargins(0, 0, 0, 0)
        problem_layout.setSpacing(8)
        problem_layout.addWidget(IconLabel(state, "warning", "bad", 18))
        self.problems = text_label("", "bad", "import_problems", wrap=True)
        problem_layout.addWidget(self.problems, 1)
        self._sentence = text_label("", "second", "import_sentence", elide=True)
        self._bar = QProgressBar()
        self._bar.setObjectName("import_progress")
        self._bar.setAccessibleName(self.tr("Progress of the import"))
        self._bar.setTextVisible(False)
        self.cancel_button = push_button(self.tr("Cancel"), "secondary", "import_cancel")
        self.cancel_button.clicked.connect(self._cancel)
        self.import_button = push_button(self.tr("&Import"), "primary", "import_start")
        self.import_button.clicked.connect(self._import)
        self.import_button.setMinimumWidth(128)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(self._problem_row)
        words.addWidget(self._sentence)
        words.addWidget(self._bar)
        foot.addLayout(words, 1)
        foot.addSpacing(8)
        foot.addWidget(self.cancel_button)
        foot.addWidget(self.import_button)

        columns = QHBoxLayout()
        columns.setSpacing(12)
        columns.addWidget(left)
        columns.addWidget(right, 1)
        head = QVBoxLayout()
        head.setSpacing(2)
        head.addWidget(self._title)
        head.addWidget(self._source)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        layout.addLayout(head)
        layout.addLayout(columns, 1)
        layout.addLayout(foot)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_PAUSE)
        self._timer.timeout.connect(self._look)
        self._show_idle()

    @property
    def busy(self) -> bool:
        """Whether an import is under way."""
        return self._job is not None

    @property
    def plan(self) -> Plan | None:
        """What the import would do; `None` while the source is being looked at."""
        return self._plan

    def start(self, source: Path) -> None:
        """Look at a folder or file."""
        self._title.setText(self.tr("Import “{0}”").format(source.name))
        self._source.setText(str(source))
        self._plan = None
        self.form.begin(source)
        self._found.setText(self.tr("Looking at it…"))
        self._notes.clear()
        self.table.setRowCount(0)
        self.gallery.hide()
        self._show_idle()
        self._look()

        def add_up(context: JobContext) -> tuple[int, bool]:
            return source_size(source, context)

        self._state.jobs.start(
            add_up, self.tr("Adding up sizes"), lambda result: self.form.show_size(*result), key="import_size"
        )

    def leave(self) -> None:
        """Forget the source; an import that is under way is cancelled."""
        self._timer.stop()
        self._plan = None
        if self._job is not None:
            self._job.cancel()

    def close_down(self) -> None:
        """End the threads that make thumbnails."""
        self.gallery.close_loader()

    # Looking ----------------------------------------------------------------------------------------------------

    @Slot()
    def _later(self) -> None:
        self.import_button.setEnabled(False)
        self._timer.start()

    @Slot()
    def _look(self) -> None:
        wish, registry = self.form.wish, self._state.registry
        self.import_button.setEnabled(False)
        self._state.jobs.start(
            lambda _context: make_plan(wish, registry),
            self.tr("Looking at {0}").format(wish.source.name),
            self._show_plan,
            key="import_plan",
        )

    def _show_plan(self, plan: Plan) -> None:
        self._plan = plan
        self.form.show_plan(plan)
        self.import_button.setEnabled(plan.request is not None and not self.busy)
        self.problems.setText(
            "\n".join(" ".join(part for part in (problem.what, problem.remedy) if part) for problem in plan.problems)
        )
        self._problem_row.setVisible(bool(plan.problems))
        self._sentence.setVisible(not plan.problems)
        preview = plan.preview
        if preview is None:
            self._found.setText(self.tr("Nothing to show"))
            self._notes.clear()
            self.table.setColumnCount(0)
            self.table.setRowCount(0)
            self.gallery.hide()
            return
        count = "" if preview.count is None else QLocale().toString(preview.count)
        title = self.tr("The first {0} of {1} items") if count else self.tr("The first {0} items")
        self._found.setText(title.format(len(preview.rows), count))
        self._notes.setText("\n".join(preview.notes))
        self._notes.setVisible(bool(preview.notes))
        if plan.request is not None:
            self._sentence.setText(
                self.tr("Becomes the data set “{0}”: {1}. Nothing is changed in the source.").format(
                    plan.request.name, self.form.task_box.currentText().lower()
                )
            )
        self._fill_table(plan)
        self._fill_gallery(plan)

    def _fill_table(self, plan: Plan) -> None:
        if plan.preview is None:
            return
        columns, rows = plan.preview.columns, plan.preview.rows
        self.table.setColumnCount(len(columns))
        self.table.setHorizontalHeaderLabels(list(columns))
        self.table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for place, column in enumerate(columns):
                text = " ".join(row.get(column, "")[:400].split())
                item = QTableWidgetItem(text[:200])
                item.setToolTip(text)
                self.table.setItem(number, place, item)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.table.resizeColumnsToContents()
        # The last one takes the room that is left.
        for place in range(len(columns) - 1):
            self.table.setColumnWidth(place, max(96, min(360, self.table.columnWidth(place) + 16)))

    def _fill_gallery(self, plan: Plan) -> None:
        classes = sort_classes({name for sample in plan.samples for name in label_names(sample.label)})
        tiles = [tile for sample in plan.samples if (tile := self._tile(sample, classes)) is not None]
        self.gallery.setVisible(bool(tiles))
        self.gallery.set_items(len(tiles), tiles.__getitem__, images=True)

    def _tile(self, sample: Sample, classes: tuple[str, ...]) -> Tile | None:
        label = sample.label
        marked = isinstance(label, (Mask, tuple))
        marks = (lambda: label) if marked else None
        thumb = sample_thumb(sample, self._state.theme, marks=marks, classes=classes, key=f"{id(label)}")
        file = sample.image or sample.audio
        if isinstance(label, Mask):
            caption = ", ".join(name for name in label.names if not is_ground(name))
        elif file is None:
            caption = sample.id  # of a forecast: it tells the time, and numbers would tell nothing
        else:
            caption = file.parent.name if label is None else label_text(label)
        return None if thumb is None else Tile(thumb, "", caption)

    # Importing --------------------------------------------------------------------------------------------------

    @Slot()
    def _import(self) -> None:
        plan, project = self._plan, self._state.project
        if plan is None or plan.request is None or project is None or self.busy:
            return
        request, folder = plan.request, project.datasets_folder

        def run(context: JobContext) -> ImportReport:
            from tlstudio.data.importing import import_dataset

            return import_dataset(
                request,
                folder,
                on_progress=lambda done, total: context.progress(done, total),
                cancelled=context.cancelled,
            )

        self.form.setEnabled(False)
        self.import_button.setEnabled(False)
        self._problem_row.hide()
        self._sentence.show()
        self._bar.show()
        self._job = self._state.jobs.start(run, self.tr("Importing {0}").format(request.name), self._done, self._failed)
        self._job.changed.connect(self._show_progress)
        self._job.ended.connect(self._ended)

    @Slot()
    def _show_progress(self) -> None:
        job = self._job
        if job is None:
            return
        locale = QLocale()
        self._bar.setRange(0, job.total)
        self._bar.setValue(job.done)
        if job.cancelling:
            text = self.tr("Cancelling…")
        elif job.total:
            text = self.tr("Importing: {0} of {1}").format(locale.toString(job.done), locale.toString(job.total))
        else:
            text = self.tr("Importing: {0}").format(locale.toString(job.done))
        if job.seconds_left is not None:
            text += " · " + self.tr("{0} left").format(duration_text(job.seconds_left))
        self._sentence.setText(text)

    def _done(self, report: ImportReport) -> None:
        self._job = None
        self.imported.emit(report)

    def _failed(self, error: Exception) -> None:
        from tlstudio.api import TLStudioError

        if isinstance(error, TLStudioError):
            self.problems.setText(str(error))
            self._problem_row.show()
            self._sentence.hide()
        else:
            self._state.show_error(error)

    @Slot(object)
    def _ended(self, job: object) -> None:
        cancelled = isinstance(job, Job) and job.state == "cancelled"
        self._job = None
        problem = not self._problem_row.isHidden()
        self._show_idle()
        self._problem_row.setVisible(problem)
        self._sentence.setVisible(not problem)
        self.import_button.setEnabled(self._plan is not None and self._plan.request is not None)
        if cancelled:
            self._sentence.setText(self.tr("Cancelled: nothing was imported."))
            self._state.message.emit(self.tr("Import cancelled: nothing was imported."), "")

    def _show_idle(self) -> None:
        self.form.setEnabled(True)
        self.cancel_button.setEnabled(True)
        self._bar.hide()
        self._problem_row.hide()
        self._sentence.clear()
        self._sentence.show()

    @Slot()
    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._show_progress()
        else:
            self.leave()
            self.closed.emit()
