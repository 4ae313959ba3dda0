"""What is in a revision, and what is wrong with it: counts, classes, sizes or lengths, problems found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QLocale, Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from tlstudio.api import SPLITS
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.class_histogram import ClassHistogram
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.distribution import Distribution
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.texts import push_button, text_label

if TYPE_CHECKING:
    from tlstudio.data.audit import Finding
    from tlstudio.data.columns import ColumnFacts
    from tlstudio.data.revision import Revision

WIDTH = 336
_COLUMNS_SHOWN = 12
_ICONS = {"error": ("error", "bad"), "warning": ("warning", "caution"), "info": ("info", "second")}


@dataclass(frozen=True)
class Measures:
    """Numbers of a revision that take time to read.

    Attributes:
        counts: Samples in train, validation and test.
        values: Shorter side in pixels, length in characters or in seconds, of each sample; empty of rows.
        targets: Regression targets, or lengths of texts that are to be written; empty for other tasks.
        columns: What the columns of a table hold.
    """

    counts: tuple[int, ...]
    values: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    columns: tuple[ColumnFacts, ...] = ()


def measure(revision: Revision) -> Measures:
    """Read the numbers; runs off the window's thread."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from tlstudio.data.columns import column_facts

    table = revision.table
    if revision.modality in ("image", "image+text"):
        width = table.column("width").to_numpy(zero_copy_only=False).astype(np.float64)
        height = table.column("height").to_numpy(zero_copy_only=False).astype(np.float64)
        values = np.minimum(width, height)
    elif revision.modality == "audio":
        values = table.column("seconds").to_numpy(zero_copy_only=False).astype(np.float64)
    else:
        values = pc.utf8_length(table.column("text")).to_numpy(zero_copy_only=False).astype(np.float64)
    targets = np.zeros(0)
    if revision.label_kind == "number":
        targets = revision.values()
    elif revision.label_kind == "text":  # as JSON: two quotation marks more
        written = pa.array(revision.annotations.take(np.arange(len(revision))), pa.large_string())
        targets = pc.utf8_length(written).to_numpy(zero_copy_only=False).astype(np.float64) - 2
    counts = tuple(len(revision.indices(split)) for split in SPLITS)
    return Measures(counts, values[np.isfinite(values)], targets[np.isfinite(targets)], column_facts(revision))


