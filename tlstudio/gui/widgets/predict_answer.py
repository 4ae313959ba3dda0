"""What the model says of one item, in the way of its task."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QStackedWidget, QWidget

from tlstudio.api import TASKS, LabelKind, Prediction, Rejected, Sample, TargetInfo, label_names
from tlstudio.engine.answers import words
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.bar_list import Bar, BarList
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import label_words, percent
from tlstudio.gui.widgets.legend import Legend, LegendEntry
from tlstudio.gui.widgets.picture import is_ground
from tlstudio.gui.widgets.sample_view import Case, SampleView
from tlstudio.gui.widgets.texts import text_label

_TOP = 12
_SEEN: frozenset[LabelKind] = frozenset({"spans", "mask", "boxes", "numbers", "text"})
"""Kinds of label that are shown in or beside their sample; all others are told by bars."""


class PredictAnswer(Card):
    """Shows a prediction: what it is in large letters, how sure it is, and the whole of it below."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("predict_answer_card", parent, margins=(16, 12, 14, 12), spacing=4)
        self._target = TargetInfo("classification")
        self._answer = text_label("—", "figure", "predict_answer", elide=True)
        self.sure = text_label("", "second", "predict_sure", elide=True)
        self.other = text_label("", "second", "predict_other_answer", elide=True)
        self.other.hide()
        self.bars = BarList("predict_bars", state, self.tr("Classes with their probability"), row_height=30, columns=1)
        self.view = SampleView("predict_seen", state)
        self._below = QStackedWidget()
        self._below.setObjectName("predict_below")
        self._below.addWidget(self.bars)
        self._below.addWidget(self.view)
        self.column.addWidget(text_label(self.tr("PREDICTION"), "caption", "predict_answer_caption"))
        self.column.addWidget(self._answer)
        self.column.addWidget(self.sure)
        self.column.addWidget(self.other)
        self.column.addSpacing(6)
        self.legend = Legend("predict_legend")
        self.legend.hide()
        self.column.addWidget(self.legend)
        self.column.addWidget(self._below, 1)
        self._state = state
        self._asked = ""
        state.theme_changed.connect(self._show_legend)

    @property
    def answer(self) -> str:
        """The predicted label as it is shown."""
        return self._answer.text()

    def set_target(self, target: TargetInfo) -> None:
        """Show what a model of this target gives."""
        self._target = target
        self._below.setCurrentIndex(1 if TASKS[target.task].label in _SEEN else 0)
        self.clear()

    def clear(self) -> None:
        """Forget the last answer."""
        self._say("—", self.tr("What the model says, and how sure it is, appears here."))
        self.bars.show_bars(())
        self.view.clear()

    def show_waiting(self) -> None:
        """Show that the answer is on its way."""
        self._say("…", "")

    def show_refusal(self, sentence: str) -> None:
        """Say why there is no prediction."""
        self._say("—", sentence)
        self.sure.setToolTip(sentence)
        self.bars.show_bars(())
        self.view.clear()

    def _say(self, answer: str, sure: str) -> None:
        self._answer.setText(answer)
        self._answer.setToolTip("")
        self._answer.show()
        self.sure.setText(sure)
        self.clear_other()

    def show_prediction(self, sample: Sample, prediction: Prediction) -> None:
        """Show what the model says of a sample."""
        kind = TASKS[self._target.task].label
        if kind in _SEEN:
            self._show_seen(sample, prediction, kind)
            return
        confidence, value = prediction.confidence, prediction.value
        several = isinstance(value, tuple)
        sure = "" if confidence is None else self.tr("{0} sure").format(percent(confidence))
        self._say(label_words(value), self.tr("Every class above one half") if several else sure)
        chosen = value if isinstance(value, tuple) else (value,)
        self.bars.show_bars(
            [Bar(name, score, percent(score), name in chosen) for name, score in prediction.scores[:_TOP]]
        )

    def show_other(self, title: str, sample: Sample, answer: Prediction | Rejected) -> None:
        """Show beside it what another run says of the same sample.

        Args:
            title: Which run.
            sample: The sample.
            answer: What it says.
        """
        if isinstance(answer, Rejected):
            self.say_other(title, f"{answer.reason} {answer.remedy}".strip())
            return
        value, sure = answer.value, answer.confidence
        told = label_words(value) if value is None or isinstance(value, float) else words(value, sample) or "—"
        self.say_other(title, told if sure is None else self.tr("{0}, {1} sure").format(told, percent(sure)))
        scores = dict(answer.scores)
        self.bars.show_bars([replace(bar, other=scores.get(bar.name)) for bar in self.bars.bars])
        self._asked = title if scores and self.bars.bars else ""
        self._show_legend()

    @Slot()
    def _show_legend(self) -> None:
        """Say which of two bars is whose, where there are two."""
        theme = self._state.theme
        self.legend.set_theme(theme)
        entries = (LegendEntry(self.tr("Chosen model"), theme.accent), LegendEntry(self._asked, theme.second))
        self.legend.show_entries(entries)
        self.legend.setVisible(bool(self._asked))

    def say_other(self, title: str, sentence: str) -> None:
        """Say something of the run that is asked beside it, such as why it cannot answer."""
        self.other.setText(f"{title}: {sentence}")
        self.other.setToolTip(self.other.text())
        self.other.show()

    def clear_other(self) -> None:
        """Forget what another run said."""
        self.other.hide()
        self._asked = ""
        self._show_legend()
        self.bars.show_bars([replace(bar, other=None) for bar in self.bars.bars])

    def _show_seen(self, sample: Sample, prediction: Prediction, kind: LabelKind) -> None:
        value, confidence = prediction.value, prediction.confidence
        sure = "" if confidence is None else self.tr("{0} sure").format(percent(confidence))
        if kind == "spans":
            self._say_spans(sample, prediction)
        elif kind in ("mask", "boxes"):
            names = [name for name in label_names(value) if not is_ground(name)]
            found = ", ".join(names) if kind == "mask" else label_words(value) if value else ""
            self._say(found or self.tr("Nothing found"), sure)
        else:
            self._say("", sure)
            self._answer.hide()  # the text or the plot below is the answer
        if kind == "text":  # what it was made from stands at the left
            sample = replace(sample, image=None, text=None, pair=None, audio=None, values=None)
        if self._target.task == "question_answering":
            sample = replace(sample, pair=None)
        self.view.show_case(Case(sample, kind, predicted=value, classes=self._target.classes))

    def _say_spans(self, sample: Sample, prediction: Prediction) -> None:
        asked = self._target.task == "question_answering"
        found = words(prediction.value, sample) if prediction.value else ""
        sentence = self.tr("{0} sure") if asked else self.tr("{0} sure of its least certain word")
        sure = sentence.format(percent(prediction.confidence or 0.0))
        if asked:
            self._say(found or self.tr("No answer in this text"), sure)
        else:
            self._say(label_words(prediction.value) if prediction.value else self.tr("Nothing found"), sure)
        self._answer.setToolTip(found)
