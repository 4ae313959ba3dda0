"""Dialogs of the Project page: a new project, another name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QCoreApplication, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from tlstudio.api import DataError, TLStudioError
from tlstudio.data.names import safe_name
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.dialogs import Sheet
from tlstudio.gui.widgets.file_dialogs import ask_folder
from tlstudio.gui.widgets.texts import push_button, text_label, titled_edit


class NewProjectDialog(Sheet):
    """Asks for the name of a project and the folder that it is made in.

    Args:
        state: Where the last folder is remembered.
        create: Called with the project's folder and name; a `TLStudioError` is shown in the dialog.
        parent: The window.
    """

    def __init__(self, state: AppState, create: Callable[[Path, str], None], parent: QWidget) -> None:
        super().__init__(
            "new_project_dialog", QCoreApplication.translate("NewProjectDialog", "New project"), parent, width=520
        )
        self._state = state
        self._create = create
        place = str(state.settings.value("project/place", "") or Path.home() / "TL Studio")
        name_label, self.name_edit = titled_edit("new_project_name", self.tr("&Name"), self.tr("My project"))
        place_label, self.place_edit = titled_edit("new_project_place", self.tr("&Folder"), place)
        browse = push_button(self.tr("&Browse…"), "secondary", "new_project_browse")
        browse.clicked.connect(self._browse)
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        grid.addWidget(name_label, 0, 0)
        grid.addWidget(self.name_edit, 0, 1)
        grid.addWidget(place_label, 1, 0)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.place_edit, 1)
        row.addWidget(browse)
        grid.addLayout(row, 1, 1)
        self.body.addLayout(grid)
        self._where = text_label("", "small", "new_project_where", wrap=True)
        self.body.addWidget(self._where)
        self._problem = text_label("", "bad", "new_project_problem", wrap=True)
        self._problem.hide()
        self.body.addWidget(self._problem)
        self.add_button(self.tr("Cancel"), "secondary", "new_project_cancel", self.reject)
        self.add_button(self.tr("&Create"), "primary", "new_project_create", self._accept)
        self.name_edit.textChanged.connect(self._show_where)
        self.place_edit.textChanged.connect(self._show_where)
        self.name_edit.selectAll()
        self.name_edit.setFocus()
        self._show_where()

    @property
    def folder(self) -> Path:
        """The folder that the project would get."""
        return Path(self.place_edit.text()).expanduser() / safe_name(self.name_edit.text().strip(), "project")

    @Slot()
    def _show_where(self) -> None:
        self._problem.hide()
        self._where.setText(self.tr("Will be made in {0}").format(self.folder))

    @Slot()
    def _browse(self) -> None:
        title, start = self.tr("Folder for the project"), self.place_edit.text()
        ask_folder(self._state, self, "new_project_folder", title, self._set_place, start=start)

    def _set_place(self, folder: Path) -> None:
        self.place_edit.setText(str(folder))

    def _accept(self) -> None:
        name = self.name_edit.text().strip()
        try:
            if not name:
                raise DataError("The project needs a name.")
            self._create(self.folder, name)
        except TLStudioError as error:
            self._problem.setText(str(error))
            self._problem.show()
            return
        self._state.settings.setValue("project/place", self.place_edit.text())
        self.accept()


class NameDialog(Sheet):
    """Asks for another name of the project.

    Args:
        name: The present name.
        rename: Called with the new one; a `TLStudioError` is shown in the dialog.
        parent: The window.
    """

    def __init__(self, name: str, rename: Callable[[str], None], parent: QWidget) -> None:
        super().__init__(
            "rename_dialog", QCoreApplication.translate("NameDialog", "Rename the project"), parent, width=420
        )
        self._rename = rename
        label, self.name_edit = titled_edit("rename_name", self.tr("&Name"), name)
        self.body.addWidget(label)
        self.body.addWidget(self.name_edit)
        self.body.addWidget(text_label(self.tr("Its folder keeps its name."), "small", "rename_hint"))
        self._problem = text_label("", "bad", "rename_problem", wrap=True)
        self._problem.hide()
        self.body.addWidget(self._problem)
        self.add_button(self.tr("Cancel"), "secondary", "rename_cancel", self.reject)
        self.add_button(self.tr("&Rename"), "primary", "rename_accept", self._accept)
        self.name_edit.selectAll()

    def _accept(self) -> None:
        try:
            self._rename(self.name_edit.text().strip())
        except TLStudioError as error:
            self._problem.setText(str(error))
            self._problem.show()
            return
        self.accept()
