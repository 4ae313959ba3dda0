"""The form of an import: format, columns, task, splits, copy or reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import TASKS, OptionField, Problem, Task, describe
from tlstudio.gui.widgets.figures import size_text
from tlstudio.gui.widgets.fold import Fold
from tlstudio.gui.widgets.import_plan import Plan, Wish
from tlstudio.gui.widgets.texts import text_label
from tlstudio.plugins import Registry

Editor = QComboBox | QCheckBox | QSpinBox | QLineEdit


class ImportForm(QWidget):
    """Holds a `Wish`; what the user leaves alone is filled with what was suggested.

    Signals:
        changed(): The user has changed something.
    """

    changed = Signal()

    def __init__(self, registry: Registry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("import_form")
        self._registry = registry
        self._source = Path()
        self._options: dict[str, Any] = {}
        self._name_set = self._task_set = False
        self._format = ""
        self._editors: dict[str, Editor] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self.name_edit = QLineEdit()
        self._add(column, "import_name", self.tr("&Name"), self.name_edit)
        self.name_edit.textEdited.connect(self._name_edited)
        self.format_box = QComboBox()
        self._add(column, "import_format", self.tr("&Format"), self.format_box)
        self.format_box.activated.connect(self._format_chosen)
        self.task_box = QComboBox()
        self._add(column, "import_task", self.tr("&Task"), self.task_box)
        self.task_box.activated.connect(self._task_chosen)
        self._columns = QVBoxLayout()
        self._columns.setSpacing(8)
        column.addLayout(self._columns)
        column.addLayout(self._make_splits())
        self.copy_box = QComboBox()
        self.copy_box.addItem(self.tr("Copy into the project"), True)
        self.copy_box.addItem(self.tr("Leave where they are"), False)
        self._copy_label = self._add(column, "import_copy", self.tr("Fi&les"), self.copy_box)
        self._size = text_label("", "small", "import_size", wrap=True)
        column.addWidget(self._size)
        self.copy_box.activated.connect(self._emit)
        self._more = QWidget()
        self._more_column = QVBoxLayout(self._more)
        self._more_column.setContentsMargins(0, 0, 0, 0)
        self._more_column.setSpacing(8)
        self._fold = Fold("import_more", self.tr("More about the file"), self._more)
        column.addWidget(self._fold)
        column.addStretch()

    def _add(self, column: QVBoxLayout, name: str, title: str, editor: Editor) -> QLabel:
        """Add a labelled row."""
        label = QLabel(title)
        label.setObjectName(f"{name}_label")
        label.setProperty("role", "second")
        label.setFixedWidth(112)
        label.setBuddy(editor)
        editor.setObjectName(name)
        editor.setAccessibleName(title.replace("&", ""))
        if isinstance(editor, QComboBox):
            editor.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            editor.setMinimumContentsLength(8)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(label)
        row.addWidget(editor, 1)
        column.addLayout(row)
        return label

    def _make_splits(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        label = text_label(self.tr("Splits in %"), "second", "import_splits_label")
        label.setFixedWidth(112)
        grid.addWidget(label, 1, 0)
        self.shares: list[QSpinBox] = []
        titles = (self.tr("train"), self.tr("validation"), self.tr("test"))
        for index, (title, value) in enumerate(zip(titles, (70, 15, 15), strict=True), 1):
            box = QSpinBox()
            box.setObjectName(f"import_share_{index}")
            box.setAccessibleName(self.tr("Share of {0} in percent").format(title))
            box.setRange(0, 100)
            box.setValue(value)
            box.valueChanged.connect(self._emit)
            # WORKAROUND: with a style sheet Qt gives the text no space at its left.
            box.lineEdit().setTextMargins(9, 0, 0, 0)
            box.setMinimumWidth(56)
            grid.addWidget(text_label(title, "small", f"import_share_{index}_label"), 0, index)
            grid.addWidget(box, 1, index)
            grid.setColumnStretch(index, 1)
            self.shares.append(box)
        return grid

    # Values -----------------------------------------------------------------------------------------------------

    def begin(self, source: Path) -> None:
        """Start over for another source."""
        self._source = source
        self._options = {}
        self._name_set = self._task_set = False
        self._format = ""
        with QSignalBlocker(self.copy_box):
            self.copy_box.setCurrentIndex(0)
        for box, value in zip(self.shares, (70, 15, 15), strict=True):
            with QSignalBlocker(box):
                box.setValue(value)
        self._size.clear()
        self._build_options("", {}, ())

    @property
    def wish(self) -> Wish:
        """What the user has said so far."""
        train, validation, test = (box.value() for box in self.shares)
        return Wish(
            self._source,
            name=self.name_edit.text() if self._name_set else "",
            format=self._format,
            options=dict(self._options),
            task=cast(Task, self.task_box.currentData()) if self._task_set else None,
            copy_files=bool(self.copy_box.currentData()),
            percent=(train, validation, test),
        )

    def show_plan(self, plan: Plan) -> None:
        """Fill in what was suggested, and mark the fields that have problems."""
        formats = list(dict.fromkeys([*plan.formats, *self._registry.formats]))
        chosen = plan.request.format.name if plan.request else plan.wish.format or (formats[0] if formats else "")
        with QSignalBlocker(self.format_box):
            self.format_box.clear()
            for name in formats:
                self.format_box.addItem(self._registry.formats[name].title, name)
            self.format_box.setCurrentIndex(self.format_box.findData(chosen))
        if plan.request is not None and not self._name_set:
            self.name_edit.setText(plan.request.name)
        elif not self.name_edit.text() and not self._name_set:
            self.name_edit.setText(self._source.stem)
        task = plan.request.task if plan.request is not None and not self._task_set else self.task_box.currentData()
        self._show_tasks(chosen, task)
        preview = plan.preview
        values = plan.request.options.model_dump() if plan.request else dict(preview.options) if preview else {}
        self._build_options(chosen, values, preview.columns if preview else ())
        modality = self._registry.formats[chosen].modality if chosen in self._registry.formats else "text"
        for widget in (self.copy_box, self._copy_label, self._size):
            widget.setVisible(modality not in ("text", "table"))
        self._mark(plan.problems)

    def _show_tasks(self, format_name: str, chosen: Task | None) -> None:
        """Offer the tasks that a format can be read for."""
        formats = self._registry.formats
        tasks = formats[format_name].every_task if format_name in formats else tuple(TASKS)
        with QSignalBlocker(self.task_box):
            self.task_box.clear()
            for task in tasks:
                self.task_box.addItem(TASKS[task].title, task)
            self.task_box.setCurrentIndex(max(0, self.task_box.findData(chosen)))

    def show_size(self, size: int, complete: bool) -> None:
        """Say how much would be copied."""
        pattern = self.tr("{0} of files") if complete else self.tr("More than {0} of files")
        self._size.setText(pattern.format(size_text(size)))

    # Options of the format --------------------------------------------------------------------------------------

    def _build_options(self, name: str, values: Mapping[str, Any], columns: tuple[str, ...]) -> None:
        """Make an editor for each option of a format, or fill those that are there."""
        fields = describe(self._registry.formats[name].Options) if name in self._registry.formats else ()
        if [field.name for field in fields] != list(self._editors):
            self._clear(self._columns)
            self._clear(self._more_column)
            self._editors = {}
            for field in fields:
                editor = self._make_editor(field)
                self._editors[field.name] = editor
                place = self._more_column if field.advanced else self._columns
                label = self._add(place, f"import_option_{field.name}", field.title, editor)
                label.setToolTip(field.help)
                editor.setToolTip(field.help)
            self._fold.setVisible(any(field.advanced for field in fields))
        for field in fields:
            self._fill(field, values.get(field.name, field.default), columns)

    def _make_editor(self, field: OptionField) -> Editor:
        editor: Editor
        if field.name.endswith("_column") or field.kind == "choice":
            editor = QComboBox()
            editor.activated.connect(lambda _index: self._option_changed(field))
        elif field.kind == "bool":
            editor = QCheckBox()
            editor.clicked.connect(lambda _on: self._option_changed(field))
        elif field.kind == "int":
            editor = QSpinBox()
            editor.setRange(int(field.minimum or 0), int(field.maximum or 2**31 - 1))
            editor.lineEdit().setTextMargins(9, 0, 0, 0)
            editor.valueChanged.connect(lambda _value: self._option_changed(field))
        else:
            editor = QLineEdit()
            editor.editingFinished.connect(lambda: self._option_changed(field))
        return editor

    def _fill(self, field: OptionField, value: object, columns: tuple[str, ...]) -> None:
        editor = self._editors[field.name]
        with QSignalBlocker(editor):
            if isinstance(editor, QComboBox):
                editor.clear()
                choices = field.choices or columns
                if not field.choices:
                    editor.addItem(self.tr("(none)"), "")
                for choice in choices:
                    editor.addItem(self._choice_words(field.name, choice), choice)
                text = str(value or "")
                if editor.findData(text) < 0:
                    editor.addItem(text, text)
                editor.setCurrentIndex(editor.findData(text))
            elif isinstance(editor, QCheckBox):
                editor.setChecked(bool(value))
            elif isinstance(editor, QSpinBox):
                editor.setValue(int(str(value or 0)))
            elif editor.text() != str(value or ""):
                editor.setText(str(value or ""))

    def _choice_words(self, option: str, choice: str) -> str:
        """Plain words for the choices that formats usually have; any other is shown as it is."""
        words = {
            ("labels", "folders"): self.tr("Name of the subfolder"),
            ("labels", "none"): self.tr("No labels"),
            ("splits", "folders"): self.tr("As in folders train, val, test"),
            ("splits", "ignore"): self.tr("Always cut anew"),
            ("groups", "none"): self.tr("No groups"),
            ("groups", "subfolders"): self.tr("Folders below a class"),
        }
        return words.get((option, choice), choice)

    def _option_changed(self, field: OptionField) -> None:
        editor = self._editors[field.name]
        value: object
        if isinstance(editor, QComboBox):
            value = editor.currentData()
        elif isinstance(editor, QCheckBox):
            value = editor.isChecked()
        elif isinstance(editor, QSpinBox):
            value = editor.value()
        else:
            value = editor.text()
            if value == str(self._options.get(field.name, field.default) or ""):
                return
        self._options[field.name] = value
        self.changed.emit()

    def _mark(self, problems: tuple[Problem, ...]) -> None:
        """Draw a red line around the fields that have problems."""
        places = {problem.where for problem in problems}
        fields: dict[str, QWidget] = {"name": self.name_edit, "format": self.format_box, "task": self.task_box}
        for index, box in enumerate(self.shares):
            fields[f"fractions{index}"] = box
        fields |= dict(self._editors)
        for name, widget in fields.items():
            invalid = name in places or (name.startswith("fractions") and "fractions" in places)
            if bool(widget.property("invalid")) != invalid:
                widget.setProperty("invalid", invalid)
                widget.style().unpolish(widget)
                widget.style().polish(widget)

    @Slot()
    def _name_edited(self) -> None:
        self._name_set = True
        self.changed.emit()

    @Slot()
    def _format_chosen(self) -> None:
        self._format = str(self.format_box.currentData())
        # Another format has other options, and sees other labels.
        self._options = {}
        self._task_set = False
        self.changed.emit()

    @Slot()
    def _task_chosen(self) -> None:
        self._task_set = True
        self.changed.emit()

    @Slot()
    def _emit(self) -> None:
        self.changed.emit()

    @staticmethod
    def _clear(column: QVBoxLayout) -> None:
        while (row := column.takeAt(0)) is not None:
            layout = row.layout()
            while layout is not None and (item := layout.takeAt(0)) is not None:
                if (widget := item.widget()) is not None:
                    widget.hide()
                    widget.deleteLater()
