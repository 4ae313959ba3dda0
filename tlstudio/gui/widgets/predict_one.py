"""One item of any kind and what the model says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.api import Cell, Modality, Prediction, Sample, TargetInfo
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.found_items import FoundItems
from tlstudio.gui.widgets.predict_answer import PredictAnswer
from tlstudio.gui.widgets.predict_input import FileInput, ImageTextInput, TextInput
from tlstudio.gui.widgets.row_input import RowInput
from tlstudio.gui.widgets.texts import text_label


class PredictOne(QWidget):
    """Takes an item at the left, in the way of its kind, and shows the answer at the right and what is like it below.

    Signals:
        sample_given(object): A `Sample` is to be predicted.
    """

    sample_given = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_one")
        self._modality: Modality = "image"
        self._pairs = False
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
        self._sample: Sample | None = None
        self.user = QLineEdit()
        self.user.setObjectName("predict_user")
        self.user.setAccessibleName(self.tr("User"))
        self.user.setPlaceholderText(self.tr("Who it is for, as the data name them"))
        self.user.setClearButtonEnabled(True)
        self.user.returnPressed.connect(self._give_again)
        self._for_whom = QWidget()
        self._for_whom.setObjectName("predict_for_whom")
        who = QHBoxLayout(self._for_whom)
        who.setContentsMargins(0, 0, 0, 4)
        who.addWidget(text_label(self.tr("User"), "second", "predict_user_title"))
        who.addWidget(self.user, 1)
        left = Card("predict_input_card", margins=(14, 12, 14, 10))
        left.column.addWidget(self._for_whom)
        left.column.addWidget(self._input, 1)
        self.answer_card = PredictAnswer(state)
        self.found = FoundItems(state)
        self.user.textChanged.connect(self.found.set_user)
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(left, 1)
        row.addWidget(self.answer_card, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addLayout(row, 1)
        layout.addWidget(self.found)
        QShortcut(
            QKeySequence(QKeySequence.StandardKey.Paste),
            self,
            self.paste,
            context=Qt.ShortcutContext.WidgetWithChildrenShortcut,
        )

    def set_model(self, modality: Modality, target: TargetInfo, run_id: str = "", *, keep: bool = False) -> bool:
        """Take what a model takes, and show what it gives.

        Args:
            modality: What its items are.
            target: What it has learned.
            run_id: The run of the open project that it is of; ``""``: it is of none.
            keep: Whether an item that another model was given stays, where this one takes the same.

        Returns:
            Whether an item has stayed; it is given again.
        """
        for_whom = target.task == "recommendation"
        asked = self._modality, self._pairs, self._for_whom.isVisibleTo(self)
        stays = keep and self._sample is not None and asked == (modality, target.pairs, for_whom)
        self._modality, self._pairs = modality, target.pairs
        self._input.setCurrentWidget(self._inputs[modality])
        self.text.set_target(target)
        self.both.set_target(target)
        self.answer_card.set_target(target)
        self._for_whom.setVisible(for_whom)
        self.found.set_run(run_id, target)
        if stays:
            self._give_again()
        else:
            self.user.clear()
            self.clear()
        return stays

    def set_row(self, values: Mapping[str, Cell]) -> None:
        """Take rows of the columns of this one; empty: they are not known."""
        self.row.set_example(values)

    def clear(self) -> None:
        """Forget the last answer."""
        self.answer_card.clear()
        self.image.clear()
        self.sound.clear()
        self.both.clear()
        self._sample = None
        self.found.set_sample(None)

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
        self._sample = sample
        self.answer_card.show_waiting()
        self.found.set_sample(sample)
        user = self.user.text().strip() if self._for_whom.isVisibleTo(self) else ""
        self.sample_given.emit(replace(sample, user=user) if user else sample)

    def _give_again(self) -> None:
        if self._sample is not None:
            self._give(self._sample)
