"""One option of a component as a row of a form: label, editor, unit, reset and the sentence on what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QToolButton,
    QWidget,
)

from tlstudio.api import OptionField
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import Theme, icon, set_role
from tlstudio.gui.widgets.figures import setting_text
from tlstudio.gui.widgets.file_dialogs import ask_file, ask_folder
from tlstudio.gui.widgets.project_choice import ProjectChoice, datasets_menu
from tlstudio.gui.widgets.texts import push_button, text_label


class OptionRow(QObject):
    """The widgets of one option, put into three columns of a grid.

    Args:
        name: Prefix of the object names: ``"training"`` makes ``training_epochs``.
        field: The option.
        state: What the pages share: the theme, and where dialogs open.
        parent: The widget that holds the grid.

    Signals:
        changed(): The user has changed or reset the value.
        entered(str): The field got the focus or the pointer, and carries its help; ``""``: the pointer has left it.
    """

    changed = Signal()
    entered = Signal(str)

    def __init__(self, name: str, field: OptionField, state: AppState, parent: QWidget) -> None:
        super().__init__(parent)
        self._state = state
        self.field = field
        self._default: Any = field.default
        self._set = False
        self._zero_word = ""
        self._unfit: Mapping[str, str] = {}
        self._unit = text_label(field.unit, "second", f"{name}_{field.name}_unit")
        self._unit.setParent(parent)
        object_name = f"{name}_{field.name}"
        self.label = text_label(field.title, "second", f"{object_name}_label", wrap=True)
        self.problem = text_label("", "bad", f"{object_name}_problem", wrap=True)
        self.problem.hide()
        self.editor = self._make_editor(object_name)
        self.label.setBuddy(self.editor)
        self.reset_button = QToolButton()
        self.reset_button.setObjectName(f"{object_name}_reset")
        set_role(self.reset_button, "quiet")
        self.reset_button.setAccessibleName(self.tr("Reset {0}").format(field.title))
        self.reset_button.setToolTip(self.tr("Back to what is recommended"))
        self.reset_button.setFixedSize(24, 24)
        policy = self.reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.reset_button.setSizePolicy(policy)
        self.reset_button.hide()
        self.reset_button.clicked.connect(self._reset)
        for widget in (self.label, self.editor):
            widget.setToolTip(self._hint())
            widget.setWhatsThis(self._hint())
            widget.installEventFilter(self)
        self.set_theme(state.theme)
        self._show(self._default)

    def add_to(self, grid: QGridLayout, row: int) -> None:
        """Put the widgets into two rows of a grid: the second is for what is wrong."""
        side = QHBoxLayout()
        side.setContentsMargins(0, 0, 0, 0)
        side.setSpacing(4)
        side.addWidget(self.editor, 1)
        if self.field.browse and isinstance(self.editor, QLineEdit):
            browse = push_button(
                "…",
                "secondary",
                f"{self.editor.objectName()}_browse",
                accessible=self.tr("Choose {0}").format(self.field.title),
                hint=self.tr("Choose in this project")
                if self.field.browse == "datasets"
                else self.tr("Choose on this machine"),
            )
            browse.setEnabled(self.editor.isEnabled())
            browse.clicked.connect(self._browse)
            side.addWidget(browse)
        if self.field.unit and self.field.kind != "bool":
            side.addWidget(self._unit)
        side.addWidget(self.reset_button)
        grid.addWidget(self.label, row, 0, Qt.AlignmentFlag.AlignVCenter)
        grid.addLayout(side, row, 1)
        grid.addWidget(self.problem, row + 1, 0, 1, 2)

    def set_visible(self, visible: bool) -> None:
        """Show or hide the whole row."""
        for widget in (self.label, self.editor):
            widget.setVisible(visible)
        policy = self.reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(visible)
        self.reset_button.setSizePolicy(policy)
        self.problem.setVisible(visible and bool(self.problem.text()))
        self.reset_button.setVisible(visible and self._set)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.reset_button.setIcon(icon("refresh", theme.second, 14))

    # -- value ----------------------------------------------------------------------------------------------

    @property
    def is_set(self) -> bool:
        """Whether the value is the user's own and not the recommended one."""
        return self._set

    @property
    def default(self) -> Any:  # noqa: ANN401  as `value`
        """The recommended value."""
        return self._default

    @property
    def value(self) -> Any:  # noqa: ANN401  bool, int, float, str or None, as the option says
        """The value as typed; text that is no number stays text, so that validation can quote it."""
        editor = self.editor
        if isinstance(editor, QCheckBox):
            return editor.isChecked()
        if isinstance(editor, QComboBox):
            return editor.currentData()
        text = editor.text().strip() if isinstance(editor, QLineEdit) else ""
        if self._zero_word and text.casefold() == self._zero_word.casefold():
            return 0
        if not text and (self.field.nullable or self.field.kind in ("int", "float")):
            return None
        if self.field.kind == "int":
            return _number(text, int)
        if self.field.kind == "float":
            return _number(text, float)
        return text

    def set_default(self, default: Any) -> None:  # noqa: ANN401  as `value`
        """Change the recommended value; shown unless the user has set one."""
        self._default = default
        if not self._set:
            self._show(default)

    def set_zero_word(self, word: str) -> None:
        """Show a word where the number is 0, such as ``"off"``; it can be typed, too."""
        self._zero_word = word
        self._show(self.value)

    def set_value(self, value: Any) -> None:  # noqa: ANN401  as `value`
        """Set a value as if the user had typed it, without a signal."""
        self._set = value != self._default or type(value) is not type(self._default)
        self._show(value)
        self.reset_button.setVisible(self._set)

    def show_problem(self, text: str) -> None:
        """Say below the field what is wrong with it; ``""``: nothing is."""
        self.problem.setText(text)
        self.problem.setVisible(bool(text))
        self.editor.setProperty("invalid", bool(text))
        self.editor.setAccessibleDescription(text or self.field.help)
        self.editor.style().unpolish(self.editor)
        self.editor.style().polish(self.editor)

    def show_unfit(self, reasons: Mapping[str, str]) -> None:
        """Say which runs or data sets of the project cannot be chosen; see `ProjectChoice.show_unfit`."""
        self._unfit = reasons
        if isinstance(self.editor, ProjectChoice):
            self.editor.show_unfit(reasons)

    def _show(self, value: Any) -> None:  # noqa: ANN401  as `value`
        with QSignalBlocker(self.editor):
            if isinstance(self.editor, QCheckBox):
                self.editor.setChecked(bool(value))
            elif isinstance(self.editor, ProjectChoice):
                self.editor.show_text("" if value is None else str(value))
            elif isinstance(self.editor, QComboBox):
                index = self.editor.findData(None if value is None else str(value))
                self.editor.setCurrentIndex(max(0, index))
            elif isinstance(self.editor, QLineEdit):
                special = bool(self._zero_word) and value == 0
                self.editor.setText(self._zero_word if special else setting_text(value))
                self.editor.setCursorPosition(0)
        self._show_unit()

    def _show_unit(self) -> None:
        self._unit.setHidden(not self.field.unit or (bool(self._zero_word) and self.value == 0))

    def _edited(self) -> None:
        self._show_unit()
        self._set = self.value != self._default
        self.reset_button.setVisible(self._set)
        self.changed.emit()

    def _reset(self) -> None:
        self._set = False
        self._show(self._default)
        self.reset_button.hide()
        self.editor.setFocus()
        self.changed.emit()

    # -- editors --------------------------------------------------------------------------------------------

    def _make_editor(self, name: str) -> QWidget:
        field = self.field
        editor: QWidget
        if field.kind == "bool":
            box = QCheckBox()
            box.toggled.connect(self._edited)
            editor = box
        elif field.browse in ("dataset", "run"):
            nothing = "" if field.required else self.tr("none")
            offered = ProjectChoice("run" if field.browse == "run" else "dataset", self._state, nothing)
            offered.setPlaceholderText(self.tr("required"))
            offered.currentIndexChanged.connect(self._edited)
            editor = offered
        elif field.kind == "choice":
            combo = QComboBox()
            if field.nullable:
                combo.addItem(self.tr("not set"), None)
            for choice in field.choices:
                combo.addItem(choice, choice)
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(6)
            combo.currentIndexChanged.connect(self._edited)
            editor = combo
        else:
            line = QLineEdit()
            if field.required:
                line.setPlaceholderText(self.tr("required"))
            elif field.nullable or (field.kind == "text" and not field.default):
                line.setPlaceholderText(self.tr("automatic"))
            line.setMinimumWidth(60)
            line.textEdited.connect(self._edited)
            editor = line
        editor.setObjectName(name)
        editor.setAccessibleName(field.title + (f" ({field.unit})" if field.unit else ""))
        editor.setAccessibleDescription(field.help)
        return editor

    def _hint(self) -> str:
        field = self.field
        limits = ""
        if field.minimum is not None and field.maximum is not None:
            limits = self.tr("From {0} to {1}.").format(_limit(field.minimum), _limit(field.maximum))
        elif field.minimum:
            limits = self.tr("{0} or more.").format(_limit(field.minimum))
        return " ".join(part for part in (field.help, limits) if part)

    def _browse(self) -> None:
        if not isinstance(self.editor, QLineEdit):
            return
        menu_at = self.editor.mapToGlobal(self.editor.rect().bottomRight())
        if self.field.browse == "any":
            menu = QMenu(self.editor)
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.addAction(self.tr("A &file…"), lambda: self._choose(folder=False))
            menu.addAction(self.tr("A f&older…"), lambda: self._choose(folder=True))
            menu.popup(menu_at)
        elif self.field.browse == "datasets":
            datasets_menu(self._state, self.editor, self._take_names, self._unfit).popup(menu_at)
        else:
            self._choose(folder=self.field.browse == "folder")

    def _choose(self, *, folder: bool) -> None:
        if not isinstance(self.editor, QLineEdit):
            return
        ask = ask_folder if folder else ask_file
        name, start = self.editor.objectName(), self.editor.text()
        ask(self._state, self.editor, name, self.field.title, self._take_path, start=start)

    def _take_path(self, path: Path) -> None:
        if isinstance(self.editor, QLineEdit):
            self.editor.setText(str(path))
            self._edited()

    def _take_names(self, names: str) -> None:
        if isinstance(self.editor, QLineEdit):
            self.editor.setText(names)
            self._edited()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt override
        """Tell the help of a field that is looked at; step numbers with the arrow keys; leave the wheel to the page."""
        kind = event.type()
        if kind in (QEvent.Type.FocusIn, QEvent.Type.Enter):
            self.entered.emit(self._hint())
        elif kind == QEvent.Type.Leave and not self.editor.hasFocus():
            self.entered.emit("")
        elif kind == QEvent.Type.Wheel and isinstance(watched, QComboBox) and not watched.hasFocus():
            event.ignore()
            return True
        elif kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and isinstance(watched, QLineEdit):
            direction = {Qt.Key.Key_Up.value: 1, Qt.Key.Key_Down.value: -1}.get(event.key(), 0)
            if direction and self._step(watched, direction):
                return True
        return super().eventFilter(watched, event)

    def _step(self, line: QLineEdit, direction: int) -> bool:
        value = self.value
        if self.field.kind == "int" and isinstance(value, int):
            stepped: float = value + direction
        elif self.field.kind == "float" and isinstance(value, float) and value > 0:
            stepped = _next_nice(value, direction)
        else:
            return False
        low, high = self.field.minimum, self.field.maximum
        if (low is not None and stepped < low) or (high is not None and stepped > high):
            return True
        self._show(stepped)
        self._edited()
        return True


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    try:
        return kind(text.replace(",", ".") if kind is float and text.count(",") == 1 else text)
    except ValueError:
        return text


def _next_nice(value: float, direction: int) -> float:
    """The next of 1, 2, 5, 10, 20, ... (times any power of ten) above or below a positive value."""
    ladder = [mantissa * 10.0**power for power in range(-12, 13) for mantissa in (1, 2, 5)]
    if direction > 0:
        return float(f"{next((step for step in ladder if step > value * 1.0001), value):.3g}")
    return float(f"{next((step for step in reversed(ladder) if step < value * 0.9999), value):.3g}")


def _limit(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
