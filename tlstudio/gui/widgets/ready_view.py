"""What the Train page shows before a run: what will happen, what is missing, and what the data look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QProgressBar, QScrollArea, QVBoxLayout, QWidget

from tlstudio.api import SPLITS
from tlstudio.gui.recipe_draft import Checked
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import component_title, items_word
from tlstudio.gui.widgets.bar_list import Bar, BarList
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import count_text, size_text
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.item_gallery import GalleryItem, ItemGallery
from tlstudio.gui.widgets.model_picture import ModelPicture
from tlstudio.gui.widgets.problem_label import ListedProblem, ProblemLabel
from tlstudio.gui.widgets.sample_thumbs import row_thumb
from tlstudio.gui.widgets.samples_model import short_label
from tlstudio.gui.widgets.stat_card import StatCard
from tlstudio.gui.widgets.texts import text_label

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.memory import MemoryNeed


_ONE_ROW = 640
"""So wide, in device-independent pixels, the page must be for all figures to be read in one row."""


class ReadyView(QScrollArea):
    """Facts of the run that is about to start.

    Args:
        state: What the pages share.
        parent: Parent widget.

    Signals:
        problem_opened(str): A problem was clicked, or Enter was pressed on it; carries its place in the recipe.
    """

    problem_opened = Signal(str)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_ready")
        self.setProperty("role", "bare")
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._state = state
        self._shown = ""
        self._told: tuple[Sequence[ListedProblem], Sequence[str]] = ((), ())
        self._revision: Revision | None = None
        self._data = StatCard("train_ready_data", self.tr("Learns from"))
        self._learns = StatCard("train_ready_learns", self.tr("What learns"))
        self._time = StatCard("train_ready_time", self.tr("Time"))
        self._memory = StatCard("train_ready_memory", self.tr("Memory"))
        self._weights = StatCard("train_ready_weights", self.tr("Weights"))
        self._figures = (self._data, self._learns, self._time, self._memory, self._weights)
        self._stats = QGridLayout()
        self._stats.setSpacing(12)
        self._lay_figures()
        self._plan = Card("train_ready_plan", spacing=10)
        self._plan_title = text_label(self.tr("What will happen"), "section", "train_ready_title")
        self._sentence = text_label("", "", "train_ready_sentence", wrap=True)
        self._list = QGridLayout()
        self._list.setHorizontalSpacing(10)
        self._list.setVerticalSpacing(8)
        self._list.setColumnStretch(1, 1)
        self._busy = QProgressBar()
        self._busy.setObjectName("train_ready_busy")
        self._busy.setAccessibleName(self.tr("Looking at the data and the models"))
        self._busy.setTextVisible(False)
        self._busy.setRange(0, 0)
        self._busy.setFixedWidth(160)
        policy = self._busy.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # it comes with each change of a setting; nothing else may move
        self._busy.setSizePolicy(policy)
        self._busy.hide()
        head = QHBoxLayout()
        head.addWidget(self._plan_title, 1)
        head.addWidget(self._busy)
        self._plan.column.addLayout(head)
        self._plan.column.addWidget(self._sentence)
        self._plan.column.addLayout(self._list)
        self._model = Card("train_ready_model", spacing=10)
        self._model.column.addWidget(
            text_label(self.tr("What will learn, from input to output"), "section", "train_ready_model_title")
        )
        self.picture = ModelPicture("train_ready_picture", state)
        self._model.column.addWidget(self.picture)
        self._model.hide()
        self._classes = Card("train_ready_classes")
        self._classes_title = text_label(self.tr("Classes in the training split"), "section", "train_ready_class_title")
        self._bars = BarList("train_ready_class_bars", state, self.tr("Items of each class"))
        self._classes.column.addWidget(self._classes_title)
        self._classes.column.addWidget(self._bars, 1)
        self._examples = Card("train_ready_examples", margins=(14, 10, 8, 8))
        self._examples.column.addWidget(
            text_label(self.tr("Some of what it learns from"), "section", "train_ready_examples_title")
        )
        self._gallery = ItemGallery("train_ready_gallery", state, self.tr("Some of what it learns from"), columns=8)
        self._gallery.opened.connect(self._open_item)
        self._examples.column.addWidget(self._gallery, 1)
        self._examples.setMinimumHeight(150)
        inside = QWidget()
        inside.setProperty("role", "bare")
        inside.setObjectName("train_ready_inside")
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addLayout(self._stats)
        column.addWidget(self._plan)
        column.addWidget(self._model)
        column.addWidget(self._classes)
        column.addWidget(self._examples, 1)
        column.addStretch()  # takes what is left while there are no examples
        self.setWidget(inside)
        state.theme_changed.connect(lambda: self._show_list(*self._told))

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt override
        """Put the figures into two rows where one has no room for them."""
        super().resizeEvent(event)
        self._lay_figures()

    def _lay_figures(self) -> None:
        columns = len(self._figures) if self.viewport().width() >= _ONE_ROW else 3
        for place, card in enumerate(self._figures):
            self._stats.addWidget(card, place // columns, place % columns)

    def show_looking(self, *, fresh: bool) -> None:
        """Say that the draft is being looked at.

        Args:
            fresh: Whether nothing is known yet of the chosen data: then what is shown speaks of others.
        """
        self._busy.show()
        problems, _ = self._told
        if problems and not fresh:  # some of them may just have been mended
            self._plan_title.setText(self.tr("What will happen"))
            self._sentence.setText(self.tr("Looking at what this would do…"))
            self._sentence.show()
            self._show_list((), ())
        if not fresh:
            return
        for card in self._figures:
            card.show_figure("—")
        self._plan_title.setText(self.tr("What will happen"))
        self._sentence.setText(
            self.tr(
                "Looking at your data and the models on this machine… The first time this takes some seconds, for the "
                "libraries are loaded and a few steps are measured."
            )
        )
        self._sentence.show()
        self._show_list((), ())
        self._model.hide()
        self._classes.hide()
        self._examples.hide()
        self._shown = ""

    def show_looked(self, checked: Checked, sentence: str) -> None:
        """Show what is known by now of data that were not known.

        Args:
            checked: What was found out by now.
            sentence: What is done next.
        """
        self._show_data(checked)
        self._sentence.setText(sentence)

    def show_checked(self, checked: Checked, place: Callable[[str], str], *, in_process: bool = False) -> None:
        """Show what was found out about a draft.

        Args:
            checked: What was found out.
            place: Gives the words of the form for the place of a problem; ``""``: it has none.
            in_process: Whether the run would get a process of its own.
        """
        self._busy.hide()
        self._show_data(checked)
        flight = checked.preflight
        if flight is None:
            for card in self._figures[1:]:
                card.show_figure("—")
        else:
            unit = self.tr("of {0} in all").format(count_text(flight.total))
            self._learns.show_figure(count_text(flight.trainable), unit if flight.total else "")
            device = self.tr("on this machine")
            time = "—" if flight.seconds is None else _time_words(flight.seconds)
            self._time.show_figure(time, device if flight.seconds is not None else self.tr("not known yet"))
            if flight.memory is None:
                self._memory.show_figure("—", self.tr("not known yet"))
            else:
                activations = self.tr("{0} for a batch").format(size_text(flight.memory.activations))
                self._memory.show_figure(size_text(flight.memory.total), activations)
                self._memory.setToolTip(_memory_words(flight.memory))
            if flight.weights is None or flight.weights.path is None:
                self._weights.show_figure(self.tr("None"), flight.weights.origin if flight.weights else "")
            else:
                self._weights.show_figure(size_text(flight.weights.size), flight.weights.origin)
        self.picture.show_parts(flight.groups if flight is not None else ())
        self._model.setVisible(bool(self.picture.parts))
        count = len(checked.problems)
        self._plan_title.setText(
            self.tr("What will happen")
            if not count
            else self.tr("One thing to mend first")
            if count == 1
            else self.tr("{0} things to mend first").format(count)
        )
        self._sentence.setText(f"{checked.sentence} {self._methods_words(checked)}".strip() if flight else "")
        self._sentence.setVisible(bool(flight and flight.sentence and not count))
        notes = flight.notes if flight else ()
        if in_process and not count:
            notes = (*notes, self.tr("It runs in a process of its own, which goes on if this window is closed."))
        places = [(place(one.where), one) for one in checked.problems]
        told = [
            ListedProblem(one.where if where else "", where or one.where, f"{one.what} {one.remedy}".strip())
            for where, one in places
        ]
        self._show_list(told, notes)

    def _methods_words(self, checked: Checked) -> str:
        """Say which methods are at work beside the strategy."""
        names = checked.recipe.methods if checked.recipe is not None else ()
        titles = "; ".join(component_title(self._state.registry, "method", name) for name in names)
        return self.tr("Methods at work: {0}.").format(titles) if titles else ""

    @property
    def problems(self) -> tuple[str, ...]:
        """The sentences in the list of what is missing and what is worth knowing."""
        problems, notes = self._told
        return (*(problem.text for problem in problems), *notes)

    def _show_list(self, problems: Sequence[ListedProblem], notes: Sequence[str]) -> None:
        self._told = (problems, notes)
        while (item := self._list.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.setParent(None)
                widget.deleteLater()
        rows: list[tuple[str, str, QLabel]] = []
        for problem in problems:
            label = ProblemLabel("train_ready_item", problem, self._state.theme)
            label.opened.connect(self.problem_opened)
            rows.append(("warning", "bad", label))
        for note in notes:
            told = text_label(note, "second", "train_ready_item", wrap=True)
            told.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            rows.append(("info", "accent", told))
        for row, (icon, color, words) in enumerate(rows):
            self._list.addWidget(IconLabel(self._state, icon, color, 16), row, 0, Qt.AlignmentFlag.AlignTop)
            self._list.addWidget(words, row, 1)

    def _show_data(self, checked: Checked) -> None:
        revision = checked.learned
        self._classes.setVisible(revision is not None and revision.has_class_names)
        if revision is None:
            self._data.show_figure("—")
            return
        sizes = {split: len(revision.indices(split)) for split in SPLITS}
        unit = items_word(revision.modality, revision.task)
        rest = self.tr("{0}, {1} to check").format(unit, f"{sizes['validation'] + sizes['test']:,}")
        self._data.show_figure(f"{sizes['train']:,}", rest)
        self._show_examples(revision)
        counts = revision.class_counts()["train"] if revision.has_class_names else {}
        largest = max(counts.values(), default=0)
        self._bars.show_bars(
            [Bar(name, count / largest if largest else 0.0, f"{count:,}") for name, count in counts.items()]
        )

    def _show_examples(self, revision: Revision) -> None:
        key = f"{revision.folder} {hash(revision.left_aside)}"
        if key == self._shown:
            return
        self._shown, self._revision = key, revision
        indices = revision.indices("train")
        # Every so many-th item: the table is sorted by class more often than not.
        picked = indices[:: max(1, len(indices) // 16)][:16]
        items = []
        for index in picked:
            row = int(index)
            thumb = row_thumb(revision, row, self._state.theme)
            told = "" if thumb is not None else revision.sample_text(row, 240)
            name, source = (str(revision.table.column(column)[row].as_py()) for column in ("id", "source"))
            items.append(GalleryItem(name, short_label(revision, row) or "—", thumb, told, source))
        self._gallery.show_items(items)
        self._examples.setVisible(bool(items))

    def _open_item(self, sample_id: str) -> None:
        if self._revision is not None:
            self._state.show_items.emit(self._revision, [sample_id], self.tr("Training items"))


def _time_words(seconds: float) -> str:
    """The estimate of the sentence below it, as short as a card is narrow."""
    from tlstudio.engine.preflight import duration  # which brings torch, that an estimate has needed already

    return duration(seconds).replace("about ", "~")


def _memory_words(need: MemoryNeed) -> str:
    """What the memory is needed for."""
    parts = (
        (_tr("model"), need.parameters),
        (_tr("gradients"), need.gradients),
        (_tr("optimizer"), need.optimizer),
        (_tr("activations of a batch"), need.activations),
    )
    lines = [f"{name}: {size_text(size)}" for name, size in parts]
    return "\n".join([*lines, _tr("What the libraries take comes on top.")])


def _tr(text: str) -> str:
    return QCoreApplication.translate("ReadyView", text)
