"""One sample, large: picture or text, label, split, where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication, QImage, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.icons import keep_icon
from tlstudio.gui.widgets.marked_text import MarkedText
from tlstudio.gui.widgets.samples_model import label_text
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.widgets.thumbnails import load_picture

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

PICTURE = 220
"""Height of the picture in device-independent pixels."""


class Picture(QWidget):
    """Draws an image as large as there is room, on white."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setFixedHeight(PICTURE)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._pixmap = QPixmap()

    def set_image(self, image: QImage) -> None:
        """Show an image; a null one shows nothing."""
        self._pixmap = QPixmap.fromImage(image)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw it in the middle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(Qt.GlobalColor.white)
        painter.drawRoundedRect(self.rect(), 8, 8)
        if not self._pixmap.isNull():
            area = self.rect().adjusted(8, 8, -8, -8)
            size = QSize(self._pixmap.size()).scaled(area.size(), Qt.AspectRatioMode.KeepAspectRatio)
            target = area.adjusted(0, 0, 0, 0)
            target.setSize(size)
            target.moveCenter(area.center())
            painter.drawPixmap(target, self._pixmap)
        painter.end()


class ItemDetails(Card):
    """Everything known of one sample.

    Signals:
        closed(): Back to the overview.
        stepped(int): To the item before (-1) or after (1).
    """

    closed = Signal()
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
        self._picture = Picture("item_picture")
        self.column.addWidget(self._picture)
        self._text = MarkedText("item_text", self.tr("Text of the item"), state)
        self.column.addWidget(self._text, 1)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self._facts = {}
        for row, (key, title) in enumerate(
            (
                ("split", self.tr("Split")),
                ("size", self.tr("Size")),
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
        self.column.addLayout(holder)
        self.column.addStretch()

    def show_item(self, revision: Revision, index: int) -> None:
        """Show a sample by its row in the revision."""
        sample = revision.sample(index)
        self._path = sample.image
        self._label.setText(label_text(sample.label) or self.tr("(no label)"))
        self._picture.setVisible(sample.image is not None)
        self._text.setVisible(sample.text is not None)
        size = ""
        if sample.image is not None:
            self._load(sample.image)
            width = revision.table.column("width")[index].as_py()
            height = revision.table.column("height")[index].as_py()
            size = self.tr("{0} × {1} px").format(width, height) if width else ""  # noqa: RUF001  the sign for sizes
        if sample.text is not None:
            self._text.show_text(sample.text, sample.pair, sample.label, revision.classes)
            size = self.tr("{0} characters").format(len(sample.text))
        facts = {
            "split": sample.split or "",
            "size": size,
            "group": sample.group,
            "source": sample.source,
            "path": str(sample.image or ""),
            "id": sample.id,
        }
        for key, text in facts.items():
            caption, value = self._facts[key]
            value.setText(text)
            caption.setVisible(bool(text))
            value.setVisible(bool(text))
        self._open.setVisible(sample.image is not None)
        self._copy.setVisible(sample.image is not None)

    def _load(self, path: Path) -> None:
        """Read the picture off the window's thread: it may be very large."""
        edge = round(PICTURE * 1.5 * self.devicePixelRatioF())
        self._picture.set_image(QImage())

        def show(image: QImage) -> None:
            if path == self._path:
                self._picture.set_image(image)

        self._state.jobs.start(
            lambda _context: load_picture(path, edge),
            self.tr("Opening {0}").format(path.name),
            show,
            key="item_picture",
        )

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
