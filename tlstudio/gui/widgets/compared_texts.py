"""Expected and written text below each other, with the words that differ marked."""

from __future__ import annotations

import html
from difflib import SequenceMatcher

from PySide6.QtWidgets import QVBoxLayout, QWidget

from tlstudio.api import Label
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import mixed
from tlstudio.gui.widgets.marked_text import MarkedText
from tlstudio.gui.widgets.texts import text_label

_MOST_COMPARED = 400  # words: beyond, finding what differs would hold the window up


class ComparedTexts(QWidget):
    """Two texts or two ways of marking one: what was expected, and what a model gave.

    Args:
        name: Object name.
        state: Gives the theme.
        parent: Parent widget.
    """

    def __init__(self, name: str, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._state = state
        self._texts: tuple[str, str] | None = None
        self._captions = {
            "expected": text_label(self.tr("EXPECTED"), "caption", f"{name}_expected_caption"),
            "predicted": text_label(self.tr("PREDICTED"), "caption", f"{name}_predicted_caption"),
        }
        self.expected = MarkedText(f"{name}_expected", self.tr("What was expected"), state)
        self.predicted = MarkedText(f"{name}_predicted", self.tr("What was predicted"), state)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for caption, box in zip(self._captions.values(), (self.expected, self.predicted), strict=True):
            box.setMinimumHeight(56)
            column.addWidget(caption)
            column.addWidget(box, 1)
        state.theme_changed.connect(self._mark)

    def show_texts(self, expected: str | None, predicted: str | None, *, titled: bool = False) -> None:
        """Show two texts.

        Args:
            expected: What was expected; `None`: it is not known.
            predicted: What was written; `None`: nothing was.
            titled: Whether a text that is alone has its caption, too: it stands beside others.
        """
        self._texts = (expected, predicted) if expected is not None and predicted is not None else None
        self._show_boxes(expected is not None, predicted is not None, titled=titled)
        self.expected.show_text(expected or "")
        self.predicted.show_text(predicted or "")
        self._mark()

    def show_spans(
        self, text: str, pair: str | None, expected: Label, predicted: Label, classes: tuple[str, ...]
    ) -> None:
        """Show a text twice: with the marks that were expected and with those that were predicted."""
        self._texts = None
        self._show_boxes(expected is not None, predicted is not None)
        self.expected.show_text(text, pair, expected, classes)
        self.predicted.show_text(text, None if expected is not None else pair, predicted, classes)

    def _show_boxes(self, expected: bool, predicted: bool, *, titled: bool = False) -> None:
        for name, box, there in (("expected", self.expected, expected), ("predicted", self.predicted, predicted)):
            box.setVisible(there)
            self._captions[name].setVisible(there and (titled or (expected and predicted)))

    def _mark(self) -> None:
        if self._texts is None:
            return
        words = [text.split() for text in self._texts]
        if max(map(len, words)) > _MOST_COMPARED:
            return
        ground = mixed(self._state.theme.bad, self._state.theme.surface, 0.25)
        matcher = SequenceMatcher(None, words[0], words[1], autojunk=False)
        for box, own, places in zip(
            (self.expected, self.predicted),
            words,
            (
                [code[1:3] for code in matcher.get_opcodes() if code[0] != "equal"],
                [code[3:5] for code in matcher.get_opcodes() if code[0] != "equal"],
            ),
            strict=True,
        ):
            parts = [html.escape(word) for word in own]
            for start, end in places:
                for place in range(start, end):
                    parts[place] = f'<span style="background-color:{ground}">{parts[place]}</span>'
            box.setHtml(f"<p>{' '.join(parts)}</p>")
