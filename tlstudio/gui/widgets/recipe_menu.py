"""What can be done with the recipe of the Train page outside of it: copy, save, load."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QApplication, QMenu, QWidget

from tlstudio.api import TLStudioError
from tlstudio.engine.recipe import read_recipe_file
from tlstudio.gui.recipe_draft import RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.file_dialogs import ask_file, ask_output_file
from tlstudio.plugins.ready_recipes import ReadyRecipe, ready_recipes
from tlstudio.store.files import write_atomic


class RecipeMenu(QMenu):
    """Copies, saves and loads the recipe that is being put together.

    Signals:
        loaded(): A recipe file was read into the draft.
    """

    loaded = Signal()

    def __init__(self, state: AppState, draft: RecipeDraft, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("train_recipe_actions")
        self._state = state
        self._draft = draft
        self._owner = parent
        for name, text, slot in (
            ("copy_command", self.tr("Copy &command"), self.copy_command),
            ("copy_recipe", self.tr("Copy &recipe"), self.copy_recipe),
            ("save_recipe", self.tr("&Save recipe…"), self._ask_save),
            ("load_recipe", self.tr("&Load recipe…"), self._ask_load),
            ("reset_recipe", self.tr("Back to what is reco&mmended"), self._reset_all),
        ):
            self.addAction(text, slot).setObjectName(f"train_{name}")
        self._fixed = len(self.actions())
        self.setToolTipsVisible(True)
        draft.changed.connect(self._show_what_there_is)
        draft.checked.connect(self._show_what_there_is)
        self._show_what_there_is()

    @Slot()
    def _show_what_there_is(self) -> None:
        """Offer to hand out the recipe only where it is whole: not while it is checked or has mistakes."""
        whole = self._draft.result.recipe is not None and not self._draft.pending
        reason = "" if whole else self.tr("The recipe is still being checked, or something is missing in it.")
        for action in self.actions()[:3]:
            action.setEnabled(whole)
            action.setToolTip(reason)
        self._offer_ready()

    def _offer_ready(self) -> None:
        """Offer the ready recipes for the task of the data, where it is known."""
        revision = self._draft.result.revision
        registry = self._state.registry
        suiting = [one for one in ready_recipes() if revision is not None and one.suits(revision.task, registry)]
        shown = [action.objectName() for action in self.actions()[self._fixed :]]
        if shown == [f"train_ready_{recipe.name}" for recipe in suiting]:
            return
        for action in self.actions()[self._fixed :]:
            self.removeAction(action)
            action.deleteLater()
        for recipe in suiting:
            action = self.addAction(recipe.title, partial(self.take_ready, recipe))
            action.setObjectName(f"train_ready_{recipe.name}")
            action.setToolTip(recipe.description)

    def take_ready(self, recipe: ReadyRecipe) -> None:
        """Put a ready recipe into the form; the backbone that was chosen stays where it takes what the recipe sets."""
        name = self._draft.chosen("backbone")
        backbone = None
        with contextlib.suppress(TLStudioError):  # the problems say that there is none of this name
            backbone = self._state.registry.backbone(name) if name else None
        self._draft.load(recipe.with_backbone(backbone, self._draft.options("backbone")))
        self.loaded.emit()
        self._state.message.emit(recipe.description, "")

    @Slot()
    def copy_command(self) -> None:
        """Put the command line that does the same into the clipboard."""
        if command := self._draft.result.command:
            QApplication.clipboard().setText(command)
            self._state.message.emit(self.tr("The command is in the clipboard."), "")

    @Slot()
    def copy_recipe(self) -> None:
        """Put the recipe as TOML into the clipboard."""
        if self._draft.result.recipe is not None:
            QApplication.clipboard().setText(self._draft.result.recipe.to_toml())
            self._state.message.emit(self.tr("The recipe is in the clipboard."), "")

    def save_recipe(self, path: Path) -> None:
        """Write the recipe to a file."""
        recipe = self._draft.result.recipe
        if recipe is None:
            return
        try:
            write_atomic(path, recipe.to_toml())
        except TLStudioError as error:
            self._state.show_error(error)
            return
        self._state.message.emit(self.tr("Saved {0}.").format(path.name), str(path))

    def load_recipe(self, path: Path) -> None:
        """Read a recipe file into the form; mistakes in it are told like those in the form."""
        try:
            self._draft.load(read_recipe_file(path))
        except TLStudioError as error:
            self._state.show_error(error)
            return
        self.loaded.emit()
        self._state.message.emit(self.tr("Loaded {0}.").format(path.name), str(path))

    @Slot()
    def _ask_save(self) -> None:
        ask_output_file(
            self._state,
            self._owner,
            "save_recipe",
            self.tr("Save recipe"),
            self.save_recipe,
            suggested=Path("recipe.toml"),
            pattern=self.tr("Recipes (*.toml)"),
        )

    @Slot()
    def _ask_load(self) -> None:
        pattern = self.tr("Recipes (*.toml *.json)")
        ask_file(self._state, self._owner, "load_recipe", self.tr("Load recipe"), self.load_recipe, pattern=pattern)

    @Slot()
    def _reset_all(self) -> None:
        name, revision = self._draft.dataset
        self._draft.load({"dataset": {"name": name, "revision": revision}})
