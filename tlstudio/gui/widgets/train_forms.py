"""The card with every setting of a recipe: training first, then what components and methods bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from tlstudio.api import Method, Options, Problem, describe
from tlstudio.data.folds import has_folds
from tlstudio.engine.recipe import DatasetChoice, TrainingOptions
from tlstudio.gui.recipe_draft import METHODS
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.option_field import OptionRow
from tlstudio.gui.widgets.options_form import OptionsForm
from tlstudio.gui.widgets.texts import text_label

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

SECTIONS = ("training", "strategy", "head", "backbone")


class TrainForms(QFrame):
    """The forms of all sections in one card.

    Args:
        state: What the pages share: the theme, and where dialogs open.
        parent: Parent widget.

    Signals:
        changed(str): A value of this section was changed by the user.
        entered(str): A field is looked at; carries its help.
    """

    changed = Signal(str)
    entered = Signal(str)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_forms")
        self.setProperty("role", "card")
        self.setAccessibleName(self.tr("Settings"))
        self._state = state
        self._locked = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(15, 12, 10, 12)
        layout.setSpacing(6)
        captions = {
            "strategy": self.tr("STRATEGY"),
            "head": self.tr("TASK HEAD"),
            "backbone": self.tr("BACKBONE"),
        }
        self._titles = {
            "strategy": self.tr("Strategy"),
            "head": self.tr("Task head"),
            "backbone": self.tr("Backbone"),
            "dataset": self.tr("Data set"),
            "methods": self.tr("Methods"),
        }
        self._captions: dict[str, QWidget] = {}
        self.forms: dict[str, OptionsForm] = {}
        for section in SECTIONS:
            self._add(section, captions.get(section, ""), layout)
            if section == "strategy":
                self._methods = QVBoxLayout()
                self._methods.setSpacing(6)
                layout.addLayout(self._methods)
        self.forms["training"].set_model(TrainingOptions, advanced_title=self.tr("Regularisation, schedule, hardware"))
        # It stands above, by the data set.
        self.dataset = self.forms["dataset"] = OptionsForm("dataset", state)
        self.dataset.set_model(DatasetChoice, skip=("name", "revision", "fold"))
        shots, folds = self.dataset.rows["shots"], self.dataset.rows["folds"]
        shots.set_zero_word(self.tr("all"))
        folds.set_zero_word(self.tr("off"))
        for row in (shots, folds):
            row.label.setFixedWidth(shots.label.fontMetrics().horizontalAdvance(shots.field.title) + 8)
        self.dataset.changed.connect(lambda: self.changed.emit("dataset"))
        self.dataset.entered.connect(self.entered)
        self.dataset.hide()
        rows = self.forms["training"].rows
        for option, word in (
            ("early_stopping", self.tr("off")),
            ("clip_norm", self.tr("off")),
            ("threads", self.tr("automatic")),
        ):
            rows[option].set_zero_word(word)

    def _add(self, section: str, title: str, layout: QVBoxLayout) -> None:
        if title:
            caption = text_label(title, "caption", f"train_{section}_options_caption", elide=True)
            caption.setContentsMargins(0, 8, 0, 0)
            caption.hide()
            self._captions[section] = caption
            layout.addWidget(caption)
        form = OptionsForm(section, self._state)
        form.hide()
        form.changed.connect(lambda: self.changed.emit(section))
        form.entered.connect(self.entered)
        self.forms[section] = form
        layout.addWidget(form)

    def show_data(self, revision: Revision | None, values: Mapping[str, Any]) -> None:
        """Show the options of the data that there are for data like these, and those that the user has set.

        Args:
            revision: The data; `None`: they are not known.
            values: What the user has set.
        """
        self.dataset.set_values(values)
        shown = set()
        if revision is not None:
            shown = {"shots"} if revision.label_kind == "name" else set()
            shown |= {"folds"} if has_folds(revision) else set()
        shown |= {name for name, row in self.dataset.rows.items() if row.is_set}
        for name, row in self.dataset.rows.items():
            row.set_visible(name in shown)
        self.dataset.setVisible(bool(shown))

    def show_methods(self, methods: Sequence[Method], values: Mapping[str, Mapping[str, Any]]) -> None:
        """Show the options of the chosen methods below those of the strategy, in their order.

        Args:
            methods: The methods.
            values: What the user has set, by their names.
        """
        wanted = [f"{METHODS}{method.name}" for method in methods]
        if wanted != [section for section in self.forms if section.startswith(METHODS)]:
            for section in [section for section in self.forms if section.startswith(METHODS)]:
                for widget in (self._captions.pop(section), self.forms.pop(section)):
                    self._methods.removeWidget(widget)
                    widget.hide()
                    widget.deleteLater()
            for section, method in zip(wanted, methods, strict=True):
                self._add(section, method.title.upper(), self._methods)
                self._titles[section] = method.title
                self.forms[section].set_locked(self._locked)
        for section, method in zip(wanted, methods, strict=True):
            self.show_component(section, method.Options, values[method.name])

    def show_component(self, section: str, model: type[Options], values: Mapping[str, Any]) -> None:
        """Show the options of a component; nothing changes if they are shown already with these values."""
        form = self.forms[section]
        if form.model is not model or section not in self._filled():
            form.set_model(model, values)
        elif form.values != values:
            form.set_values(values)
        shown = bool(describe(model))
        self._captions[section].setVisible(shown)
        form.setVisible(shown)

    def show_problems(self, problems: Sequence[Problem]) -> None:
        """Show every problem at its field."""
        for form in self.forms.values():
            form.show_problems(problems)

    def show_unfit(self, unfit: Mapping[str, Mapping[str, str]]) -> None:
        """Say in each list of runs or data sets which ones cannot be chosen, and why."""
        for where, reasons in unfit.items():
            if (row := self.row(where)) is not None:
                row.show_unfit(reasons)

    def row(self, where: str) -> OptionRow | None:
        """The row in which a problem can be mended; `None`: none of the forms has it."""
        for section, form in self.forms.items():
            if where.startswith(f"{section}.") and (row := form.rows.get(where.removeprefix(f"{section}."))):
                return row
        return None

    def place(self, where: str) -> str:
        """Say in the words of the page where a problem can be mended; ``""``: nowhere on it.

        Args:
            where: As in the recipe: ``"training.epochs"``.
        """
        section = next((name for name in self.forms if f"{where}.".startswith(f"{name}.")), where.partition(".")[0])
        row = self.row(where)
        parts = (self._titles.get(section, ""), row.field.title if row is not None else "")
        return " · ".join(part for part in parts if part)

    def reveal(self, where: str) -> OptionRow | None:
        """Unfold the row in which a problem can be mended, and give it; `None`: there is none."""
        row = self.row(where)
        if row is None:
            return None
        fold = next(form.fold for form in self.forms.values() if row in form.rows.values())
        if row.field.advanced and fold is not None:
            fold.set_opened(True)
        return row

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        for form in self.forms.values():
            form.set_theme(theme)

    def set_locked(self, locked: bool) -> None:
        """Forbid changes, while a run goes."""
        self._locked = locked
        for form in self.forms.values():
            form.set_locked(locked)

    def _filled(self) -> set[str]:
        return {section for section, form in self.forms.items() if form.rows or form.model is not Options}
