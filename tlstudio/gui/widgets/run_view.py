"""Everything about one run: its state, what can be done with it, and four views of it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QHBoxLayout, QPushButton, QTabWidget, QVBoxLayout, QWidget

from tlstudio.gui.run_reading import RunDetails
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import set_role
from tlstudio.gui.widgets.dialogs import text_box
from tlstudio.gui.widgets.error_card import ErrorCard
from tlstudio.gui.widgets.run_curves import RunCurves
from tlstudio.gui.widgets.run_result import RunMistakes, RunResult
from tlstudio.gui.widgets.run_table import short_id, status_words
from tlstudio.gui.widgets.texts import push_button, text_label

ACTIONS = ("open_folder", "delete", "export", "edit", "again", "predict")


class RunView(QWidget):
    """Shows one run.

    Signals:
        action(str): One of `ACTIONS` is wanted for the run that is shown.
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
        self.error = ErrorCard("run_error", state, self.tr("This run has failed"))
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
        layout.addWidget(self.error)
        layout.addWidget(self.tabs, 1)

    def show_details(self, details: RunDetails) -> None:
        """Show a run."""
        self.details = details
        summary = details.summary
        self._title.setText(short_id(summary.id))
        parts = [status_words(summary.status), *details.problems]
        if summary.status == "interrupted":
            parts.append(self.tr("its process ended without a word"))
        self._status.setText(" · ".join(parts))
        roles = {"done": "good", "stopped": "good", "failed": "bad", "interrupted": "caution", "damaged": "bad"}
        set_role(self._status, roles.get(summary.status, "second"))
        has_result = details.evaluation is not None
        going = summary.status == "running"
        for key in ("export", "predict"):
            self.buttons[key].setEnabled(has_result and not going)
        writable = self._state.project is not None and self._state.project.writable
        self.buttons["delete"].setEnabled(writable and not going)
        for key in ("again", "edit"):
            self.buttons[key].setEnabled(writable and bool(details.recipe))
        if summary.error or details.curves.traceback:
            self.error.show_error(summary.error, details.curves.traceback)
        else:
            self.error.hide()
        self.recipe.setPlainText(details.recipe_text)
        self.curves.show_run(details.curves)
        self.mistakes.show_details(details)
        self.result.show_details(details)
        for tab in (0, 1):
            self.tabs.setTabEnabled(tab, has_result)
        if not has_result and self.tabs.currentIndex() < 2:
            self.tabs.setCurrentIndex(2)
        elif has_result and self.tabs.currentIndex() >= 2 and not self.tabs.hasFocus():
            self.tabs.setCurrentIndex(0)
