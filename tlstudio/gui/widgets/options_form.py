"""A form generated from the options of a component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from tlstudio.api import Options, Problem, describe, problems_of
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.fold import Fold
from tlstudio.gui.widgets.option_field import OptionRow

LABEL_WIDTH = 96


class OptionsForm(QWidget):
    """Shows every option of a model: the basic ones first, the advanced ones folded away.

    What the user has not touched stays at the recommended value, also when that changes; `values` holds only what
    was set, which is what a recipe needs to say.

    Args:
        name: Object name and prefix of the fields' names: ``"training"`` makes ``training_epochs``. It is also
            the section of the recipe in which problems are told (``training.epochs``).
        state: What the pages share: the theme, and where dialogs open.
        parent: Parent widget.

    Signals:
        changed(): The user has changed a value.
        entered(str): A field got the focus or the pointer; carries its help.
    """

    changed = Signal()
    entered = Signal(str)

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._section = name
        self._state = state
        self._model: type[Options] = Options
        self._skip: frozenset[str] = frozenset()
        self._rows: dict[str, OptionRow] = {}
        self._fold: Fold | None = None
        self._fold_title = ""
        self._outer: Mapping[str, str] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)

    @property
    def model(self) -> type[Options]:
        """The model whose options are shown."""
        return self._model

    @property
    def rows(self) -> Mapping[str, OptionRow]:
        """The rows by the name of the option."""
        return self._rows

    @property
    def fold(self) -> Fold | None:
        """What holds the advanced options, if there are any."""
        return self._fold

    def set_model(
        self,
        model: type[Options],
        values: Mapping[str, Any] | None = None,
        *,
        advanced_title: str = "",
        skip: Sequence[str] = (),
    ) -> None:
        """Show the options of a model.

        Args:
            model: The model.
            values: Values that the user has set.
            advanced_title: Heading of the folded part; by default it lists what is in it.
            skip: Options that are not shown.
        """
        while (item := self._layout.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for row in self._rows.values():
            row.deleteLater()
        self._model, self._rows, self._fold, self._outer = model, {}, None, {}
        self._skip = frozenset(skip)
        fields = [field for field in describe(model) if field.name not in self._skip]
        basic = [field.name for field in fields if not field.advanced]
        advanced = [field for field in fields if field.advanced]
        for part, names in (("basic", basic), ("advanced", [field.name for field in advanced])):
            if not names:
                continue
            page = QWidget()
            page.setObjectName(f"{self._section}_{part}")
            grid = QGridLayout(page)
            grid.setContentsMargins(0, 0, 0, 0)
            grid.setHorizontalSpacing(8)
            grid.setVerticalSpacing(3)
            grid.setColumnMinimumWidth(0, LABEL_WIDTH)
            grid.setColumnStretch(1, 1)
            for number, field in enumerate(field for field in fields if field.name in names):
                row = OptionRow(self._section, field, self._state, page)
                row.label.setFixedWidth(LABEL_WIDTH)
                row.add_to(grid, 2 * number)
                row.changed.connect(self._on_change)
                row.entered.connect(self.entered)
                self._rows[field.name] = row
            if part == "basic":
                self._layout.addWidget(page)
            else:
                self._fold_title = advanced_title or ", ".join(field.title for field in advanced)
                self._fold = Fold(f"{self._section}_more", self._fold_title, page)
                self._layout.addWidget(self._fold)
        self.set_values(values or {})
        self.setVisible(bool(fields))

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set some values as the user's own; every other option goes back to the recommended one."""
        for name, row in self._rows.items():
            row.set_value(values.get(name, row.default))
        if self._fold is not None and any(self._rows[n].is_set for n in values if n in self._rows and self._folds(n)):
            self._fold.set_opened(True)
        self._validate()

    def set_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Show other recommended values, such as those of a strategy."""
        for name, value in defaults.items():
            if name in self._rows:
                self._rows[name].set_default(value)
        self._validate()

    @property
    def values(self) -> dict[str, Any]:
        """What the user has set, by option; may be invalid."""
        return {name: row.value for name, row in self._rows.items() if row.is_set}

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong with the values, each with the option's name in the recipe."""
        given = {name: row.value for name, row in self._rows.items() if row.is_set or row.field.required}
        try:
            self._model.model_validate({name: value for name, value in given.items() if value not in (None, "")})
        except ValidationError as error:
            return problems_of(error, self._model, f"{self._section}.")
        return [
            Problem(f"{self._section}.{name}", self.tr("a value is required."), self._rows[name].field.help)
            for name, value in given.items()
            if value is None and not self._rows[name].field.nullable
        ]

    def show_problems(self, problems: Sequence[Problem]) -> None:
        """Show at their fields the problems that something outside the form has found."""
        prefix = f"{self._section}."
        self._outer = {
            problem.where.removeprefix(prefix): f"{problem.what} {problem.remedy}".strip()
            for problem in problems
            if problem.where.startswith(prefix)
        }
        self._validate()

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        for row in self._rows.values():
            row.set_theme(theme)

    def set_locked(self, locked: bool) -> None:
        """Forbid changes, while a run goes."""
        for row in self._rows.values():
            row.editor.setEnabled(not locked)
            row.reset_button.setEnabled(not locked)

    def _folds(self, name: str) -> bool:
        return self._rows[name].field.advanced

    def _on_change(self) -> None:
        self._outer = {}
        self._validate()
        self.changed.emit()

    def _validate(self) -> None:
        prefix = f"{self._section}."
        found = dict(self._outer)
        for problem in self.problems:
            found.setdefault(problem.where.removeprefix(prefix), f"{problem.what} {problem.remedy}".strip())
        for name, row in self._rows.items():
            text = found.get(name, "")
            row.show_problem(text[:1].upper() + text[1:])
        if self._fold is not None:
            wrong = sum(1 for name in found if name in self._rows and self._folds(name))
            title = self._fold_title
            self._fold.set_title(self.tr("{0} to mend · {1}").format(wrong, title) if wrong else title)
