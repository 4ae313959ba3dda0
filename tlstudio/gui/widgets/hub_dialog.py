"""Asks which model is to be downloaded from which hub, once the user has allowed it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication, Slot
from PySide6.QtWidgets import QCheckBox, QGridLayout, QPushButton, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.dialogs import Sheet
from tlstudio.gui.widgets.texts import text_label, titled_edit

_ALLOWED, _HUB = "hub/allowed", "hub/address"
_YES = "yes"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on a hub.

    Attributes:
        repository: Its name there.
        revision: Branch, tag or commit; ``""``: the newest.
        hub: Address of the hub; ``""``: the usual one.
    """

    repository: str
    revision: str = ""
    hub: str = ""


class HubDialog(Sheet):
    """The switch that allows downloads, which is off at first and kept, and below it what to download.

    Args:
        state: Where the switch and the address of the hub are remembered.
        download: Called with what is to be downloaded.
        parent: The window.
    """

    def __init__(self, state: AppState, download: Callable[[HubModel], None], parent: QWidget) -> None:
        super().__init__(
            "hub_dialog", QCoreApplication.translate("HubDialog", "Download a model from a hub"), parent, width=560
        )
        self._state = state
        self._download = download
        self.allow = QCheckBox(self.tr("&Allow downloads from a model hub"))
        self.allow.setObjectName("hub_allow")
        self.allow.setAccessibleName(self.tr("Allow downloads from a model hub"))
        self.allow.setChecked(str(state.settings.value(_ALLOWED, "")) == _YES)
        self.allow.toggled.connect(self._keep)
        self.body.addWidget(self.allow)
        text = self.tr(
            "TL Studio uses the network for nothing else, and only when you press Download. Weights as safetensors, "
            "configuration, tokenizer, description and licence are fetched; never code. A download that was broken off "
            "goes on where it was."
        )
        self.body.addWidget(text_label(text, "second", "hub_text", wrap=True))
        model_label, self.model_edit = titled_edit("hub_model", self.tr("&Model"))
        revision_label, self.revision_edit = titled_edit("hub_revision", self.tr("&Revision"))
        address_label, self.address_edit = titled_edit(
            "hub_address", self.tr("&Hub"), str(state.settings.value(_HUB, ""))
        )
        self.model_edit.setPlaceholderText(self.tr("ORG/NAME, or the address of its page"))
        self.revision_edit.setPlaceholderText(self.tr("Branch, tag or commit; the newest if empty"))
        self.address_edit.setPlaceholderText(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        rows = (
            (model_label, self.model_edit),
            (revision_label, self.revision_edit),
            (address_label, self.address_edit),
        )
        for number, (label, edit) in enumerate(rows):
            grid.addWidget(label, number, 0)
            grid.addWidget(edit, number, 1)
            edit.textChanged.connect(self._look)
        self.body.addLayout(grid)
        self.reason = text_label("", "caution", "hub_reason", wrap=True)
        self.body.addWidget(self.reason)
        self.add_button(self.tr("Cancel"), "secondary", "hub_cancel", self.reject)
        self.add_button(self.tr("&Download"), "primary", "hub_download", self._start)
        self._look()
        (self.model_edit if self.allow.isChecked() else self.allow).setFocus()

    @Slot(bool)
    def _keep(self, allowed: bool) -> None:
        self._state.settings.setValue(_ALLOWED, _YES if allowed else "")
        self._look()

    @Slot()
    def _look(self) -> None:
        """Say what is missing."""
        why = "" if self.model_edit.text().strip() else self.tr("Name the model.")
        if not self.allow.isChecked():
            why = self.tr("Downloads are switched off: allow them above.")
        self.reason.setText(why)
        button = self.findChild(QPushButton, "hub_download")
        if button is not None:
            button.setEnabled(not why)
            button.setToolTip(why)

    def _start(self) -> None:
        wanted = (edit.text().strip() for edit in (self.model_edit, self.revision_edit, self.address_edit))
        model = HubModel(*wanted)
        self._state.settings.setValue(_HUB, model.hub)
        self.accept()
        self._download(model)