class DataOverview(QScrollArea):
    """A column of cards.

    Signals:
        class_chosen(str): Show the items of a class.
        finding_chosen(object): Show the items of a `Finding`.
    """

    class_chosen = Signal(str)
    finding_chosen = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("data_overview")
        self.setAccessibleName(self.tr("Overview of the data set"))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._state = state
        inner = QWidget()
        inner.setProperty("role", "bare")
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(12)
        column.addWidget(self._make_counts())
        self._problems = Card("data_problems", spacing=10)
        column.addWidget(self._problems)
        self._classes = Card("data_classes", spacing=8)
        self._classes_title = text_label("", "section", "data_classes_title")
        self._classes.column.addWidget(self._classes_title)
        self.histogram = ClassHistogram("data_histogram", state)
        self.histogram.class_chosen.connect(self.class_chosen)
        self._classes.column.addWidget(self.histogram)
        column.addWidget(self._classes)
        self._targets = Card("data_targets", spacing=8)
        self._targets_title = text_label("", "section", "data_targets_title")
        self._targets.column.addWidget(self._targets_title)
        self._target_plot = Distribution("data_target_plot", state, self.tr("Distribution of the values"))
        self._targets.column.addWidget(self._target_plot)
        column.addWidget(self._targets)
        self._sizes = Card("data_sizes", spacing=8)
        self._sizes_title = text_label("", "section", "data_sizes_title")
        self._sizes.column.addWidget(self._sizes_title)
        self._size_plot = Distribution("data_size_plot", state, self.tr("Distribution of sizes"))
        self._sizes.column.addWidget(self._size_plot)
        column.addWidget(self._sizes)
        self._columns = Card("data_columns", spacing=8, margins=(5, 12, 5, 6))
        self._columns_title = text_label("", "section", "data_columns_title")
        self._columns_title.setContentsMargins(11, 0, 11, 0)
        self._columns.column.addWidget(self._columns_title)
        self.columns = FigureTable("data_columns_table", self.tr("Columns"))
        self.columns.setProperty("role", "bare")
        self._columns.column.addWidget(self.columns)
        column.addWidget(self._columns)
        column.addStretch()
        self.setWidget(inner)

    def _make_counts(self) -> Card:
        card = Card("data_counts")
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        self._figures = {}
        titles = (
            ("train", self.tr("TRAIN")),
            ("validation", self.tr("VALIDATION")),
            ("test", self.tr("TEST")),
        )
        for index, (key, title) in enumerate(titles):
            grid.addWidget(text_label(title, "caption", f"data_count_{key}_caption"), 0, index)
            figure = text_label("", "figure", f"data_count_{key}")
            share = text_label("", "small", f"data_count_{key}_share")
            grid.addWidget(figure, 1, index)
            grid.addWidget(share, 2, index)
            grid.setColumnStretch(index, 1)
            self._figures[key] = (figure, share)
        card.column.addLayout(grid)
        return card

    def show_revision(self, revision: Revision, measures: Measures) -> None:
        """Show what is in a revision."""
        locale = QLocale()
        total = sum(measures.counts) or 1
        for split, count in zip(SPLITS, measures.counts, strict=True):
            figure, share = self._figures[split]
            figure.setText(locale.toString(count))
            share.setText(f"{100 * count / total:.0f} %")
        self._classes.setVisible(revision.has_class_names)
        count = len(revision.classes)
        self._classes_title.setText(
            self.tr("1 class") if count == 1 else self.tr("{0} classes").format(locale.toString(count))
        )
        if revision.has_class_names:
            counts = revision.class_counts()
            totals = {name: sum(counts[split].get(name, 0) for split in SPLITS) for name in revision.classes}
            self.histogram.set_counts(counts, sorted(revision.classes, key=lambda name: -totals[name]))
        self._targets.setVisible(bool(measures.targets.size))
        self._target_plot.set_values(measures.targets)
        written = revision.label_kind == "text"
        self._targets_title.setText(self.tr("Length of the labels in characters") if written else self.tr("Values"))
        titles: dict[str, str] = {
            "text": self.tr("Length in characters"),
            "audio": self.tr("Length in seconds"),
        }
        self._sizes_title.setText(titles.get(revision.modality, self.tr("Shorter side in pixels")))
        self._sizes.setVisible(bool(measures.values.size))
        self._size_plot.set_values(measures.values)
        self._show_columns(measures.columns)
        self.show_findings(None)

    def _show_columns(self, columns: tuple[ColumnFacts, ...]) -> None:
        self._columns.setVisible(bool(columns))
        self._columns_title.setText(self.tr("{0} columns").format(QLocale().toString(len(columns))))
        rows = []
        for each in columns:
            held = ""
            if math.isfinite(each.low):
                held = self.tr("{0} to {1}").format(f"{each.low:.4g}", f"{each.high:.4g}")
            if each.different:
                held = self.tr("{0} different").format(QLocale().toString(each.different))
            if each.steps:
                held += " · " + self.tr("{0} steps").format(QLocale().toString(each.steps))
            lacking = 1 - each.filled
            missing = f"{100 * lacking:.0f} %" if lacking >= 0.005 or not lacking else "< 1 %"
            rows.append(((each.name, each.name.casefold()), (held, each.low), (missing, lacking)))
        self.columns.show_rows((self.tr("Column"), self.tr("Holds"), self.tr("Missing")), rows)
        header, line = self.columns.horizontalHeader(), self.columns.verticalHeader()
        height = line.defaultSectionSize() * min(len(rows), _COLUMNS_SHOWN)
        self.columns.setFixedHeight(max(header.sizeHint().height(), 34) + height + 4)

    def show_findings(self, findings: tuple[Finding, ...] | None) -> None:
        """List the problems that were found; `None` while they are being looked for."""
        column = self._problems.column
        while (item := column.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        if findings is None:
            column.addWidget(text_label(self.tr("Looking for problems…"), "second", "data_problems_title"))
            return
        serious = [finding for finding in findings if finding.severity != "info"]
        title = self.tr("Problems found") if serious else self.tr("No problems found")
        if findings and not serious:
            title = self.tr("Worth knowing")
        column.addWidget(text_label(title, "section", "data_problems_title"))
        for number, finding in enumerate(findings):
            column.addWidget(self._finding(number, finding))

    def _finding(self, number: int, finding: Finding) -> QWidget:
        name = f"data_finding_{number}"
        widget = QWidget()
        widget.setObjectName(name)
        row = QHBoxLayout(widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        icon, colour = _ICONS[finding.severity]
        row.addWidget(IconLabel(self._state, icon, colour, 18), 0, Qt.AlignmentFlag.AlignTop)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        texts.addWidget(text_label(finding.title, "section", f"{name}_title", wrap=True))
        texts.addWidget(text_label(finding.what, "small", f"{name}_what", wrap=True))
        if finding.ids:
            count = QLocale().toString(len(finding.ids))
            show = push_button(self.tr("Show {0} items").format(count), "link", f"{name}_show")
            show.setAccessibleName(self.tr("Show the items: {0}").format(finding.title))
            show.clicked.connect(lambda: self.finding_chosen.emit(finding))
            line = QHBoxLayout()
            line.setContentsMargins(0, 0, 0, 0)
            line.addWidget(show)
            line.addStretch()
            texts.addLayout(line)
        row.addLayout(texts, 1)
        return widget
