"""Boxes that offer what is in the project, for options that name one of its data sets or runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from PySide6.QtCore import QCoreApplication, QSignalBlocker, Qt, Slot
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QComboBox, QLineEdit, QMenu, QWidget

from tlstudio.api import TLStudioError
from tlstudio.api.methods import dataset_names, written_names
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.texts import ElidedBox

ENDED_WELL = ("done", "stopped")


class ProjectChoice(ElidedBox):
    """Offers the data sets of the project with their revisions, or its finished runs; follows what becomes of them.

    Args:
        kind: ``"dataset"`` or ``"run"``.
        state: Where the project is.
        nothing: What the first entry says, which stands for an empty text; ``""``: there is no such entry.
        parent: Parent widget.
    """

    def __init__(
        self, kind: Literal["dataset", "run"], state: AppState, nothing: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._kind = kind
        self._state = state
        self._nothing = nothing
        self._unfit: Mapping[str, str] = {}
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self._fill()
        (state.datasets_changed if kind == "dataset" else state.runs_changed).connect(self._refill)

    def show_text(self, text: str) -> None:
        """Choose what an option says; what the project does not have is shown as it is.

        Args:
            text: The value: ``"photos@r2"``, ``"photos"`` for its latest revision, the id of a run, or ``""``.
        """
        row = self.findData(text)
        if row < 0 and self._kind == "dataset" and "@" not in text:
            row = next((row for row in range(self.count()) if self.itemData(row).startswith(f"{text}@")), -1)
        if row < 0 and text:
            self.addItem(self.tr("{0} (is not there)").format(text), text)
            row = self.count() - 1
        self.setCurrentIndex(row)

    def show_unfit(self, reasons: Mapping[str, str]) -> None:
        """Grey what cannot be chosen; its tooltip says why.

        Args:
            reasons: Why, by the value.
        """
        self._unfit = reasons
        model = self.model()
        if not isinstance(model, QStandardItemModel):
            return
        for row in range(self.count()):
            reason = reasons.get(self.itemData(row), "")
            model.item(row).setEnabled(not reason)
            for role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleDescriptionRole):
                self.setItemData(row, reason or None, role)

    @Slot()
    def _refill(self) -> None:
        chosen = self.currentData()
        with QSignalBlocker(self):
            self.clear()
            self._fill()
            self.show_text(chosen or "")
            self.show_unfit(self._unfit)

    def _fill(self) -> None:
        if self._nothing:
            self.addItem(self._nothing, "")
        for text, value in self._datasets() if self._kind == "dataset" else self._runs():
            self.addItem(text, value)

    def _datasets(self) -> list[tuple[str, str]]:
        project = self._state.project
        if project is None:
            return []
        return [
            (f"{name} · {revision}", f"{name}@{revision}")
            for name in project.datasets()
            for revision in reversed(project.revisions(name))
        ]

    def _runs(self) -> list[tuple[str, str]]:
        try:
            finished = [run for run in self._state.queue.runs() if run.status in ENDED_WELL]
        except TLStudioError:
            return []  # the disk is away, which is told elsewhere
        return [(f"{run_title(run.id, self._state.registry)} · {run.dataset}", run.id) for run in finished]


def datasets_menu(state: AppState, line: QLineEdit, take: Callable[[str], None], unfit: Mapping[str, str]) -> QMenu:
    """Make a menu in which data sets of the project are checked, for a text that names several.

    Args:
        state: Where the project is.
        line: Where the text is.
        take: Takes the text with a data set more or less.
        unfit: Why some cannot be taken, by their names.
    """
    menu = QMenu(line)
    menu.setObjectName(f"{line.objectName()}_menu")
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.setToolTipsVisible(True)
    named = [reference.partition("@")[0] for reference in dataset_names(line.text())]

    def toggle(name: str, on: bool) -> None:
        before = dataset_names(line.text())
        take(written_names([*before, name] if on else [one for one in before if one.partition("@")[0] != name]))

    for name in state.project.datasets() if state.project is not None else ():
        action = menu.addAction(name)
        action.setCheckable(True)
        action.setChecked(name in named)
        if reason := unfit.get(name):
            action.setToolTip(reason)
            action.setEnabled(name in named)  # to be taken out
        action.toggled.connect(partial(toggle, name))
    if menu.isEmpty():
        nothing = QCoreApplication.translate("ProjectChoice", "There is no other data set in this project.")
        menu.addAction(nothing).setEnabled(False)
    return menu
