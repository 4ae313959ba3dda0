"""How a run ended, in a line, and what can be done now."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from tlstudio.gui.run_story import RunStory, end_words
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import main_metrics, metric_title, number_text
from tlstudio.gui.widgets.texts import push_button, text_label


class EndCard(Card):
    """Hidden until a run has ended.

    Signals:
        see_result(): The user wants to see the result.
        train_again(): The user wants to go back to the form.
        go_on(): The user wants to go on with the run from its last checkpoint.
        try_suggestion(): The user wants to train with what the end of the run suggests.
    """

    see_result = Signal()
    train_again = Signal()
    go_on = Signal()
    try_suggestion = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("train_summary", parent, margins=(16, 10, 10, 10))
        self._title = text_label("", "section", "train_summary_title", elide=True)
        self.text = text_label("", "second", "train_summary_text", elide=True)
        self.result_button = push_button(self.tr("See &result"), "primary", "train_see_result")
        self.again_button = push_button(self.tr("Train a&gain"), "secondary", "train_again")
        self.go_on_button = push_button(
            self.tr("Go &on"),
            "secondary",
            "train_go_on",
            hint=self.tr("Goes on from the last checkpoint, as if the run had not ended"),
        )
        self.suggestion_button = push_button(
            "", "primary", "train_try_suggestion", accessible=self.tr("Train with the batch that fits")
        )
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._title)
        words.addWidget(self.text)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addLayout(words, 1)
        for button, signal in (
            (self.go_on_button, self.go_on),
            (self.again_button, self.train_again),
            (self.suggestion_button, self.try_suggestion),
            (self.result_button, self.see_result),
        ):
            button.clicked.connect(signal)
            row.addWidget(button)
        self.column.addLayout(row)
        self.hide()

    def show_end(self, story: RunStory, *, can_go_on: bool, kept: bool) -> None:
        """Show how a run ended.

        Args:
            story: What it has said; its end among it.
            can_go_on: Whether there is a checkpoint to go on from.
            kept: Whether it has kept an epoch.
        """
        ended = story.ended
        if ended is None:
            return
        metrics = ended.metrics.get("test") or ended.metrics.get("validation") or {}
        where = self.tr("On the test split: ") if "test" in ended.metrics else ""
        if not metrics and story.best is not None:
            metrics, where = story.best.validation, self.tr("Not evaluated; in validation: ")
        parts = [f"{metric_title(name)} {number_text(metrics[name])}" for name in main_metrics(metrics, 2)]
        if ended.best_epoch and kept:
            parts.append(self.tr("epoch {0} kept").format(ended.best_epoch))
        self._title.setText(end_words(ended))
        self.text.setText(where + " · ".join(parts) if parts else self.tr("There is no result to show."))
        self.result_button.setVisible(bool(story.run) and bool(ended.metrics or ended.best_epoch))
        self.go_on_button.setVisible(can_go_on)
        batch = ended.suggestion.get("training.batch_size")
        self.suggestion_button.setVisible(batch is not None)
        if batch is not None:
            self.suggestion_button.setText(self.tr("&Train with batch {0}").format(batch))
            times = ended.suggestion.get("training.accumulate", 1)
            hint = self.tr("{0} batches of {1} make a step: it learns as with the larger batch").format(times, batch)
            self.suggestion_button.setToolTip(hint)
        self.show()
