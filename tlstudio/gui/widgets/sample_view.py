"""One sample of any kind, with what was expected and what was predicted of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.api import Label, LabelKind, Sample
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.compared_texts import ComparedTexts
from tlstudio.gui.widgets.figures import label_words
from tlstudio.gui.widgets.image_view import ImageView
from tlstudio.gui.widgets.marked_text import MarkedText
from tlstudio.gui.widgets.row_view import RowView
from tlstudio.gui.widgets.sound_view import SoundView
from tlstudio.gui.widgets.texts import text_label

_View = TypeVar("_View", bound=QWidget)
_STRETCHES = (1, 1, 1, 2, 2)  # image, sound, row, text, texts


@dataclass(frozen=True)
class Case:
    """A sample and what is said of it.

    Attributes:
        sample: The sample.
        kind: What its labels are made of.
        expected: Its label; `None`: it is not to be shown.
        predicted: What a model says; `None`: nothing.
        classes: All classes in their order.
    """

    sample: Sample
    kind: LabelKind
    expected: Label = None
    predicted: Label = None
    classes: tuple[str, ...] = ()


class SampleView(QWidget):
    """Shows a `Case`; what is needed for its kind is made when it is first needed.

    Masks and boxes are drawn over the image, forecasts behind their series, marks in their text; names and numbers
    stand in a line below where there is something to compare them with.

    Args:
        name: Object name; those of the views begin with it.
        state: What the pages share.
        picture_height: Fixed height of pictures; 0: they take what there is.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, *, picture_height: int = 0, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._state = state
        self._picture_height = picture_height
        self.case: Case | None = None
        self.image: ImageView | None = None
        self.sound: SoundView | None = None
        self.row: RowView | None = None
        self.text: MarkedText | None = None
        self.texts: ComparedTexts | None = None
        self._answer = text_label("", "", f"{name}_answer", wrap=True)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._places = [QVBoxLayout() for _ in _STRETCHES]
        for layout, stretch in zip(self._places, _STRETCHES, strict=True):
            layout.setContentsMargins(0, 0, 0, 0)
            self._column.addLayout(layout, stretch)
        self._column.addWidget(self._answer)
        self._answer.hide()

    def clear(self) -> None:
        """Show nothing."""
        self.case = None
        for view in (self.image, self.sound, self.row, self.text, self.texts, self._answer):
            if view is not None:
                view.hide()

    def show_case(self, case: Case) -> None:
        """Show a sample."""
        self.clear()
        self.case = case
        sample = case.sample
        if sample.image is not None:
            self._show_image(case)
        if sample.audio is not None:
            if self.sound is None:
                self.sound = self._added(SoundView(f"{self.objectName()}_sound", self._state), 1)
            self.sound.show_sound(sample.audio)
            self.sound.show()
        if sample.values is not None or (case.kind == "numbers" and sample.text is None):
            self._show_row(case)
        if sample.text is not None and case.kind != "spans":
            if self.text is None:
                self.text = self._added(
                    MarkedText(f"{self.objectName()}_text", self.tr("Text of the item"), self._state), 3
                )
                self.text.setMinimumHeight(72)
            self.text.show_text(sample.text, sample.pair)
            self.text.show()
        self._show_texts(case)
        if case.kind in ("name", "names", "number") and case.predicted is not None and case.expected is not None:
            self._answer.setText(
                self.tr("Expected {0}, predicted {1}").format(label_words(case.expected), label_words(case.predicted))
            )
            self._answer.show()

    def _show_image(self, case: Case) -> None:
        if case.sample.image is None:
            return
        if self.image is None:
            view = ImageView(f"{self.objectName()}_image", self._state, height=self._picture_height)
            self.image = self._added(view, 0)
        if case.kind in ("mask", "boxes"):
            self.image.show_image(case.sample.image, case.expected, case.predicted, case.classes)
        else:
            self.image.show_image(case.sample.image)
        self.image.show()

    def _show_row(self, case: Case) -> None:
        if self.row is None:
            self.row = self._added(RowView(f"{self.objectName()}_row", self._state), 2)
        expected, predicted = (_numbers(label) for label in (case.expected, case.predicted))
        self.row.show_row(case.sample.values or {}, expected, predicted)
        self.row.show()

    def _show_texts(self, case: Case) -> None:
        spans = case.kind == "spans" and case.sample.text is not None
        written = case.kind == "text" and (case.expected is not None or case.predicted is not None)
        if not spans and not written:
            return
        if self.texts is None:
            self.texts = self._added(ComparedTexts(f"{self.objectName()}_texts", self._state), 4)
        if spans:
            nothing = case.expected is None and case.predicted is None
            expected = () if nothing else case.expected  # at least the text itself
            self.texts.show_spans(case.sample.text or "", case.sample.pair, expected, case.predicted, case.classes)
        else:
            sample = case.sample
            others = sample.text is not None or sample.image is not None or sample.audio is not None
            parts = (None if part is None else str(part) for part in (case.expected, case.predicted))
            self.texts.show_texts(*parts, titled=others)
        self.texts.show()

    def _added(self, view: _View, place: int) -> _View:
        """Put a view in its place: what the sample is stands above what is said of it, whichever is made first."""
        self._places[place].addWidget(view)
        return view


def _numbers(label: Label) -> tuple[float, ...]:
    return tuple(part for part in label if isinstance(part, float)) if isinstance(label, tuple) else ()
