"""One sample, large: what it is, its label, its split, where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from tlstudio.api import Sample
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.sample_view import Case, SampleView
from tlstudio.gui.widgets.samples_model import short_label
from tlstudio.gui.widgets.texts import push_button, text_label

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

PICTURE = 220
"""Height of the picture in device-independent pixels."""


class ItemDetails(Card):
    """Everything known of one sample.

    Signals:
        closed(): Back to the overview.
        stepped(int): To the item before (-1) or after (1).
        similar_wanted(): Show what is like it.
    """

    closed = Signal()
    similar_wanted = Signal()
    stepped = Signal(int)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("item_details", parent, spacing=8)
        self._state = state
        self._path: Path | None = None
        head = QHBoxLayout()
        head.setSpacing(2)
        head.addWidget(text_label(self.tr("ITEM"), "caption", "item_caption"), 1)
        for name, icon, title, pressed in (
            ("item_previous", "left", self.tr("Previous item"), self._previous),
            ("item_next", "right", self.tr("Next item"), self._next),
            ("item_close", "close", self.tr("Back to the overview"), self.closed.emit),
        ):
            button = QToolButton()
            button.setObjectName(name)
            button.setAccessibleName(title)
            button.setToolTip(title)
            button.setProperty("role", "quiet")
            keep_icon(button, state, icon, "second", 14)
            button.clicked.connect(pressed)
            head.addWidget(button)
        self.column.addLayout(head)
        self._label = text_label("", "heading", "item_label", wrap=True)
        self.column.addWidget(self._label)
        self.view = SampleView("item_view", state, picture_height=PICTURE)
        self.column.addWidget(self.view, 1)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self._facts = {}
        for row, (key, title) in enumerate(
            (
                ("split", self.tr("Split")),
                ("size", self.tr("Size")),
                ("length", self.tr("Length")),
                ("user", self.tr("User")),
                ("item", self.tr("Item")),
                ("group", self.tr("Group")),
                ("source", self.tr("Source")),
                ("path", self.tr("File")),
                ("id", self.tr("Id")),
            )
        ):
            caption = text_label(title, "second", f"item_{key}_title")
            value = text_label("", "", f"item_{key}", elide=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._grid.addWidget(caption, row, 0)
            self._grid.addWidget(value, row, 1)
            self._facts[key] = (caption, value)
        self.column.addLayout(self._grid)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        self._open = push_button(self.tr("Open file"), "secondary", "item_open")
        self._open.clicked.connect(self._open_file)
        self._copy = push_button(self.tr("Copy path"), "secondary", "item_copy")
        self._copy.clicked.connect(self._copy_path)
        buttons.addWidget(self._open)
        buttons.addWidget(self._copy)
        buttons.addStretch()
        holder = QVBoxLayout()
        holder.addLayout(buttons)
        self.similar_button = push_button(
            self.tr("&Similar items"),
            "secondary",
            "item_similar",
            hint=self.tr("As the newest run on these data sees it"),
        )
        self.similar_button.clicked.connect(self.similar_wanted)
        holder.addWidget(self.similar_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.column.addLayout(holder)
        self.column.addStretch()

    def show_item(self, revision: Revision, index: int, *, searchable: bool = False) -> None:
        """Show a sample by its row in the revision.

        Args:
            revision: The revision.
            index: The row.
            searchable: Whether what is like it can be looked for.
        """
        self.similar_button.setVisible(searchable)
        sample = revision.sample(index)
        kind = revision.label_kind
        self._path = sample.image or sample.audio
        told = short_label(revision, index) if sample.label is not None else ""
        self._label.setText(told or self.tr("(no label)"))
        # Texts and numbers are shown as a whole.
        self._label.setVisible(kind != "none" and (kind not in ("text", "numbers") or sample.label is None))
        self.view.show_case(Case(sample, kind, sample.label, classes=revision.classes))
        facts = {
            "split": sample.split or "",
            "size": self._size(revision, index) if sample.image is not None else "",
            "length": self._length(revision, index, sample),
            "user": sample.user or "",
            "item": sample.item or "",
            "group": sample.group,
            "source": sample.source,
            "path": str(self._path or ""),
            "id": sample.id,
        }
        for key, text in facts.items():
            caption, value = self._facts[key]
            value.setText(text)
            caption.setVisible(bool(text))
            value.setVisible(bool(text))
        self._open.setVisible(self._path is not None)
        self._copy.setVisible(self._path is not None)

    def _size(self, revision: Revision, index: int) -> str:
        width, height = (revision.table.column(name)[index].as_py() for name in ("width", "height"))
        return self.tr("{0} × {1} px").format(width, height) if width else ""  # noqa: RUF001  the sign for sizes

    def _length(self, revision: Revision, index: int, sample: Sample) -> str:
        if sample.audio is not None:
            seconds = revision.table.column("seconds")[index].as_py()
            return self.tr("{0} s").format(f"{seconds:.2f}") if seconds else ""
        return self.tr("{0} characters").format(len(sample.text)) if sample.text is not None else ""

    @Slot()
    def _previous(self) -> None:
        self.stepped.emit(-1)

    @Slot()
    def _next(self) -> None:
        self.stepped.emit(1)

    @Slot()
    def _open_file(self) -> None:
        if self._path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path)))

    @Slot()
    def _copy_path(self) -> None:
        if self._path is not None:
            QGuiApplication.clipboard().setText(str(self._path))
