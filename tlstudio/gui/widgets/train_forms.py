"""The card with every setting of a recipe: training first, then what the three components bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from tlstudio.api import Options, Problem, describe
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.options_form import OptionsForm
from tlstudio.gui.widgets.texts import text_label

SECTIONS = ("training", "strategy", "head", "backbone")


class TrainForms(QFrame):
    """Four forms in one card.

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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(15, 12, 10, 12)
        layout.setSpacing(6)
        captions = {
            "strategy": self.tr("STRATEGY"),
            "head": self.tr("TASK HEAD"),
            "backbone": self.tr("BACKBONE"),
        }
        self._captions: dict[str, QWidget] = {}
        self.forms: dict[str, OptionsForm] = {}
        for section in SECTIONS:
            if section in captions:
                caption = text_label(captions[section], "caption", f"train_{section}_options_caption")
                caption.setContentsMargins(0, 8, 0, 0)
                caption.hide()
                self._captions[section] = caption
                layout.addWidget(caption)
            form = OptionsForm(section, state)
            form.hide()
            form.changed.connect(lambda section=section: self.changed.emit(section))
            form.entered.connect(self.entered)
            self.forms[section] = form
            layout.addWidget(form)
        self.forms["training"].set_model(TrainingOptions, advanced_title=self.tr("Regularisation, schedule, hardware"))
        rows = self.forms["training"].rows
        for option, word in (
            ("early_stopping", self.tr("off")),
            ("clip_norm", self.tr("off")),
            ("threads", self.tr("automatic")),
        ):
            rows[option].set_zero_word(word)

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

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        for form in self.forms.values():
            form.set_theme(theme)

    def set_locked(self, locked: bool) -> None:
        """Forbid changes, while a run goes."""
        for form in self.forms.values():
            form.set_locked(locked)

    def _filled(self) -> set[str]:
        return {section for section, form in self.forms.items() if form.rows or form.model is not Options}
