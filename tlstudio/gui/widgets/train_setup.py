"""The left column of the Train page: data, three pickers, settings, what will happen, and the buttons."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from tlstudio.api import Component, Problem, TLStudioError
from tlstudio.engine.recipe import Recipe
from tlstudio.gui.recipe_draft import KINDS, Checked, RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.candidates import Kind
from tlstudio.gui.widgets.component_picker import PickerCard, PickerDialog
from tlstudio.gui.widgets.methods_dialog import MethodsDialog, methods_summary
from tlstudio.gui.widgets.place_box import PlaceBox
from tlstudio.gui.widgets.sequence_start import SequenceStart
from tlstudio.gui.widgets.texts import text_label
from tlstudio.gui.widgets.train_foot import TrainFoot
from tlstudio.gui.widgets.train_forms import TrainForms

COLUMN_WIDTH = 340


class TrainSetup(QWidget):
    """Puts a recipe together and asks for its start.

    Args:
        state: What the pages share.
        draft: The recipe.
        parent: Parent widget.

    Signals:
        start_requested(object): The user wants this `Recipe` to be trained.
        queue_requested(object): The user wants this `Recipe` to wait for its turn.
        pause_requested(), stop_requested(), cancel_requested(): The reins.
    """

    start_requested = Signal(object)
    queue_requested = Signal(object)
    pause_requested = Signal()
    stop_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, state: AppState, draft: RecipeDraft, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_setup")
        self.setFixedWidth(COLUMN_WIDTH)
        self._state = state
        self._draft = draft
        self._when_checked: Callable[[], None] | None = None
        self._faults: frozenset[str] = frozenset()  # where something was wrong in the last check
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        foot = self._make_foot()
        middle = self._make_middle()
        self.sequence = SequenceStart(state, draft, self.forms.place)
        layout.addLayout(self._make_head())
        layout.addWidget(self.sequence)
        layout.addWidget(middle, 1)
        layout.addWidget(foot)
        draft.changed.connect(self._on_draft_changed)
        draft.looked.connect(self._on_looked)
        draft.checked.connect(self._on_checked)

    def _make_head(self) -> QHBoxLayout:
        self.dataset_box = QComboBox()
        self.dataset_box.setObjectName("train_dataset")
        self.dataset_box.setAccessibleName(self.tr("Data set"))
        self.dataset_box.setToolTip(self.tr("The data that it learns from"))
        self.dataset_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.dataset_box.activated.connect(self._on_dataset)
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 6, 0)
        head.setSpacing(14)
        head.addWidget(text_label(self.tr("Train"), "title", "train_title"))
        head.addWidget(self.dataset_box, 1)
        return head

    def _make_middle(self) -> QScrollArea:
        inside = QWidget()
        inside.setProperty("role", "bare")
        inside.setObjectName("train_setup_inside")
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 6, 0)
        column.setSpacing(10)
        captions: dict[Kind, tuple[str, str]] = {
            "backbone": (self.tr("Backbone"), self.tr("Change")),
            "head": (self.tr("Task head"), self.tr("Change")),
            "strategy": (self.tr("Strategy"), self.tr("Change")),
        }
        self.cards: dict[Kind, PickerCard] = {}
        for kind in KINDS:
            card = PickerCard(f"train_{kind}", *captions[kind])
            card.change_requested.connect(lambda kind=kind: self._open_picker(kind))
            self.cards[kind] = card
            column.addWidget(card)
        self.methods_card = PickerCard("train_methods", self.tr("Methods"), self.tr("Change"))
        self.methods_card.change_requested.connect(lambda: self._open_methods())
        column.addWidget(self.methods_card)
        self.forms = TrainForms(self._state)
        self.forms.changed.connect(self._on_form)
        self.forms.entered.connect(self.foot.show_help)
        column.insertWidget(0, self.forms.dataset)
        column.addWidget(self.forms)
        self.place = PlaceBox(self._state)
        column.addWidget(self.place)
        column.addStretch(1)
        self._area = area = QScrollArea()
        area.setObjectName("train_setup_scroll")
        area.setProperty("role", "bare")
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inside)
        aside = area.horizontalScrollBar()  # what is too wide, such as a path in a sentence, may not move the rest
        aside.valueChanged.connect(lambda _: aside.setValue(0))
        return area

    def _make_foot(self) -> TrainFoot:
        self.foot = TrainFoot(self._state, self._draft)
        self.foot.train_button.clicked.connect(self.start)
        self.foot.queue_button.clicked.connect(self.queue)
        self.foot.recipe_menu.loaded.connect(self._show_loaded)
        self.foot.pause_button.clicked.connect(self.pause_requested)
        self.foot.stop_button.clicked.connect(self.stop_requested)
        self.foot.cancel_button.clicked.connect(self.cancel_requested)
        return self.foot

    # -- data -----------------------------------------------------------------------------------------------

    def refresh_datasets(self) -> None:
        """List the data sets of the project and choose the one that all pages talk about."""
        project = self._state.project
        self.dataset_box.clear()
        if project is None:
            return
        for name in project.datasets():
            revisions = project.revisions(name)
            for revision in reversed(revisions):
                text = self.tr("{0} · revision {1}").format(name, revision.removeprefix("r"))
                self.dataset_box.addItem(text, (name, revision))
        self.show_dataset(*(self._draft.dataset if self._draft.dataset[0] else (self._state.dataset, "")))

    def show_dataset(self, name: str, revision: str = "") -> None:
        """Choose a data set in the box; without a revision its newest one."""
        for row in range(self.dataset_box.count()):
            data = self.dataset_box.itemData(row)
            if data[0] == name and revision in ("", data[1]):
                self.dataset_box.setCurrentIndex(row)
                self._draft.set_dataset(*data)
                return
        if self.dataset_box.count():
            self.dataset_box.setCurrentIndex(0)
            self._draft.set_dataset(*self.dataset_box.itemData(0))

    @Slot(int)
    def _on_dataset(self, row: int) -> None:
        name, revision = self.dataset_box.itemData(row)
        self._draft.set_dataset(name, revision)
        self._state.select_dataset(name, revision)

    # -- components and options -----------------------------------------------------------------------------

    def _open_picker(self, kind: Kind) -> None:
        situation = self._draft.situation()
        if situation is None:
            return
        dialog = PickerDialog(kind, self._state, situation, self._draft.chosen(kind), self)
        dialog.picked.connect(lambda name: self._draft.set_component(kind, name))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _open_methods(self, current: str = "") -> None:
        dialog = MethodsDialog(self._state, self._draft, self)
        dialog.select(current)
        dialog.chosen.connect(self._draft.set_methods)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_form(self, section: str) -> None:
        self._draft.set_options(section, self.forms.forms[section].values)

    @Slot()
    def _on_draft_changed(self) -> None:
        if self._draft.fresh:
            self.foot.set_sentence(self.tr("Looking at your data and the models on this machine…"))
            for card in (*self.cards.values(), self.methods_card):
                card.show_choice(self.tr("Looking…"), "")
                card.button.setEnabled(False)
        else:
            self.foot.set_sentence(self.tr("Looking at what this would do…"))

    @Slot(object, str)
    def _on_looked(self, checked: Checked, sentence: str) -> None:
        self.foot.set_sentence(sentence)
        for kind in checked.facts:
            self._show_choice(kind, checked)
        self.methods_card.show_choice(*methods_summary(list(self._draft.methods), self._state))

    def _show_choice(self, kind: Kind, checked: Checked) -> None:
        candidate = checked.facts[kind]
        self.cards[kind].show_choice(candidate.title, self._card_facts(kind, checked) or candidate.facts)

    @Slot(object)
    def _on_checked(self, checked: Checked) -> None:
        recipe = checked.recipe
        training, mine = self.forms.forms["training"], self._draft.options("training")
        if recipe is not None:
            for kind, candidate in checked.facts.items():
                self._show_choice(kind, checked)
                component = getattr(self._state.registry, kind)(candidate.name)
                self.forms.show_component(kind, component.Options, self._draft.options(kind))
                options = getattr(recipe, kind).options
                self.forms.forms[kind].set_defaults(
                    {key: value for key, value in options.items() if key not in self._draft.options(kind)}
                )
            training.set_defaults(
                {key: value for key, value in recipe.training.model_dump().items() if key not in mine}
            )
        else:
            self._show_chosen(checked)
        if training.values != mine:
            training.set_values(mine)
        self._show_methods()
        for card in (*self.cards.values(), self.methods_card):
            card.button.setEnabled(not self.foot.running)
        self.forms.show_data(checked.revision, self._draft.options("dataset"))
        self.forms.setVisible(checked.revision is not None)
        self.forms.show_problems(checked.problems)
        self.forms.show_unfit(checked.unfit)
        self._bring_into_sight(checked.problems)
        self._show_checked(checked)
        if self._when_checked is not None:
            do, self._when_checked = self._when_checked, None
            do()

    def _show_chosen(self, checked: Checked) -> None:
        """Show what was chosen although it cannot be trained, so that its options can be mended."""
        registry = self._state.registry
        for kind in KINDS:
            name = self._draft.chosen(kind)
            component: Component | None = None
            with contextlib.suppress(TLStudioError):  # the problems say that there is none of this name
                component = getattr(registry, kind)(name) if name else None
            if component is not None:
                if kind in checked.facts:
                    self._show_choice(kind, checked)
                else:
                    self.cards[kind].show_choice(component.title, component.description)
                self.forms.show_component(kind, component.Options, self._draft.options(kind))
            else:
                self.cards[kind].show_choice(name or self.tr("Not chosen yet"), "")

    def _bring_into_sight(self, problems: Sequence[Problem]) -> None:
        """Scroll to the first setting that something is wrong with since the last check, unless the user is typing."""
        before, self._faults = self._faults, frozenset(problem.where for problem in problems)
        focus = QApplication.focusWidget()
        if focus is not None and self.forms.isAncestorOf(focus):
            return
        fresh = (self.forms.reveal(problem.where) for problem in problems if problem.where not in before)
        if (row := next((row for row in fresh if row is not None), None)) is not None:
            self._scroll_to(row.problem)

    def _scroll_to(self, widget: QWidget) -> None:
        # Rows that were made or unfolded just now get their places first.
        QTimer.singleShot(0, widget, lambda: self._area.ensureWidgetVisible(widget, 0, 60))

    @Slot(str)
    def go_to(self, where: str) -> None:
        """Go to where a problem can be mended: to its field, or else into the dialog that chooses what it is about."""
        section, _, name = where.partition(".")
        card = self.methods_card if section == "methods" else next((self.cards[k] for k in KINDS if k == section), None)
        if (row := self.forms.reveal(where)) is not None:
            self._scroll_to(row.problem)
            row.editor.setFocus(Qt.FocusReason.ShortcutFocusReason)
        elif section == "dataset":
            self.dataset_box.setFocus(Qt.FocusReason.ShortcutFocusReason)
        elif card is not None:
            self._scroll_to(card)
            card.button.setFocus(Qt.FocusReason.ShortcutFocusReason)  # where one is when the dialog is closed
            if section == "methods" and card.button.isEnabled():
                self._open_methods(name.partition(".")[0])
            else:
                card.button.click()

    def _show_methods(self) -> None:
        registry, chosen = self._state.registry, self._draft.methods
        self.methods_card.show_choice(*methods_summary(list(chosen), self._state))
        # The problems say that there is none of a name.
        self.forms.show_methods([registry.methods[name] for name in chosen if name in registry.methods], chosen)

    def _card_facts(self, kind: Kind, checked: Checked) -> str:
        revision = checked.revision
        if kind == "backbone" and self._draft.source:
            source = self._draft.source
            title = Path(source).name if Path(source).is_absolute() else run_title(source, self._state.registry)
            return self.tr("As {0} has trained it").format(title)
        if kind != "head" or revision is None or "backbone" not in checked.facts:
            return ""  # the one line of facts says it
        if revision.label_kind == "number":
            return self.tr("One number · {0} → 1").format(f"{checked.facts['backbone'].num_features:,}")
        if len(revision.classes) < 2:
            return ""
        count, width = len(revision.classes), checked.facts["backbone"].num_features
        return self.tr("{0} classes · {1} → {0}").format(count, f"{width:,}")

    def _show_checked(self, checked: Checked) -> None:
        if checked.problems:
            count = len(checked.problems)
            first = checked.problems[0]
            row = self.forms.row(first.where)
            sentence = f"{first.what} {first.remedy}".strip()
            self.foot.set_sentence(
                (f"{row.field.title}: {sentence}" if row is not None else sentence)
                if count == 1
                else self.tr("{0} things must be mended first; they are listed on the right.").format(count),
                fault=True,
            )
        else:
            self.foot.set_sentence(checked.sentence or self._unmeasured())
        for button in (self.foot.train_button, self.foot.queue_button):
            button.setEnabled(checked.can_start and self._writable())

    def _unmeasured(self) -> str:
        if self._draft.result.recipe is None or self.foot.running:
            return ""
        return self.tr("Begins when its turn has come. How long it takes is measured while no run is under way.")

    def _writable(self) -> bool:
        return self._state.project is not None and self._state.project.writable

    # -- start and reins ------------------------------------------------------------------------------------

    @Slot()
    def start(self) -> None:
        """Ask for the start; waits for the check that is on its way."""
        if self._draft.pending:
            self._when_checked = self.start
        elif not self._queue_folds(start=True) and self._draft.result.can_start:
            self.start_requested.emit(self._draft.result.recipe)

    @Slot()
    def queue(self) -> None:
        """Ask for a place in the queue; waits for the check that is on its way."""
        if self._draft.pending:
            self._when_checked = self.queue
        elif not self._queue_folds(start=False) and self._draft.result.can_start:
            self.queue_requested.emit(self._draft.result.recipe)

    def _queue_folds(self, *, start: bool) -> bool:
        """Where a run for each fold is meant, queue them, and tell that it was so."""
        checked = self._draft.result
        if checked.folds and checked.can_start and checked.recipe is not None:
            self._state.queue.add_folds(checked.recipe, start=start)
        return checked.folds > 0

    def start_recipe(self, recipe: Recipe) -> None:
        """Show a recipe in the form and start it as soon as it is checked."""
        self.load_values(recipe)
        self._when_checked = self.start

    def load_values(self, recipe: Recipe) -> None:
        """Show a recipe in the form."""
        self._draft.load(recipe.model_dump())
        self._show_loaded()

    @Slot()
    def _show_loaded(self) -> None:
        self.refresh_datasets()
        self.announce_dataset()

    def announce_dataset(self) -> None:
        """Make the data set of the form the one that all pages talk about."""
        name, revision = self._draft.dataset
        if name:
            self._state.select_dataset(name, revision)

    def show_turn(self, *, must_wait: bool) -> None:
        """Say whether a run can start now, or has to wait for others: then it can only be queued."""
        self.foot.show_turn(must_wait=must_wait)
        self.sequence.set_free(not must_wait)

    def show_running(self, running: bool, *, paused: bool = False, ending: bool = False, waiting: bool = False) -> None:
        """Show the buttons of the moment and forbid changes while a run goes.

        Args:
            running: Whether a run is under way.
            paused: Whether the user has paused it.
            ending: Whether its end has been asked for.
            waiting: Whether it waits by itself, and can neither be paused nor told to go on.
        """
        self.foot.show_running(running, paused=paused, ending=ending, waiting=waiting)
        self.forms.set_locked(running)
        self.place.setEnabled(not running)
        self.dataset_box.setEnabled(not running)
        for card in (*self.cards.values(), self.methods_card):
            card.button.setEnabled(not running)
        if not self._draft.pending:
            self._show_checked(self._draft.result)
