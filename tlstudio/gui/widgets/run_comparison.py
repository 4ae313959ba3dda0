"""Two or more runs side by side: curves, metrics, the settings in which they differ, and what can be made of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from tlstudio.gui.run_reading import RunDetails, differences
from tlstudio.gui.run_together import Fit
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, run_title, run_words
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.figures import duration_text, main_metrics, metric_title, number_text
from tlstudio.gui.widgets.run_curves import RunCurves
from tlstudio.gui.widgets.series_plot import Style
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.store.run_record import RunSummary

_COLUMN_WIDTH = 96
"""Of a run at least, so that its title can be read; many runs are scrolled to."""


class RunComparison(QWidget):
    """What can be made of them; curves; below, metrics at the left and different settings at the right.

    Signals:
        action(str): ``"soup"`` or ``"ensemble"`` is wanted of the runs.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    action = Signal(str)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("run_comparison")
        self._state = state
        self.curves = RunCurves("compare_curves", state)
        self.metrics = FigureTable("compare_metrics", self.tr("Metrics side by side"), sortable=False)
        self.settings = FigureTable("compare_settings", self.tr("Different settings"), sortable=False)
        for table in (self.metrics, self.settings):
            table.name_rows(_COLUMN_WIDTH)
        self._same = text_label("", "second", "compare_same", wrap=True)
        row = QHBoxLayout()
        row.setSpacing(12)
        for title, name, table in (
            (self.tr("Metrics"), "compare_metrics_title", self.metrics),
            (self.tr("What differs in the recipes"), "compare_settings_title", self.settings),
        ):
            column = QVBoxLayout()
            column.setSpacing(6)
            column.addWidget(text_label(title, "section", name))
            if table is self.settings:
                column.addWidget(self._same)
            column.addWidget(table, 1)
            row.addLayout(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addLayout(self._make_head())
        layout.addWidget(self.curves, 3)
        layout.addLayout(row, 2)

    def _make_head(self) -> QHBoxLayout:
        self._title = text_label("", "section", "compare_title")
        self._why = text_label("", "second", "compare_why", elide=True)
        self.buttons: dict[str, QPushButton] = {}
        self._hints = {
            "soup": self.tr("Makes one model of them, the mean of their weights: it costs no more to use than one"),
            "ensemble": self.tr("All answer on the Predict page, and the mean of what they say counts"),
        }
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._title)
        row.addWidget(self._why, 1)
        for name, text, role in (
            ("soup", self.tr("A&verage (soup)…"), "secondary"),
            ("ensemble", self.tr("Predict toget&her (ensemble)"), "primary"),
        ):
            button = push_button(text, role, f"compare_{name}")
            button.clicked.connect(lambda _=False, name=name: self.action.emit(name))
            self.buttons[name] = button
            row.addWidget(button)
        return row

    def _show_fit(self, fit: Fit) -> None:
        """Say what speaks against putting the runs together, beside the buttons and in their tooltips."""
        for name, against in (("soup", fit.soup), ("ensemble", fit.ensemble)):
            button = self.buttons[name]
            button.setEnabled(not against)
            button.setToolTip("\n".join(against) or self._hints[name])
            button.setAccessibleDescription(button.toolTip())
        reason = ""
        if fit.ensemble:
            reason = self.tr("Not to be put together: {0}").format(" ".join(fit.ensemble))
        elif fit.soup:
            reason = self.tr("Not to be averaged: {0}").format(" ".join(fit.soup))
        self._why.setText(reason)

    def show_runs(self, runs: Sequence[RunDetails], styles: Mapping[str, Style], fit: Fit) -> None:
        """Compare runs.

        Args:
            runs: The runs, in the order of the table.
            styles: Colour and line style by the run's id.
            fit: Whether they can be put together.
        """
        title = self.tr("{0} runs").format(len(runs))
        different = differences([run.recipe for run in runs])
        on_folds = _on_folds(runs) if [name for name, _ in different] == ["dataset.fold"] else ""
        self._title.setText(" · ".join(part for part in (title, on_folds) if part))
        self._show_fit(fit)
        names = {run.summary.id: run_title(run.summary.id, self._state.registry) for run in runs}
        self.curves.show_runs(
            {names[run.summary.id]: run.curves for run in runs},
            {names[run.summary.id]: styles[run.summary.id] for run in runs},
        )
        chosen = [run.summary.metrics.get("test") or run.summary.metrics.get("validation") or {} for run in runs]
        every = dict.fromkeys(name for each in chosen for name in each)
        ordered = main_metrics(dict.fromkeys(every, 0.0), len(every))
        rows = [
            [
                (metric_title(name), name),
                *((number_text(each[name]) if name in each else "—", each.get(name, 0.0)) for each in chosen),
            ]
            for name in ordered
        ]
        times = [(duration_text(run.summary.seconds), run.summary.seconds) for run in runs]
        rows.append([(self.tr("Time"), ""), *times])
        titles = self._headings([run.summary for run in runs])
        tips = [f"{names[run.summary.id]}\n{', '.join(run.summary.methods)}".rstrip() for run in runs]
        every_column = range(len(titles) + 1)
        self.metrics.show_rows(("", *titles), rows, stretch=every_column, tips=("", *tips))
        self._same.setText("" if different else self.tr("Nothing: the recipes are the same."))
        self._same.setVisible(not different)
        self.settings.setVisible(bool(different))
        cells = []
        for name, values in different:
            kind, _, rest = name.partition(".")
            if rest == "name":
                values = [component_title(self._state.registry, kind, value) for value in values]
            cells.append([(name, name), *((value, value) for value in values)])
        self.settings.show_rows((self.tr("Setting"), *titles), cells, stretch=every_column, tips=("", *tips))

    def _headings(self, runs: Sequence[RunSummary]) -> list[str]:
        """Titles of columns that break into lines: what tells the runs apart first, a day that all share left out."""
        words = [run_words(run.id, self._state.registry) for run in runs]
        same_day = len({day for day, _ in words}) == 1
        return [
            " ".join(part for part in ("" if same_day else day, " + ".join([how, *run.methods])) if part)
            for (day, how), run in zip(words, runs, strict=True)
        ]


def _on_folds(runs: Sequence[RunDetails]) -> str:
    """What runs are worth that differ in their folds alone: the mean and the standard deviation; else ``""``."""
    folds = {run.recipe["dataset"].get("fold") for run in runs}
    metric = runs[0].summary.monitor
    values = [run.summary.metrics.get("validation", {}).get(metric) for run in runs]
    known = [value for value in values if value is not None]
    if len(folds - {None, 0}) < len(runs) or len(known) < len(runs):
        return ""
    text = QCoreApplication.translate("RunComparison", "{0} on the folds: {1} ± {2}")
    mean, spread = statistics.fmean(known), statistics.stdev(known)
    return text.format(metric_title(metric), number_text(mean), number_text(spread))
