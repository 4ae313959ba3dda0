"""One item of any kind and what the model says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QWidget

from tlstudio.api import Cell, Modality, Prediction, Sample, TargetInfo
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.predict_answer import PredictAnswer
from tlstudio.gui.widgets.predict_input import FileInput, ImageTextInput, TextInput
from tlstudio.gui.widgets.row_input import RowInput


class PredictOne(QWidget):
    """Takes an item at the left, in the way of its kind, and shows the answer at the right.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_one")
        self._modality: Modality = "image"
        self.image, self.sound = FileInput("image", state), FileInput("audio", state)
        self.text, self.row, self.both = TextInput(), RowInput(state), ImageTextInput(state)
        self._inputs: dict[Modality, FileInput | TextInput | RowInput | ImageTextInput] = {
            "image": self.image,
            "audio": self.sound,
            "text": self.text,
            "table": self.row,
            "image+text": self.both,
        }
        self._input = QStackedWidget()
        self._input.setObjectName("predict_input")
        for page in self._inputs.values():
            self._input.addWidget(page)
            page.sample_given.connect(self._give)
        left = Card("predict_input_card", margins=(14, 12, 14, 10))
        left.column.addWidget(self._input, 1)
        self.answer_card = PredictAnswer(state)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addWidget(left, 1)
        layout.addWidget(self.answer_card, 1)
        QShortcut(
            QKeySequence(QKeySequence.StandardKey.Paste),
            self,
            self.paste,
            context=Qt.ShortcutContext.WidgetWithChildrenShortcut,
        )

    def set_model(self, modality: Modality, target: TargetInfo) -> None:
        """Take what a model takes, and show what it gives.

        Args:
            modality: What its items are.
            target: What it has learned.
        """
        self._modality = modality
        self._input.setCurrentWidget(self._inputs[modality])
        self.text.set_target(target)
        self.both.set_target(target)
        self.answer_card.set_target(target)
        self.clear()

    def set_row(self, values: Mapping[str, Cell]) -> None:
        """Take rows of the columns of this one; empty: they are not known."""
        self.row.set_example(values)

    def clear(self) -> None:
        """Forget the last answer."""
        self.answer_card.clear()
        self.image.clear()
        self.sound.clear()
        self.both.clear()

    @property
    def answer(self) -> str:
        """The predicted label as it is shown."""
        return self.answer_card.answer

    def take_file(self, path: Path) -> None:
        """Predict a file of the kind that the model takes."""
        page = self._inputs[self._modality]
        if not isinstance(page, TextInput):
            page.take_file(path)

    def paste(self) -> None:
        """Predict what is in the clipboard."""
        self._inputs[self._modality].paste()

    def show_prediction(self, sample: Sample, prediction: Prediction) -> None:
        """Show what the model says of a sample."""
        self.answer_card.show_prediction(sample, prediction)

    def show_refusal(self, sentence: str) -> None:
        """Say why there is no prediction."""
        self.answer_card.show_refusal(sentence)

    def _give(self, sample: Sample) -> None:
        self.answer_card.show_waiting()
        self.sample_given.emit(sample)
