"""Every dialog that asks for a file or folder: where it opens, and what may be chosen in it.

They open in the folder that was last used for the same purpose in the open project, else in the project's own folder,
never where the program happened to be started. What is to be written may not harm what the studio keeps; what is to
be read must be a plain file. Both are said in a sentence before anything is done with the choice.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QDir
from PySide6.QtWidgets import QDialog, QFileDialog, QWidget

from tlstudio.api import DataError, TLStudioError
from tlstudio.api.files import check_plain_file
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.gui.state import AppState

Chosen = Callable[[Path], None]
_MOST_PLACES = 8  # projects whose places are remembered


def ask_file(
    state: AppState, parent: QWidget, name: str, title: str, chosen: Chosen, *, pattern: str = "", start: str = ""
) -> None:
    """Ask for a file that is to be read.

    Args:
        state: Knows the project and the places, and shows what is wrong with a choice.
        parent: The widget that asks.
        name: What it is for; the object name is ``<name>_dialog``.
        title: Title of the dialog.
        chosen: Called with the file.
        pattern: Which files are offered, as Qt writes it.
        start: The folder or file to begin with, if there is one already.
    """
    dialog = _dialog(state, parent, name, title, start, pattern)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    _open(dialog, state, name, _check_input, chosen)


def ask_folder(state: AppState, parent: QWidget, name: str, title: str, chosen: Chosen, *, start: str = "") -> None:
    """Ask for a folder that is there; arguments of `ask_file`."""
    dialog = _dialog(state, parent, name, title, start)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    _open(dialog, state, name, lambda _path: None, chosen)


def ask_output_file(
    state: AppState, parent: QWidget, name: str, title: str, chosen: Chosen, *, suggested: Path, pattern: str
) -> None:
    """Ask for a file that is to be written; one that is there is replaced if the user says so in the dialog.

    Args:
        state: See `ask_file`.
        parent: See `ask_file`.
        name: See `ask_file`.
        title: See `ask_file`.
        chosen: Called with the file.
        suggested: Its name with the suffix that it gets, in a folder if there is an obvious one.
        pattern: See `ask_file`.
    """
    dialog = _dialog(state, parent, name, title, str(suggested.parent) if suggested.is_absolute() else "", pattern)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(suggested.suffix)
    dialog.selectFile(suggested.name)
    _open(dialog, state, name, lambda path: refuse_as_output(path, suffix=suggested.suffix), chosen)


def ask_output_folder(
    state: AppState, parent: QWidget, name: str, title: str, chosen: Chosen, *, suggested: str
) -> None:
    """Ask for the place and name of a folder that is to be made.

    Args:
        state: See `ask_file`.
        parent: See `ask_file`.
        name: See `ask_file`.
        title: See `ask_file`.
        chosen: Called with the folder, which may be there already.
        suggested: Its name.
    """
    dialog = _dialog(state, parent, name, title)
    # A dialog for saving is the one that has a field for a name that does not exist yet.
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
    dialog.selectFile(suggested)
    _open(dialog, state, name, refuse_as_output, chosen)


def place_of(state: AppState, name: str) -> Path:
    """The folder in which a dialog opens.

    Args:
        state: Knows the project and the places.
        name: What the dialog is for.
    """
    project = state.project.folder if state.project is not None else None
    known = _places(state, name).get(str(project or ""))
    return next((folder for folder in (Path(known) if known else None, project) if _is_folder(folder)), None) or _home()


def remember_place(state: AppState, name: str, folder: Path) -> None:
    """Open the next dialog for this purpose in this project there.

    Args:
        state: Knows the project and the places.
        name: What the dialog is for.
        folder: The folder.
    """
    project = str(state.project.folder if state.project is not None else "")
    others = [(key, place) for key, place in _places(state, name).items() if key != project]
    places = dict([(project, str(folder)), *others][:_MOST_PLACES])
    state.settings.setValue(f"places/{name}", json.dumps(places))


def _places(state: AppState, name: str) -> dict[str, str]:
    """The last folder for a purpose in each project, the project of the last use first."""
    try:
        places = json.loads(str(state.settings.value(f"places/{name}", "{}")))
    except (ValueError, RecursionError):
        places = {}
    return {str(key): str(place) for key, place in places.items()} if isinstance(places, dict) else {}


def _home() -> Path:
    return Path(QDir.homePath())  # other than Python's, it always has an answer


def _is_folder(path: Path | None) -> bool:
    """Whether a folder is there; not if it cannot be told, as on a disk that is away."""
    with contextlib.suppress(OSError, ValueError):
        return path is not None and path.is_dir()
    return False


def _given(start: str) -> Path | None:
    """The file or folder that a field names, if it is there."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a name that is too long, the home of nobody
        path = Path(start).expanduser()
        if start and path.is_absolute() and path.exists():
            return path
    return None


def _check_input(path: Path) -> None:
    try:
        check_plain_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Choose another file.", path=path) from error


def _dialog(state: AppState, parent: QWidget, name: str, title: str, start: str = "", pattern: str = "") -> QFileDialog:
    beginning = _given(start) or place_of(state, name)
    folder = beginning if _is_folder(beginning) else beginning.parent
    dialog = QFileDialog(parent.window(), title, str(folder), pattern)
    dialog.setObjectName(f"{name}_dialog")
    dialog.setAccessibleName(title)
    if folder != beginning:
        dialog.selectFile(beginning.name)
    return dialog


def _open(dialog: QFileDialog, state: AppState, name: str, check: Chosen, chosen: Chosen) -> None:
    """Show a dialog; once it is closed, look at the choice and hand it on."""

    def finished(result: int) -> None:
        dialog.deleteLater()
        if result != QDialog.DialogCode.Accepted or not dialog.selectedFiles():
            return
        path = Path(QDir.toNativeSeparators(dialog.selectedFiles()[0]))
        try:
            check(path)
        except TLStudioError as error:
            state.show_error(error)
            return
        remember_place(state, name, path.parent)
        chosen(path)

    dialog.finished.connect(finished)
    dialog.open()
