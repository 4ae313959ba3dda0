"""A folder or table of items, predicted into a CSV file."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QHBoxLayout, QMenu, QProgressBar, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import DataError, Modality, Rejected
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.drop_area import DropArea
from tlstudio.gui.widgets.figures import percent
from tlstudio.gui.widgets.file_dialogs import ask_file, ask_folder, ask_output_file
from tlstudio.gui.widgets.fold import Fold
from tlstudio.gui.widgets.texts import push_button, text_label

_PREVIEW_ROWS = 200


class PredictMany(QWidget):
    """Takes a source, shows progress, then the first results and what could not be read.

    Signals:
        source_given(object, object): Predict this source (`Path`) into this CSV file (`Path`).
        cancel_requested(): Stop.
    """

    source_given = Signal(object, object)
    cancel_requested = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_many")
        self._state = state
        self._modality: Modality = "image"
        self._output: Path | None = None
        self.drop = DropArea("predict_source", state, "folder", "", self.tr("Choose a f&older or file…"))
        self.drop.dropped.connect(self._ask_output)
        self.drop.choose_requested.connect(self._ask_source)
        self._doing = text_label("", "", "predict_many_doing", elide=True)
        self.bar = QProgressBar()
        self.bar.setObjectName("predict_progress")
        self.bar.setAccessibleName(self.tr("Progress"))
        self.bar.setTextVisible(False)
        cancel = push_button(self.tr("Ca&ncel"), "secondary", "predict_cancel")
        cancel.clicked.connect(self.cancel_requested)
        going = Card("predict_going", spacing=12)
        going.column.addStretch(1)
        going.column.addWidget(self._doing)
        going.column.addWidget(self.bar)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(cancel)
        going.column.addLayout(row)
        going.column.addStretch(1)
        self._summary = text_label("", "section", "predict_summary", elide=True)
        self._where = text_label("", "second", "predict_where", elide=True)
        self.table = FigureTable("predict_results", self.tr("First results"), sortable=False)
        self.rejected = FigureTable("predict_rejected", self.tr("Items that could not be read"), sortable=False)
        self.rejected.setFixedHeight(120)
        self._fold = Fold("predict_rejected_fold", self.tr("Items that could not be read"), self.rejected)
        show = push_button(self.tr("&Open the file"), "secondary", "predict_open_csv")
        show.clicked.connect(self._open_output)
        again = push_button(self.tr("Another &source"), "secondary", "predict_again")
        again.clicked.connect(self.reset)
        done = QWidget()
        column = QVBoxLayout(done)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        head = QHBoxLayout()
        head.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(self._summary)
        words.addWidget(self._where)
        head.addLayout(words, 1)
        head.addWidget(again)
        head.addWidget(show)
        column.addLayout(head)
        column.addWidget(self.table, 1)
        column.addWidget(self._fold)
        self.pages = QStackedWidget()
        self.pages.setObjectName("predict_many_pages")
        for page in (self.drop, going, done):
            self.pages.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)

    def set_modality(self, modality: Modality) -> None:
        """Take images or texts."""
        self._modality = modality
        titles: dict[Modality, str] = {
            "image": self.tr("Drop a folder of images, or a table with a column of image files"),
            "text": self.tr("Drop a table (CSV, Parquet, JSONL) with a column of texts, or a folder of text files"),
            "audio": self.tr("Drop a folder of recordings, or a table with a column of sound files"),
            "table": self.tr("Drop a table (CSV, Parquet, JSONL) with the columns that the model knows"),
            "image+text": self.tr("Drop a table with a column of image files and a column of texts"),
        }
        self.drop.set_title(titles[modality])
        self.reset()

    def reset(self) -> None:
        """Ask for a source again."""
        self.pages.setCurrentIndex(0)

    def show_progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far it is."""
        self.pages.setCurrentIndex(1)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        counted = self.tr("{0} of {1} predicted").format(f"{done:,}", f"{total:,}") if total else ""
        self._doing.setText(text or counted or self.tr("Looking at what is there"))

    def show_report(self, rows: int, rejected: tuple[Rejected, ...], output: Path, *, cancelled: bool) -> None:
        """Show what was written and what was left out."""
        self._output = output
        text = self.tr("{0} items predicted").format(f"{rows:,}")
        self._summary.setText(text + (self.tr(", then cancelled") if cancelled else ""))
        self._where.setText(str(output))
        self._fill_table(output)
        self._fold.setVisible(bool(rejected))
        self._fold.set_title(self.tr("{0} could not be read").format(len(rejected)))
        cells = [
            [(each.source, each.source), (f"{each.reason} {each.remedy}".strip(), each.reason)] for each in rejected
        ]
        self.rejected.show_rows((self.tr("Item"), self.tr("Why")), cells)
        self.pages.setCurrentIndex(2)

    def _fill_table(self, output: Path) -> None:
        with output.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            titles = next(reader, [])
            wanted = [titles.index(name) for name in ("source", "text", "prediction", "confidence") if name in titles]
            rows = [[(_shown(titles[i], row[i]), row[i]) for i in wanted] for row in islice(reader, _PREVIEW_ROWS)]
        words = {
            "source": self.tr("Item"),
            "text": self.tr("Text"),
            "prediction": self.tr("Prediction"),
            "confidence": self.tr("Confidence"),
        }
        headings = [words[titles[i]] for i in wanted]
        shared = (0,) if "text" in titles else range(len(wanted))
        self.table.show_rows(headings, rows, stretch=shared, texts=len(wanted) - 1)

    def _ask_source(self) -> None:
        menu = QMenu(self)
        menu.addAction(self.tr("A &folder…"), lambda: self._choose(folder=True))
        menu.addAction(self.tr("A fi&le…"), lambda: self._choose(folder=False))
        menu.popup(self.drop.button.mapToGlobal(self.drop.button.rect().bottomLeft()))
        menu.aboutToHide.connect(menu.deleteLater)

    def _choose(self, *, folder: bool) -> None:
        ask, title = (ask_folder, self.tr("Choose a folder")) if folder else (ask_file, self.tr("Choose a file"))
        ask(self._state, self, "predict_source", title, self._ask_output)

    def _ask_output(self, source: Path) -> None:
        suggested = source.parent / f"{source.stem or source.name}-predictions.csv"
        try:
            refuse_as_output(suggested)
        except DataError:  # what is predicted lies inside a project: its table cannot lie beside it
            suggested = Path(suggested.name)
        ask_output_file(
            self._state,
            self,
            "save_predictions",
            self.tr("Save the predictions as"),
            lambda output: self.source_given.emit(source, output),
            suggested=suggested,
            pattern=self.tr("Tables (*.csv)"),
        )

    def _open_output(self) -> None:
        if self._output is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._output)))


def _shown(column: str, text: str) -> str:
    if column == "source":
        return Path(text).name
    if column == "confidence" and text:
        return percent(float(text))
    return text[:120]
