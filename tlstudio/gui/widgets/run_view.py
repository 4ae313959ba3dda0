"""Everything about one run: its state, what can be done with it, and four views of it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QHBoxLayout, QPushButton, QTabWidget, QVBoxLayout, QWidget

from tlstudio.gui.run_reading import RunDetails, predicts
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import set_role
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.dialogs import text_box
from tlstudio.gui.widgets.error_card import ErrorCard
from tlstudio.gui.widgets.figures import main_metrics, metric_title, number_text
from tlstudio.gui.widgets.run_curves import RunCurves
from tlstudio.gui.widgets.run_mistakes import RunMistakes
from tlstudio.gui.widgets.run_result import RunResult
from tlstudio.gui.widgets.run_sequence import RunSequence
from tlstudio.gui.widgets.run_table import status_words
from tlstudio.gui.widgets.texts import push_button, text_label

SEQUENCE_TAB = 4
ACTIONS = ("open_folder", "delete", "export", "edit", "again", "predict")
"""Buttons beside the title; others have their place below."""


class RunView(QWidget):
    """Shows one run.

    Signals:
        action(str): One of `ACTIONS`, ``"start_from"``, ``"after"``, ``"evaluate"`` or ``"go_on"`` is wanted for the
            run.
    """

    action = Signal(str)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("run_view")
        self._state = state
        self.details: RunDetails | None = None
        self._title = text_label("", "section", "run_title", elide=True)
        self._status = text_label("", "second", "run_status", elide=True)
        names = QHBoxLayout()
        names.setSpacing(10)
        names.addWidget(self._title, 3)
        names.addWidget(self._status, 4)
        self.buttons: dict[str, QPushButton] = {}
        texts = {
            "open_folder": (self.tr("&Open folder"), "quiet"),
            "delete": (self.tr("De&lete"), "quiet"),
            "export": (self.tr("&Export…"), "secondary"),
            "edit": (self.tr("&Change and run"), "secondary"),
            "again": (self.tr("Run &again exactly"), "secondary"),
            "predict": (self.tr("&Use for prediction"), "primary"),
        }
        head = QHBoxLayout()
        head.setSpacing(6)
        head.addLayout(names, 1)
        for key in ACTIONS:
            text, role = texts[key]
            button = push_button(text, role, f"run_{key}")
            button.clicked.connect(lambda _=False, key=key: self.action.emit(key))
            self.buttons[key] = button
            head.addWidget(button)
        self.result = RunResult(state)
        self.mistakes = RunMistakes(state)
        self.curves = RunCurves("run_curves", state)
        self.sequence = RunSequence(state)
        self.recipe = text_box("", "run_recipe", self.tr("Recipe"), mono=True)
        recipe_page = QWidget()
        column = QVBoxLayout(recipe_page)
        column.setContentsMargins(0, 0, 0, 0)
        copy = push_button(self.tr("Cop&y recipe"), "link", "run_recipe_copy")
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self.recipe.toPlainText()))
        row = QHBoxLayout()
        row.addWidget(text_label(self.tr("The same run on the command line: train --recipe"), "second", "run_cli"), 1)
        row.addWidget(copy)
        column.addLayout(row)
        column.addWidget(self.recipe, 1)
        self.kept = self._make_kept()
        self.error = ErrorCard("run_error", state, self.tr("This run has failed"))
        self.missing = ErrorCard("run_missing", state, self.tr("A plugin of this run is missing; it can only be read"))
        self.tabs = QTabWidget()
        self.tabs.setObjectName("run_tabs")
        self.tabs.setAccessibleName(self.tr("Views of the run"))
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        for page, title in (
            (self.result, self.tr("&Result")),
            (self.mistakes, self.tr("&Mistakes")),
            (self.curves, self.tr("Cur&ves")),
            (recipe_page, self.tr("Reci&pe")),
            (self.sequence, self.tr("Forg&etting")),
        ):
            shell = QWidget()
            inside = QVBoxLayout(shell)
            inside.setContentsMargins(0, 10, 0, 0)
            inside.addWidget(page)
            self.tabs.addTab(shell, title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(head)
        layout.addLayout(self._make_lineage())
        layout.addWidget(self.missing)
        layout.addWidget(self.error)
        layout.addWidget(self.kept)
        layout.addWidget(self.tabs, 1)

    def _make_lineage(self) -> QHBoxLayout:
        self._lineage = text_label("", "second", "run_lineage", elide=True)
        button = push_button(
            self.tr("S&tart the next run from this one"),
            "link",
            "run_start_from",
            hint=self.tr("Takes the backbone as this run has trained it, for other data or another task"),
        )
        button.clicked.connect(lambda: self.action.emit("start_from"))
        self.buttons["start_from"] = button
        self.buttons["after"] = push_button(
            self.tr("A&verage or prune…"),
            "link",
            "run_after",
            hint=self.tr("Makes a new run of this one without training: mixed with its start, or with fewer weights"),
        )
        self.buttons["after"].clicked.connect(lambda: self.action.emit("after"))
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(self._lineage, 1)
        row.addWidget(self.buttons["after"])
        row.addWidget(button)
        return row

    def _make_kept(self) -> Card:
        card = Card("run_kept", margins=(16, 10, 10, 10))
        self._kept_title = text_label("", "section", "run_kept_title", elide=True)
        self._kept_text = text_label("", "second", "run_kept_text", elide=True)
        self.buttons["evaluate"] = push_button(
            self.tr("E&valuate"),
            "secondary",
            "run_evaluate",
            hint=self.tr("Measures the kept epoch on the validation and test splits, as at the end of a run"),
        )
        self.buttons["go_on"] = push_button(
            self.tr("&Go on"),
            "primary",
            "run_go_on",
            hint=self.tr("Goes on from the last checkpoint on the Train page, as if the run had not ended"),
        )
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._kept_title)
        words.addWidget(self._kept_text)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addLayout(words, 1)
        for key in ("evaluate", "go_on"):
            self.buttons[key].clicked.connect(lambda _=False, key=key: self.action.emit(key))
            row.addWidget(self.buttons[key])
        card.column.addLayout(row)
        card.hide()
        return card

    def _show_kept(self, details: RunDetails) -> None:
        """Say of a run that was not evaluated what it has kept, and how good that was in validation."""
        can_evaluate = details.has_checkpoint and not details.summary.metrics and details.summary.status != "running"
        self.kept.setVisible(can_evaluate or details.can_go_on)
        self.buttons["evaluate"].setVisible(can_evaluate)
        self.buttons["go_on"].setVisible(details.can_go_on)
        values = details.kept_validation
        figures = [f"{metric_title(name)} {number_text(values[name])}" for name in main_metrics(values, 3)]
        if values and "loss" not in main_metrics(values, 3):
            figures += [f"{metric_title('loss')} {number_text(values['loss'])}"] if "loss" in values else []
        epoch = details.curves.best_epoch
        title = self.tr("Validation of epoch {0}: ")
        if details.has_checkpoint:
            title = self.tr("Validation of epoch {0}, which is kept: ")
        what = title.format(epoch) + " · ".join(figures) if figures else self.tr("A checkpoint is kept")
        self._kept_title.setText(what)
        self._kept_text.setText(
            self.tr("The run ended early; it can go on from its last checkpoint, bit for bit as it would have then.")
            if details.can_go_on
            else self.tr("The run ended before it was evaluated; its checkpoint is there, and can be evaluated now.")
        )

    def show_details(self, details: RunDetails) -> None:
        """Show a run; of one that ends a sequence, first what was forgotten."""
        before, self.details = self.details, details
        shown = before is not None and before.sequence is not None and before.summary.id == details.summary.id
        summary = details.summary
        self._title.setText(run_title(summary.id, self._state.registry))
        parts = [status_words(summary.status), *details.problems]
        if summary.status == "interrupted":
            parts.append(self.tr("its process ended without a word"))
        if summary.status == "queued":
            parts.append(self.tr("it waits for its turn"))
        self._status.setText(" · ".join(parts))
        roles = {"done": "good", "stopped": "good", "failed": "bad", "interrupted": "caution", "damaged": "bad"}
        set_role(self._status, roles.get(summary.status, "second"))
        has_result = details.evaluation is not None
        going = summary.status == "running"
        whole = not details.missing  # all plugins that it was made with are here
        self.buttons["export"].setEnabled(has_result and whole and not going)
        self.buttons["predict"].setEnabled(has_result and whole and predicts(summary, self._state.registry))
        writable = self._state.project is not None and self._state.project.writable
        self.buttons["delete"].setEnabled(writable and not going)
        for key in ("again", "edit"):
            self.buttons[key].setEnabled(writable and whole and bool(details.recipe))
        came = self.tr("Started from {0}").format(" → ".join(details.lineage)) if details.lineage else ""
        came = details.made or came
        self._lineage.setText(came or self.tr("Learned from {0} {1}").format(summary.dataset, summary.revision))
        for key in ("start_from", "after"):
            self.buttons[key].setEnabled(writable and whole and summary.status in ("done", "stopped"))
        self._show_kept(details)
        self.buttons["evaluate"].setEnabled(writable and whole and details.revision is not None)
        self.buttons["go_on"].setEnabled(writable and whole and bool(details.recipe))
        if details.missing:
            self.missing.show_error(" ".join(details.missing))
        else:
            self.missing.hide()
        if summary.error or details.curves.traceback:
            self.error.show_error(summary.error, details.curves.traceback)
        else:
            self.error.hide()
        if self.recipe.toPlainText() != details.recipe_text:
            self.recipe.setPlainText(details.recipe_text)  # which loses what is selected in it
        self.curves.show_run(details.curves)
        self.mistakes.show_details(details)
        self.result.show_details(details)
        self.tabs.setTabVisible(SEQUENCE_TAB, details.sequence is not None)
        if details.sequence is not None:
            self.sequence.show_sequence(details.sequence)
        for tab in (0, 1):
            self.tabs.setTabEnabled(tab, has_result)
        if details.sequence is not None:
            if not shown:
                self.tabs.setCurrentIndex(SEQUENCE_TAB)
        elif not has_result and self.tabs.currentIndex() < 2:
            self.tabs.setCurrentIndex(3 if summary.status == "queued" else 2)
        elif has_result and self.tabs.currentIndex() >= 2 and not self.tabs.hasFocus():
            self.tabs.setCurrentIndex(0)
