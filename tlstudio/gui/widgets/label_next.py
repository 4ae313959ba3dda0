"""Asking for the next labels: a finished run says which unlabelled items would teach the most, and they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QSize, Qt, Signal
from PySide6.QtGui import QImage, QPixmap
from PySide6.QtWidgets import QComboBox, QFrame, QGridLayout, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from tlstudio.api import Label, TLStudioError, label_names, label_text
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.dialogs import Sheet
from tlstudio.gui.widgets.file_dialogs import ask_folder
from tlstudio.gui.widgets.found_items import told_to
from tlstudio.gui.widgets.project_choice import ENDED_WELL
from tlstudio.gui.widgets.sample_thumbs import sample_thumb
from tlstudio.gui.widgets.several_labels import SeveralLabels
from tlstudio.gui.widgets.texts import ElidedBox, push_button, text_label
from tlstudio.gui.workers import Job, JobContext

if TYPE_CHECKING:
    from tlstudio.data.importing import ImportReport
    from tlstudio.data.revision import Revision
    from tlstudio.engine.active import Candidate, Suggestion
    from tlstudio.store.project import Project

COUNTS = (10, 20, 50, 100)
_EDGE = 72


@dataclass(frozen=True)
class _Asked:
    """What a search gives: the items, and how each looks."""

    found: Suggestion
    pictures: tuple[QImage | None, ...]


class LabelNext(Sheet):
    """Chooses items with a run, takes a label for each, and makes a new revision of the data set with them.

    Args:
        state: What the pages share.
        revision: The data set that gets the labels; each of its items has one class, or any number of labels.
        parent: The window.

    Signals:
        labelled(object): An `ImportReport`: a new revision was made.
    """

    labelled = Signal(object)

    def __init__(self, state: AppState, revision: Revision, parent: QWidget) -> None:
        super().__init__("label_next", QCoreApplication.translate("LabelNext", "What to label next"), parent, width=760)
        self._state = state
        self._revision = revision
        self._found: Suggestion | None = None
        self._job: Job[Any] | None = None
        self.labels: list[QComboBox | SeveralLabels] = []
        hint = self.tr(
            "A finished run looks at unlabelled items and asks for the labels that would teach it the most. They are "
            "added to the training split, as a new revision of {0}."
        )
        self.body.addWidget(text_label(hint.format(revision.dataset), "second", "label_next_hint", wrap=True))
        self.body.addLayout(self._make_choices())
        self._rows = QVBoxLayout()
        self._rows.setContentsMargins(0, 0, 6, 0)
        self._rows.setSpacing(2)
        inside = QWidget()
        inside.setObjectName("label_next_inside")
        inside.setProperty("role", "bare")
        inside.setLayout(self._rows)
        empty = text_label(self.tr("Nothing has been looked at yet."), "second", "label_next_empty")
        empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._rows.addWidget(empty)
        self._area = QScrollArea()
        self._area.setObjectName("label_next_items")
        self._area.setAccessibleName(self.tr("Items to label"))
        self._area.setProperty("role", "bare")
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setWidget(inside)
        self._area.setMinimumHeight(min(380, self.screen().availableGeometry().height() - 380))
        self.body.addWidget(self._area, 1)
        self._status = text_label("", "small", "label_next_status", elide=True)
        self.buttons.insertWidget(0, self._status, 1)
        self.add_button(self.tr("Close"), "secondary", "label_next_close", self.reject)
        self.give_button = push_button(self.tr("&Give these labels"), "primary", "label_next_give")
        self.give_button.clicked.connect(self._give)
        self.buttons.addWidget(self.give_button)
        self.finished.connect(self._stop)
        self._show_count()

    def _make_choices(self) -> QGridLayout:
        self.run_box, self.pool_box, self.by_box, self.count_box = (ElidedBox() for _ in range(4))
        for run in self._state.queue.runs():
            if run.dataset == self._revision.dataset and run.status in ENDED_WELL:
                self.run_box.addItem(run_title(run.id, self._state.registry), run.id)
        if (project := self._state.project) is not None:
            for name in project.datasets():
                if name != self._revision.dataset and _modality(project, name) == self._revision.modality:
                    self.pool_box.addItem(name, name)
        for words, by in (
            (self.tr("unsure and different (BADGE)"), "badge"),
            (self.tr("two likely classes (margin)"), "margin"),
            (self.tr("least sure (confidence)"), "confidence"),
            (self.tr("least sure (entropy)"), "entropy"),
            (self.tr("unlike all labelled (k-center)"), "k_center"),
            (self.tr("any"), "random"),
        ):
            self.by_box.addItem(words, by)
        for count in COUNTS:
            self.count_box.addItem(str(count), count)
        self.count_box.setCurrentIndex(1)
        folder = push_button(self.tr("A &folder…"), "secondary", "label_next_folder")
        folder.clicked.connect(
            lambda: ask_folder(self._state, self, "label_next", self.tr("Unlabelled items"), self.take_folder)
        )
        self.search_button = push_button(self.tr("&Look"), "secondary", "label_next_look")
        self.search_button.clicked.connect(self.look)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 3)
        grid.setColumnStretch(3, 2)
        for number, (text, name, box) in enumerate(
            (
                (self.tr("Run"), "run", self.run_box),
                (self.tr("Unlabelled items"), "pool", self.pool_box),
                (self.tr("Choose"), "by", self.by_box),
                (self.tr("How many"), "count", self.count_box),
            )
        ):
            box.setObjectName(f"label_next_{name}")
            box.setAccessibleName(text)
            box.setPlaceholderText(self.tr("none yet"))
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(8)
            label = text_label(text, "second", f"label_next_{name}_label")
            label.setBuddy(box)
            grid.addWidget(label, number // 2, 2 * (number % 2))
            grid.addWidget(box, number // 2, 2 * (number % 2) + 1)
        grid.addWidget(folder, 0, 4)
        grid.addWidget(self.search_button, 1, 4)
        return grid

    def take_folder(self, path: Path) -> None:
        """Look for items in a folder."""
        self.pool_box.addItem(path.name, str(path))
        self.pool_box.setCurrentIndex(self.pool_box.count() - 1)
        self._show_count()

    # -- looking --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Let the run choose items, off the window's thread."""
        project, registry, theme = self._state.project, self._state.registry, self._state.theme
        run_id, pool, by, count = (
            box.currentData() for box in (self.run_box, self.pool_box, self.by_box, self.count_box)
        )
        if project is None or not run_id or not pool:
            return
        edge = round(_EDGE * self.devicePixelRatioF())

        def work(context: JobContext) -> _Asked:
            from tlstudio.engine.active import next_to_label

            run = project.run(run_id)
            found = next_to_label(run, pool, project, registry, by=by, count=count, on_progress=told_to(context))
            thumbs = (sample_thumb(one.sample, theme) for one in found.candidates)
            return _Asked(found, tuple(thumb.make(edge) if thumb is not None else None for thumb in thumbs))

        self._begin(work, self.tr("Looking for what to label next"), self._show_found)

    def _show_found(self, asked: _Asked) -> None:
        self._found = asked.found
        self.labels = []
        while (item := self._rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for number, (candidate, picture) in enumerate(zip(asked.found.candidates, asked.pictures, strict=True)):
            self._rows.addWidget(self._row(number, candidate, picture))
        self._rows.addStretch(1)
        self._ended()

    def _row(self, number: int, candidate: Candidate, picture: QImage | None) -> QFrame:
        row = QFrame()
        row.setObjectName(f"label_next_item_{number}")
        row.setProperty("role", "row")
        line = QHBoxLayout(row)
        line.setContentsMargins(8, 4, 8, 4)
        line.setSpacing(12)
        if picture is not None and not picture.isNull():
            pixmap = QPixmap.fromImage(picture)
            pixmap.setDevicePixelRatio(self.devicePixelRatioF())
            image = QLabel()
            image.setObjectName(f"label_next_picture_{number}")
            image.setAccessibleName(candidate.id)
            image.setFixedSize(QSize(_EDGE, _EDGE))
            image.setAlignment(Qt.AlignmentFlag.AlignCenter)
            image.setPixmap(pixmap)
            line.addWidget(image)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addStretch(1)
        words.addWidget(text_label(candidate.sample.text or candidate.id, "", f"label_next_text_{number}", elide=True))
        words.addWidget(text_label(candidate.why, "second", f"label_next_why_{number}", wrap=True))
        words.addStretch(1)
        line.addLayout(words, 1)
        box = self._label_box(candidate, f"label_next_label_{number}")
        box.setFixedWidth(190)
        self.labels.append(box)
        line.addWidget(box)
        return row

    def _label_box(self, candidate: Candidate, name: str) -> QComboBox | SeveralLabels:
        """Make what takes the label of an item, or its labels where it may have several."""
        title, classes = candidate.sample.text or candidate.id, self._revision.classes
        if self._revision.label_kind == "names":
            several = SeveralLabels(
                classes, label_names(candidate.predicted), name, self.tr("Labels of {0}").format(title)
            )
            several.changed.connect(self._show_count)
            return several
        box = ElidedBox()
        box.setObjectName(name)
        box.setAccessibleName(self.tr("Label of {0}").format(title))
        box.setAccessibleDescription(candidate.why)
        box.addItem(self.tr("not labelled"), None)
        likely = label_text(candidate.predicted)
        for one in classes:
            box.addItem(self.tr("{0} (predicted)").format(one) if one == likely else one, one)
        box.currentIndexChanged.connect(lambda _row: self._show_count())
        return box

    # -- giving ---------------------------------------------------------------------------------------------

    @property
    def given(self) -> Sequence[tuple[Candidate, Label]]:
        """The items that have a label now."""
        candidates = self._found.candidates if self._found is not None else ()
        pairs = ((one, _given(box)) for one, box in zip(candidates, self.labels, strict=True))
        return [(one, label) for one, label in pairs if label is not None]

    def _give(self) -> None:
        project, revision, given = self._state.project, self._revision, self.given

        def work(context: JobContext) -> ImportReport:
            from tlstudio.data.labelling import GivenLabel, with_labels

            labels = [GivenLabel(one.id, label, one.sample) for one, label in given]
            latest = _latest(project, revision)
            return with_labels(latest, labels, cancelled=context.cancelled)

        self._begin(work, self.tr("Giving labels"), self._show_given)

    def _show_given(self, report: ImportReport) -> None:
        self.labelled.emit(report)
        self.accept()

    # -- jobs -----------------------------------------------------------------------------------------------

    def _begin(self, work: Callable[[JobContext], Any], title: str, then: Callable[[Any], None]) -> None:
        self._status.setText(f"{title}…")
        for button in (self.search_button, self.give_button):
            button.setEnabled(False)
        self._job = self._state.jobs.start(work, title, then, self._failed, key="label next")
        self._job.ended.connect(self._ended)

    def _ended(self, job: object = None) -> None:
        if job is None or job is self._job:
            self._show_count()

    def _failed(self, error: Exception) -> None:
        self._state.show_error(error)
        self._show_count()

    def _stop(self) -> None:
        if self._job is not None:  # its result must not meet a dialog that is gone
            self._job.cancel()

    def _show_count(self) -> None:
        self.search_button.setEnabled(bool(self.run_box.currentData() and self.pool_box.currentData()))
        writable = self._state.project is not None and self._state.project.writable
        given = len(self.given)
        self.give_button.setEnabled(bool(given) and writable)
        if self._found is not None:
            self._status.setText(
                self.tr("{0} of {1} labelled · chosen from {2} items").format(
                    given, len(self.labels), f"{self._found.searched:,}"
                )
            )
        elif not self.run_box.count():
            self._status.setText(self.tr("First train a run on this data set."))
        elif not self.pool_box.count():
            self._status.setText(self.tr("Import data without labels, or choose a folder of them."))


def _given(box: QComboBox | SeveralLabels) -> Label:
    """What somebody has chosen; `None`: nothing yet."""
    label: Label = box.labels if isinstance(box, SeveralLabels) else box.currentData()
    return label


def _modality(project: Project, name: str) -> str:
    """What the newest revision of a data set has; ``""`` where it cannot be read."""
    from tlstudio.data.revision_facts import read_facts

    try:
        return str(read_facts(project.datasets_folder / name / project.revisions(name)[-1]).get("modality"))
    except TLStudioError:
        return ""


def _latest(project: Project | None, revision: Revision) -> Revision:
    """The newest revision, which may have come since the dialog was opened."""
    return revision if project is None else project.dataset(revision.dataset)
