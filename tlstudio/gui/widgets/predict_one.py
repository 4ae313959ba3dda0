"""One image or text and what the model says of it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTemporaryDir, Signal
from PySide6.QtGui import QImage, QKeySequence, QPainter, QPainterPath, QPaintEvent, QPixmap, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import TASKS, Modality, Prediction, Sample, TargetInfo
from tlstudio.engine.answers import words
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.bar_list import Bar, BarList
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.drop_area import DropArea
from tlstudio.gui.widgets.figures import label_words, percent
from tlstudio.gui.widgets.file_dialogs import ask_file
from tlstudio.gui.widgets.item_gallery import load_picture
from tlstudio.gui.widgets.marked_text import MarkedText
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

_TOP = 12
_PREVIEW_EDGE = 900


class Picture(QWidget):
    """Draws a picture as large as it fits."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._pixmap: QPixmap | None = None

    def show_picture(self, picture: QImage | None, accessible: str) -> None:
        """Show a picture, or nothing."""
        self._pixmap = None if picture is None else QPixmap.fromImage(picture)
        self.setAccessibleName(accessible)
        self.update()

    def sizeHint(self) -> QSize:  # Qt override
        """A fair size; it takes what it gets."""
        return QSize(320, 220)

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw it in the middle."""
        if self._pixmap is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        fitted = self._pixmap.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        place = self.rect()
        place.setSize(fitted)
        place.moveCenter(self.rect().center())
        corners = QPainterPath()
        corners.addRoundedRect(place.toRectF(), 8, 8)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipPath(corners)
        painter.drawPixmap(place, self._pixmap)


class PredictOne(QWidget):
    """Takes an image (by drop, choice or paste) or a text, and shows the top classes with their confidence.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_one")
        self._state = state
        self._modality: Modality = "image"
        self._target = TargetInfo("classification")
        self._scratch: QTemporaryDir | None = None
        self.drop = DropArea(
            "predict_drop",
            state,
            "image",
            self.tr("Drop an image here, or paste one with Ctrl+V"),
            self.tr("&Choose an image…"),
        )
        self.drop.dropped.connect(self.take_image)
        self.drop.choose_requested.connect(self._ask_image)
        self.picture = Picture("predict_picture")
        self._again = push_button(self.tr("Another &image…"), "link", "predict_another")
        self._again.clicked.connect(self._ask_image)
        shown = QWidget()
        column = QVBoxLayout(shown)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.picture, 1)
        self._name = text_label("", "small", "predict_name", elide=True)
        row = QHBoxLayout()
        row.addWidget(self._name, 1)
        row.addWidget(self._again)
        column.addLayout(row)
        self.text = QPlainTextEdit()
        self.text.setObjectName("predict_text")
        self.text.setAccessibleName(self.tr("Text to predict"))
        self.text.setPlaceholderText(self.tr("Type or paste a text here"))
        self.text.setTabChangesFocus(True)
        self.pair = QLineEdit()
        self.pair.setObjectName("predict_pair")
        self.go = push_button(self.tr("&Predict"), "primary", "predict_go")
        self.go.setEnabled(False)
        self.go.clicked.connect(self._take_text)
        self.text.textChanged.connect(self._show_go)
        self.pair.textChanged.connect(self._show_go)
        for box in (self.text, self.pair):
            QShortcut(QKeySequence("Ctrl+Return"), box, self._take_text, context=Qt.ShortcutContext.WidgetShortcut)
        text_page = QWidget()
        column = QVBoxLayout(text_page)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.pair)
        column.addWidget(self.text, 1)
        row = QHBoxLayout()
        row.addWidget(text_label(self.tr("Ctrl+Enter predicts"), "small", "predict_text_hint"), 1)
        row.addWidget(self.go)
        column.addLayout(row)
        self._input = QStackedWidget()
        self._input.setObjectName("predict_input")
        for page in (self.drop, shown, text_page):
            self._input.addWidget(page)
        left = Card("predict_input_card", margins=(14, 12, 14, 10))
        left.column.addWidget(self._input, 1)
        self._answer = text_label("—", "figure", "predict_answer", elide=True)
        self._sure = text_label("", "second", "predict_sure", elide=True)
        self.bars = BarList("predict_bars", state, self.tr("Classes with their probability"), row_height=30, columns=1)
        self.marked = MarkedText("predict_marked", self.tr("The text with what was found in it"), state)
        self._below = QStackedWidget()
        self._below.setObjectName("predict_below")
        self._below.addWidget(self.bars)
        self._below.addWidget(self.marked)
        right = Card("predict_answer_card", margins=(16, 12, 14, 12), spacing=4)
        right.column.addWidget(text_label(self.tr("PREDICTION"), "caption", "predict_answer_caption"))
        right.column.addWidget(self._answer)
        right.column.addWidget(self._sure)
        right.column.addSpacing(6)
        right.column.addWidget(self._below, 1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addWidget(left, 1)
        layout.addWidget(right, 1)
        self.setAcceptDrops(True)
        QShortcut(
            QKeySequence(QKeySequence.StandardKey.Paste),
            self,
            self.paste,
            context=Qt.ShortcutContext.WidgetWithChildrenShortcut,
        )

    def set_model(self, modality: Modality, target: TargetInfo) -> None:
        """Take what a model takes, and show what it gives.

        Args:
            modality: Images or texts.
            target: What it has learned.
        """
        self._modality, self._target = modality, target
        self._input.setCurrentIndex(0 if modality == "image" else 2)
        asks = target.task == "question_answering"
        self.pair.setVisible(target.pairs)
        self.pair.setPlaceholderText(self.tr("Type a question about the text") if asks else self.tr("The second text"))
        self.pair.setAccessibleName(self.tr("Question") if asks else self.tr("Second text"))
        self._below.setCurrentIndex(1 if TASKS[target.task].label == "spans" else 0)
        self.clear()

    def clear(self) -> None:
        """Forget the last answer."""
        self._answer.setText("—")
        self._sure.setText(self.tr("What the model says, and how sure it is, appears here."))
        self.bars.show_bars(())
        self.marked.show_text("")
        self._show_go()
        if self._modality == "image":
            self._input.setCurrentIndex(0)

    @property
    def answer(self) -> str:
        """The predicted label as it is shown."""
        return self._answer.text()

    def take_image(self, path: Path) -> None:
        """Predict an image file."""
        self._name.setText(path.name)
        self._waiting()

        def work(_context: JobContext) -> QImage | None:
            return load_picture(path, _PREVIEW_EDGE)

        def done(picture: QImage | None) -> None:
            self.picture.show_picture(picture, path.name)
            if picture is not None:
                self._input.setCurrentIndex(1)

        self._state.jobs.start(work, self.tr("Opening the image"), done, key="predict picture")
        self.sample_given.emit(Sample(id=path.name, image=path, source=path.name))

    def paste(self) -> None:
        """Predict what is in the clipboard: an image file, or a text."""
        data = QApplication.clipboard().mimeData()
        urls = [url for url in data.urls() if url.isLocalFile()]
        if self._modality == "image" and urls:
            self.take_image(Path(urls[0].toLocalFile()))
        elif self._modality == "image" and data.hasImage():
            self._scratch = self._scratch or QTemporaryDir()
            path = Path(self._scratch.filePath("pasted.png"))
            if QApplication.clipboard().image().save(str(path)):
                self.take_image(path)
        elif self._modality == "text" and data.hasText():
            self.text.setPlainText(data.text())
            self._take_text()

    def show_prediction(self, sample: Sample, prediction: Prediction) -> None:
        """Show what the model says of a sample."""
        confidence = prediction.confidence
        if TASKS[self._target.task].label == "spans":
            self._show_spans(sample, prediction)
            return
        self._answer.setText(label_words(prediction.value))
        several = isinstance(prediction.value, tuple)
        if confidence is not None and not several:
            self._sure.setText(self.tr("{0} sure").format(percent(confidence)))
        elif several:
            self._sure.setText(self.tr("Every class above one half"))
        else:
            self._sure.setText("")
        chosen = prediction.value if isinstance(prediction.value, tuple) else (prediction.value,)
        self.bars.show_bars(
            [Bar(name, score, percent(score), name in chosen) for name, score in prediction.scores[:_TOP]]
        )

    def _show_spans(self, sample: Sample, prediction: Prediction) -> None:
        found = words(prediction.value, sample) if prediction.value else ""
        if self._target.task == "question_answering":
            self._answer.setText(found or self.tr("No answer in this text"))
        else:
            self._answer.setText(label_words(prediction.value) if prediction.value else self.tr("Nothing found"))
        self._answer.setToolTip(found)
        asked = self._target.task == "question_answering"
        sentence = self.tr("{0} sure") if asked else self.tr("{0} sure of its least certain word")
        self._sure.setText(sentence.format(percent(prediction.confidence or 0.0)))
        self.marked.show_text(sample.text or "", None, prediction.value, self._target.classes)

    def show_refusal(self, sentence: str) -> None:
        """Say why there is no prediction."""
        self._answer.setText("—")
        self._sure.setText(sentence)
        self._sure.setToolTip(sentence)
        self.bars.show_bars(())

    def _waiting(self) -> None:
        self._answer.setText("…")
        self._sure.setText("")

    def _take_text(self) -> None:
        text, pair = self.text.toPlainText().strip(), self.pair.text().strip()
        if self.go.isEnabled():
            self._waiting()
            second = pair if self._target.pairs else None
            self.sample_given.emit(Sample(id="text", text=text, pair=second, source=self.tr("the text")))

    def _show_go(self) -> None:
        complete = bool(self.pair.text().strip()) or not self._target.pairs
        self.go.setEnabled(complete and bool(self.text.toPlainText().strip()))

    def _ask_image(self) -> None:
        pattern = self.tr("Images (*.png *.jpg *.jpeg *.webp *.bmp *.gif *.tif *.tiff)")
        ask_file(self._state, self, "predict_image", self.tr("Choose an image"), self.take_image, pattern=pattern)
