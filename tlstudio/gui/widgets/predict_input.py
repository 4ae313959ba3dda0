"""What one item is given as on the Predict page: an image or sound file, or a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, QTemporaryDir, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import MODALITIES, Modality, Sample, TargetInfo
from tlstudio.api.images import IMAGE_SUFFIXES
from tlstudio.api.sounds import SOUND_SUFFIXES
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.drop_area import DropArea
from tlstudio.gui.widgets.file_dialogs import ask_file
from tlstudio.gui.widgets.sample_view import Case, SampleView
from tlstudio.gui.widgets.texts import push_button, text_label


class FileInput(QStackedWidget):
    """Takes an image or a sound by drop, choice or paste, and shows it.

    Args:
        modality: ``"image"`` or ``"audio"``.
        state: What the pages share.
        name: Beginning of the object names; ``"predict_<modality>"`` if empty.
        parent: Parent widget.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, modality: Modality, state: AppState, *, name: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        name = name or f"predict_{modality}"
        self.setObjectName(f"{name}_input")
        self._state = state
        self._modality = modality
        self._scratch: QTemporaryDir | None = None
        images = modality == "image"
        self.drop = DropArea(
            f"{name}_drop",
            state,
            MODALITIES[modality].icon,
            self.tr("Drop an image here, or paste one with Ctrl+V") if images else self.tr("Drop a sound file here"),
            self.tr("&Choose an image…") if images else self.tr("&Choose a recording…"),
        )
        self.drop.dropped.connect(self.take_file)
        self.drop.choose_requested.connect(self._ask)
        self.view = SampleView(f"{name}_view", state)
        again = push_button(
            self.tr("Another &image…") if images else self.tr("Another &recording…"), "link", f"{name}_another"
        )
        again.clicked.connect(self._ask)
        self._name = text_label("", "small", f"{name}_name", elide=True)
        row = QHBoxLayout()
        row.addWidget(self._name, 1)
        row.addWidget(again)
        shown = QWidget()
        column = QVBoxLayout(shown)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.view, 1)
        column.addLayout(row)
        self.addWidget(self.drop)
        self.addWidget(shown)

    def clear(self) -> None:
        """Ask for a file again."""
        self.setCurrentIndex(0)

    def take_file(self, path: Path) -> None:
        """Predict a file."""
        self._name.setText(path.name)
        if self._modality == "image":
            sample = Sample(id=path.name, image=path, source=path.name)
        else:
            sample = Sample(id=path.name, audio=path, source=path.name)
        self.view.show_case(Case(sample, "name"))
        self.setCurrentIndex(1)
        self.sample_given.emit(sample)

    def paste(self) -> bool:
        """Predict the file in the clipboard, or an image that was copied; tell whether there is one."""
        data = QApplication.clipboard().mimeData()
        urls = [url for url in data.urls() if url.isLocalFile()]
        if urls:
            self.take_file(Path(urls[0].toLocalFile()))
            return True
        if self._modality == "image" and data.hasImage():
            self._scratch = self._scratch or QTemporaryDir()
            path = Path(self._scratch.filePath("pasted.png"))
            if QApplication.clipboard().image().save(str(path)):
                self.take_file(path)
                return True
        return False

    def _ask(self) -> None:
        images = self._modality == "image"
        suffixes = " ".join(f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES if images else SOUND_SUFFIXES))
        ask_file(
            self._state,
            self,
            f"predict_{self._modality}",
            self.tr("Choose an image") if images else self.tr("Choose a recording"),
            self.take_file,
            pattern=(self.tr("Images ({0})") if images else self.tr("Sounds ({0})")).format(suffixes),
        )


class TextInput(QWidget):
    """Takes a text, and a second one where the model wants it.

    Args:
        name: Beginning of the object names.
        parent: Parent widget.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, name: str = "predict", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"{name}_text_input")
        self._pairs = False
        self.text = QPlainTextEdit()
        self.text.setObjectName(f"{name}_text")
        self.text.setAccessibleName(self.tr("Text to predict"))
        self.text.setPlaceholderText(self.tr("Type or paste a text here"))
        self.text.setTabChangesFocus(True)
        self.pair = QLineEdit()
        self.pair.setObjectName(f"{name}_pair")
        self.pair.setAccessibleName(self.tr("Second text"))
        self.go = push_button(self.tr("&Predict"), "primary", f"{name}_go")
        self.go.setEnabled(False)
        self.go.clicked.connect(self.give)
        self.text.textChanged.connect(self._show_go)
        self.pair.textChanged.connect(self._show_go)
        for box in (self.text, self.pair):
            QShortcut(QKeySequence("Ctrl+Return"), box, self.give, context=Qt.ShortcutContext.WidgetShortcut)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.pair)
        column.addWidget(self.text, 1)
        row = QHBoxLayout()
        row.addWidget(text_label(self.tr("Ctrl+Enter predicts"), "small", f"{name}_text_hint"), 1)
        row.addWidget(self.go)
        column.addLayout(row)

    def set_target(self, target: TargetInfo) -> None:
        """Ask for what a model of this target wants."""
        self._pairs = target.pairs
        asks = target.task == "question_answering"
        self.pair.setVisible(target.pairs)
        self.pair.setPlaceholderText(self.tr("Type a question about the text") if asks else self.tr("The second text"))
        self.pair.setAccessibleName(self.tr("Question") if asks else self.tr("Second text"))
        self._show_go()

    def paste(self) -> bool:
        """Predict the text in the clipboard; tell whether there is one."""
        data = QApplication.clipboard().mimeData()
        if not data.hasText():
            return False
        self.text.setPlainText(data.text())
        self.give()
        return True

    def give(self) -> None:
        """Predict what is written."""
        text, pair = self.text.toPlainText().strip(), self.pair.text().strip()
        if self.go.isEnabled():
            second = pair if self._pairs else None
            self.sample_given.emit(Sample(id="text", text=text, pair=second, source=self.tr("the text")))

    def _show_go(self) -> None:
        complete = bool(self.pair.text().strip()) or not self._pairs
        self.go.setEnabled(complete and bool(self.text.toPlainText().strip()))


class ImageTextInput(QWidget):
    """Takes an image and a text that belongs to it.

    Args:
        state: What the pages share.
        parent: Parent widget.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_both_input")
        self._path: Path | None = None
        self.image = FileInput("image", state, name="predict_both_image")
        self.image.sample_given.connect(self._take_image)
        self.text = TextInput("predict_both")
        self.text.text.setPlaceholderText(self.tr("Type a question or a text that belongs to the image"))
        self.text.sample_given.connect(self._take_text)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self.image, 3)
        column.addWidget(self.text, 2)

    def set_target(self, target: TargetInfo) -> None:
        """Ask for what a model of this target wants."""
        self.text.set_target(replace(target, pairs=False))

    def clear(self) -> None:
        """Ask for an image again."""
        self._path = None
        self.image.clear()

    def take_file(self, path: Path) -> None:
        """Take an image; it is predicted once there is a text."""
        self.image.take_file(path)

    def paste(self) -> bool:
        """Take the image or the text in the clipboard; tell whether there is one."""
        return self.image.paste() or self.text.paste()

    def _take_image(self, sample: Sample) -> None:
        self._path = sample.image
        self.text.give()

    def _take_text(self, sample: Sample) -> None:
        if self._path is not None:
            self.sample_given.emit(Sample(self._path.name, image=self._path, text=sample.text, source=self._path.name))
